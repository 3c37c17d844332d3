"""A scan answers live entries in the order of their keys' UTF-8 bytes, a page at a time."""

from __future__ import annotations

import pytest

from sidecar.core.operations import Put
from tests.contract.harnesses import StoreUnderTest

# U+1F680 is below U+FF5E in UTF-16 (surrogates begin at D800), and above it in UTF-8.
MIXED = ["", "A", "Z", "a", "a\0", "a\0b", "a!", "aa", "b", "é", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uff5e"]
MIXED += ["\uffff", "\U00010000", "\U0001f680", "\U0010ffff", "\U0010ffff\U0010ffff"]


async def pages(store: StoreUnderTest, prefix: str = "", **options: int) -> list[list[str]]:
    """All pages of a listing, as a caller walks through them."""
    found: list[list[str]] = []
    after = None
    while True:
        page = await store.scan(prefix, after=after, **options)
        found.append([entry.key for entry in page.entries])
        if not page.more:
            return found
        assert page.entries, "a page with more to come has at least one entry"
        after = page.entries[-1].key


async def fill(store: StoreUnderTest, keys: list[str], value: bytes = b"") -> None:
    await store.commit(*[Put(key=key, value=value) for key in keys])


async def test_keys_come_in_the_order_of_their_utf8_bytes(store: StoreUnderTest) -> None:
    keys = [f"k{tail}" for tail in MIXED]
    await fill(store, keys[::-1])

    found = await store.keys()

    assert found == sorted(keys, key=str.encode)
    assert found == keys


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 21])
async def test_pages_are_the_whole_once_and_in_order(store: StoreUnderTest, size: int) -> None:
    keys = [f"k{tail}" for tail in MIXED]
    await fill(store, keys)

    found = await pages(store, limit=size)

    assert [key for page in found for key in page] == keys
    assert [len(page) for page in found[:-1]] == [size] * (len(found) - 1)
    assert found[-1]


@pytest.mark.parametrize(
    ("prefix", "within", "outside"),
    [
        ("a", ["a", "a\0", "ab", "a\U0010ffff"], ["", "A", "b", "\u00e1"]),
        ("a\U0010ffff", ["a\U0010ffff", "a\U0010ffff\0", "a\U0010ffff\U0010ffff"], ["a", "a\uffff", "b"]),
        ("\U0010ffff", ["\U0010ffff", "\U0010ffffx"], ["\U0010fffe", "a"]),
        ("\ud7ff", ["\ud7ff", "\ud7ff\U0010ffff"], ["\ud7fe", "\ue000"]),
        ("\uffff", ["\uffff", "\uffffz"], ["\ufffe", "\U00010000"]),
        ("\x7f", ["\x7f", "\x7f~"], ["\x7e", "\x80"]),
        ("%", ["%", "%a"], ["a", "_", "a%"]),
        ("a_", ["a_", "a_b"], ["ab", "abb"]),
        ("\0", ["\0", "\0\0"], ["\x01", "a"]),
        ("é", ["é", "éa"], ["e\u0301", "e", "É"]),
        ("user:1", ["user:1", "user:10", "user:1:x"], ["user:2", "user", "USER:1"]),
    ],
    ids=repr,
)
async def test_a_prefix_selects_exactly_the_keys_that_begin_with_it(
    store: StoreUnderTest, prefix: str, within: list[str], outside: list[str]
) -> None:
    await fill(store, [key for key in within + outside if key])

    assert await store.keys(prefix) == sorted(within, key=str.encode)
    assert [key for page in await pages(store, prefix, limit=1) for key in page] == sorted(within, key=str.encode)


async def test_a_page_goes_on_after_a_key_that_is_gone(store: StoreUnderTest) -> None:
    await fill(store, ["a", "b", "c"])
    await store.remove("b")

    assert await store.keys(after="b") == ["c"]
    assert await store.keys(after="bb") == ["c"]


async def test_a_page_after_a_key_before_the_prefix_begins_with_the_prefix(store: StoreUnderTest) -> None:
    await fill(store, ["a", "p", "p1"])

    assert await store.keys("p", after="a") == ["p", "p1"]
    assert await store.keys("p", after="p") == ["p1"]
    assert await store.keys("p", after="z") == []


async def test_a_full_last_page_says_that_there_is_no_more(store: StoreUnderTest) -> None:
    await fill(store, ["a", "b"])

    assert not (await store.scan(limit=2)).more
    assert (await store.scan(limit=1)).more


async def test_what_is_beyond_the_prefix_is_not_more(store: StoreUnderTest) -> None:
    await fill(store, ["p1", "p2", "q"])

    assert not (await store.scan("p", limit=2)).more


async def test_an_empty_namespace_has_an_empty_page(store: StoreUnderTest) -> None:
    page = await store.scan(namespace="nothing here")

    assert (page.entries, page.more) == ((), False)


async def test_a_page_stays_within_its_bytes(store: StoreUnderTest) -> None:
    await fill(store, ["a", "b", "c", "d"], b"x" * 100)

    two = 2 * (100 + store.harness.overhead)
    assert await pages(store, bytes_max=two + 50) == [["a", "b"], ["c", "d"]]
    assert await pages(store, bytes_max=two) == [["a", "b"], ["c", "d"]]
    assert await pages(store, bytes_max=two - 1) == [["a"], ["b"], ["c"], ["d"]]


async def test_a_page_has_at_least_one_entry_whatever_its_size(store: StoreUnderTest) -> None:
    await fill(store, ["a", "b"], b"x" * 1000)

    assert await pages(store, bytes_max=1) == [["a"], ["b"]]


async def test_keys_only_leaves_the_values_away(store: StoreUnderTest) -> None:
    await store.put("key", b"x" * 1000, labels={"a": "b"}, content_type="t")
    await store.put("other", b"x" * 1000)

    page = await store.scan(keys_only=True, bytes_max=1)

    assert [(entry.key, entry.value) for entry in page.entries] == [("key", b""), ("other", b"")]
    assert dict(page.entries[0].labels) == {"a": "b"}
    assert page.entries[0].version > 0


async def test_a_scan_answers_what_a_read_answers(store: StoreUnderTest) -> None:
    await store.put("key", b"\0\xff", labels={"a": "b"}, content_type="t", schema_version=2, ttl_ms=1000)

    page = await store.scan()

    assert list(page.entries) == [await store.entry("key")]


async def test_a_scan_never_answers_what_was_deleted_or_has_ended(store: StoreUnderTest) -> None:
    for key in ("a", "b", "c", "d"):
        await store.put(key, ttl_ms=1000 if key in "bd" else None)
    await store.remove("a")
    await store.advance(1000)

    assert await store.keys() == ["c"]
    assert await pages(store, limit=1) == [["c"]]


async def test_many_ended_entries_do_not_cut_a_page_short(store: StoreUnderTest) -> None:
    await store.commit(*[Put(key=f"{n:03}", value=b"", ttl_ms=10) for n in range(store.many)])
    await store.put("zz")
    await store.advance(10)

    assert await pages(store, limit=10) == [["zz"]]


async def test_keys_written_while_paging_do_not_disturb_the_others(store: StoreUnderTest) -> None:
    await fill(store, ["b", "d", "f"])
    first = await store.scan(limit=1)
    await fill(store, ["a", "c", "e"])

    rest = await store.keys(after=first.entries[-1].key)

    assert rest == ["c", "d", "e", "f"]
