"""Values, keys and what belongs to an entry come back exactly as they went in; the last writer wins."""

from __future__ import annotations

import unicodedata

import pytest

from sidecar.core.operations import Put, Remove
from tests.contract.harnesses import StoreUnderTest

VALUES = {
    "empty": b"",
    "a zero byte": b"\0",
    "zero bytes around": b"\0value\0",
    "every byte": bytes(range(256)),
    "not UTF-8": b"\xff\xfe\xc0\x80\xed\xa0\x80",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "line ends": b"\r\n\n\r",
    "quotes": b"'\"; --\\",
    "spaces around": b"  value \t",
    "a number": b"00042",
    "4 MiB": bytes(range(256)) * (4 << 12),
}
KEYS = {
    "one byte": "k",
    "a zero character": "a\0b",
    "only a zero character": "\0",
    "spaces around": " key ",
    "quotes": "'; DROP TABLE entries; --",
    "wildcards": "%_*?[a]\\",
    "slashes": "../../etc//passwd",
    "an emoji": "👩\u200d🚀",
    "the last code point": "\U0010ffff",
    "around the surrogates": "\ud7ff\ue000",
    "a byte order mark": "\ufeffkey",
    "a line end": "key\r\n",
    "a noncharacter": "\uffff",
    "1024 bytes": "é" * 512,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
async def test_a_value_comes_back_exactly(store: StoreUnderTest, value: bytes) -> None:
    await store.put("key", value)

    found = await store.value("key")
    assert found == value
    assert type(found) is bytes


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_a_key_is_exact(store: StoreUnderTest, key: str) -> None:
    await store.put("other", b"other")
    await store.put(key, b"value")

    entry = await store.entry(key)
    assert entry is not None
    assert (entry.key, entry.value) == (key, b"value")
    assert [found for found in await store.keys() if found != "other"] == [key]
    assert (await store.remove(key)).found
    assert await store.keys() == ["other"]


@pytest.mark.parametrize(
    "keys",
    [
        ("é", unicodedata.normalize("NFD", "é")),
        ("K", "k", "\u212a"),
        ("key", "key ", " key", "key\0", "key\0\0"),
        ("a", "a\u200d", "\ufeffa"),
        ("ß", "ss", "ẞ"),
        ("1", "01", "1.0", "1e0"),
        ("null", "None", "\0"),
    ],
    ids=["combining forms", "cases", "trimmed", "invisible", "folded", "numbers", "nothings"],
)
async def test_keys_that_look_alike_are_different(store: StoreUnderTest, keys: tuple[str, ...]) -> None:
    for key in keys:
        await store.put(key, key.encode(), expected_version=0)

    copies = await store.store.get("contract", keys)
    assert [copy.value for copy in copies if copy and hasattr(copy, "value")] == [key.encode() for key in keys]


async def test_a_miss_is_none(store: StoreUnderTest) -> None:
    assert await store.copy("key") is None


async def test_many_keys_are_answered_in_the_order_asked(store: StoreUnderTest) -> None:
    await store.put("a", b"A")
    await store.put("b", b"B")

    copies = await store.store.get("contract", ["b", "missing", "a", "b"])

    assert [getattr(copy, "value", None) for copy in copies] == [b"B", None, b"A", b"B"]


async def test_a_thousand_keys_are_answered_at_once(store: StoreUnderTest) -> None:
    await store.commit(*[Put(key=f"{n}", value=b"%d" % n) for n in range(store.many)])

    copies = await store.store.get("contract", [f"{n}" for n in range(1000)])

    assert [getattr(copy, "value", None) for copy in copies] == [
        b"%d" % n if n < store.many else None for n in range(1000)
    ]


async def test_no_keys_are_no_answers(store: StoreUnderTest) -> None:
    assert await store.store.get("contract", []) == []


async def test_the_last_writer_wins(store: StoreUnderTest) -> None:
    for value in (b"one", b"two", b"three"):
        await store.put("key", value)

    assert await store.value("key") == b"three"


async def test_all_that_belongs_to_an_entry_comes_back(store: StoreUnderTest) -> None:
    labels = {"team": "a", "": "empty name is the wire's to refuse", "ü\0": "\U0010ffff"}
    await store.put("key", b"{}", content_type="application/json", schema_version=7, labels=labels, ttl_ms=5000)

    entry = await store.entry("key")

    assert entry is not None
    assert (entry.namespace, entry.key) == ("contract", "key")
    assert (entry.content_type, entry.schema_version, dict(entry.labels)) == ("application/json", 7, labels)
    assert (entry.ttl_ms, entry.expire_time) == (5000, store.now() + 5000)


async def test_a_write_replaces_all_that_belonged_to_the_entry(store: StoreUnderTest) -> None:
    await store.put("key", content_type="text/plain", schema_version=2, labels={"a": "b"}, ttl_ms=1000)
    await store.put("key")

    entry = await store.entry("key")

    assert entry is not None
    assert (entry.content_type, entry.schema_version, dict(entry.labels)) == ("", 0, {})
    assert (entry.ttl_ms, entry.expire_time) == (None, None)


async def test_the_create_time_stays_and_the_update_time_moves(store: StoreUnderTest) -> None:
    created = store.now()
    await store.put("key")
    await store.advance(1234)
    await store.put("key")

    entry = await store.entry("key")

    assert entry is not None
    assert (entry.create_time, entry.update_time) == (created, created + 1234)


@pytest.mark.parametrize("gone", ["deleted", "expired"])
async def test_a_re_created_entry_was_created_when_it_was_re_created(store: StoreUnderTest, gone: str) -> None:
    await store.put("key", ttl_ms=1000)
    if gone == "deleted":
        await store.remove("key")
    await store.advance(1000)
    await store.put("key")

    entry = await store.entry("key")

    assert entry is not None
    assert entry.create_time == store.now()


async def test_namespaces_are_separate(store: StoreUnderTest) -> None:
    names = ["a", "b", "a b", "a\0b", "A", "é", "e\u0301", "a" * 128]
    for name in names:
        await store.put("key", name.encode(), namespace=name, expected_version=0)
    await store.commit(Put(key="ab", value=b"of a"), namespace="a")

    assert [await store.value("key", namespace=name) for name in names] == [name.encode() for name in names]
    assert await store.keys(namespace="a") == ["ab", "key"]
    assert await store.keys(namespace="b") == ["key"]
    assert await store.copy("b\0key", namespace="a") is None


async def test_values_stay_exact_over_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    for name, value in VALUES.items():
        await store.put(name, value, labels={"name": name}, ttl_ms=10_000)
    before = [await store.entry(name) for name in VALUES]

    await store.reopen()

    assert [await store.entry(name) for name in VALUES] == before
    assert [entry.value for entry in before if entry] == list(VALUES.values())


async def test_a_write_tells_caches_the_state_that_a_read_answers(store: StoreUnderTest) -> None:
    await store.put("gone")
    outcome = await store.commit(Put(key="key", value=b"value", ttl_ms=1000), Remove(key="gone"))

    assert list(outcome.copies) == [await store.copy("key"), await store.copy("gone")]
