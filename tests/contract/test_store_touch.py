"""A touch moves an end, and nothing else."""

from __future__ import annotations

import pytest

from sidecar.core.store import ChangeKind, Touch, Touched
from tests.contract.harnesses import StoreUnderTest


async def test_a_touch_moves_the_end_by_the_ttl_last_given(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    await store.advance(900)

    touched = await store.touch("key")

    assert touched == Touched(found=True, expire_time=store.now() + 1000)
    await store.advance(999)
    assert await store.value("key") == b"value"
    await store.advance(1)
    assert await store.entry("key") is None


async def test_a_touch_with_a_ttl_gives_that_from_then_on(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)

    assert (await store.touch("key", ttl_ms=5000)).expire_time == store.now() + 5000

    await store.advance(4000)
    assert (await store.touch("key")).expire_time == store.now() + 5000


async def test_a_touch_can_bring_the_end_nearer(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=5000)
    await store.touch("key", ttl_ms=100)
    await store.advance(100)

    assert await store.entry("key") is None


async def test_a_touch_with_a_ttl_ends_what_was_endless(store: StoreUnderTest) -> None:
    await store.put("key")

    assert (await store.touch("key", ttl_ms=100)).expire_time == store.now() + 100


async def test_a_touch_of_what_is_endless_leaves_it_so(store: StoreUnderTest) -> None:
    await store.put("key")

    assert await store.touch("key") == Touched(found=True, expire_time=None)


async def test_a_touch_that_only_extends_never_brings_the_end_nearer(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=5000)
    end = store.now() + 5000

    assert (await store.touch("key", ttl_ms=100, extend_only=True)).expire_time == end

    entry = await store.entry("key")
    assert entry is not None
    assert entry.expire_time == end


async def test_a_touch_that_only_extends_never_ends_what_is_endless(store: StoreUnderTest) -> None:
    await store.put("key")

    assert await store.touch("key", ttl_ms=100, extend_only=True) == Touched(found=True, expire_time=None)

    await store.advance(100)
    assert await store.value("key") == b"value"


async def test_a_touch_that_only_extends_extends(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    await store.advance(500)

    assert (await store.touch("key", extend_only=True)).expire_time == store.now() + 1000


async def test_a_touch_that_only_extends_writes_nothing_for_less_than_the_slack(feed_store: StoreUnderTest) -> None:
    store = feed_store
    await store.put("key", ttl_ms=1000)
    end, cursor = store.now() + 1000, await store.cursor()
    await store.advance(100)

    assert await store.touch("key", extend_only=True, announce=True) == Touched(found=True, expire_time=end)
    assert await store.changes_since(cursor) == []

    await store.advance(1)
    assert (await store.touch("key", extend_only=True, announce=True)).expire_time == store.now() + 1000
    assert [row.kind for row in await store.changes_since(cursor)] == [ChangeKind.TOUCH]


@pytest.mark.parametrize("gone", ["never there", "deleted", "expired"])
async def test_a_touch_never_revives(store: StoreUnderTest, gone: str) -> None:
    if gone != "never there":
        await store.put("key", ttl_ms=1000)
    if gone == "deleted":
        await store.remove("key")
    await store.advance(1000)

    assert await store.touch("key", ttl_ms=10_000, announce=True) == Touched(found=False)

    assert await store.entry("key") is None
    assert await store.keys() == []


async def test_a_touch_changes_nothing_but_the_end(store: StoreUnderTest) -> None:
    await store.put("key", b"value", ttl_ms=1000, labels={"a": "b"}, content_type="t", schema_version=3)
    before = await store.entry("key")
    await store.advance(100)

    await store.touch("key", ttl_ms=7000)

    assert before is not None
    assert await store.entry("key") == before._replace(expire_time=store.now() + 7000, ttl_ms=7000)


async def test_a_version_from_before_a_touch_still_matches(store: StoreUnderTest) -> None:
    version = await store.put("key", ttl_ms=1000)
    await store.touch("key", announce=True)

    assert await store.put("key", expected_version=version) > version


async def test_an_announced_touch_leaves_a_change_row(feed_store: StoreUnderTest) -> None:
    store = feed_store
    version = await store.put("key", ttl_ms=1000)
    cursor = await store.cursor()
    await store.advance(10)

    await store.touch("key", announce=True)

    rows = await store.changes_since(cursor)
    assert [(row.key, row.version, row.kind) for row in rows] == [("key", version, ChangeKind.TOUCH)]


async def test_a_quiet_touch_leaves_none(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    cursor = await store.cursor()
    await store.advance(10)

    await store.touch("key")

    assert await store.changes_since(cursor) == []


async def test_many_keys_are_touched_in_the_order_asked(store: StoreUnderTest) -> None:
    await store.put("a", ttl_ms=1000)
    await store.put("b", ttl_ms=2000)
    await store.advance(10)

    touches = [Touch(key="b"), Touch(key="missing"), Touch(key="a", ttl_ms=50)]
    answers = await store.store.touch("contract", touches, announce=False)

    assert answers == [
        Touched(found=True, expire_time=store.now() + 2000),
        Touched(found=False),
        Touched(found=True, expire_time=store.now() + 50),
    ]


async def test_a_touch_is_kept_over_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    await store.put("key", ttl_ms=1000)
    await store.touch("key", ttl_ms=9000)
    await store.reopen()
    await store.advance(8999)

    assert await store.value("key") == b"value"


async def test_a_touched_entry_is_swept_at_its_new_end_only(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    await store.touch("key", ttl_ms=3000)
    await store.advance(2999)
    assert (await store.store.sweep(store.sweep_order())).expired == ()

    await store.advance(1)

    assert [grave.key for grave in (await store.store.sweep(store.sweep_order())).expired] == ["key"]
