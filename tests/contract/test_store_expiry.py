"""An entry is gone at its expire time: not before, not after, for every operation, by the authority's clock."""

from __future__ import annotations

import pytest

from sidecar.core.errors import FailedPrecondition
from sidecar.core.operations import Append, Change, Check, Increment, MergePatch, Put, Remove
from tests.contract.harnesses import StoreUnderTest

each_ttl = pytest.mark.parametrize("ttl_ms", [1, 999, 1000, 1001, 30 * 60_000, 3650 * 24 * 3_600_000])


@each_ttl
async def test_an_entry_is_there_until_the_last_millisecond(store: StoreUnderTest, ttl_ms: int) -> None:
    await store.put("key", b"value", ttl_ms=ttl_ms)
    await store.advance(ttl_ms - 1)

    assert await store.value("key") == b"value"
    assert await store.keys() == ["key"]


@each_ttl
async def test_an_entry_is_gone_at_its_expire_time(store: StoreUnderTest, ttl_ms: int) -> None:
    await store.put("key", ttl_ms=ttl_ms)
    await store.advance(ttl_ms)

    assert await store.entry("key") is None
    assert await store.keys() == []


async def test_an_entry_without_ttl_does_not_end(store: StoreUnderTest) -> None:
    await store.put("key")
    await store.advance(100 * 365 * 24 * 3_600_000)

    assert await store.value("key") == b"value"


async def test_the_answer_of_a_write_says_when_it_ends(store: StoreUnderTest) -> None:
    outcome = await store.commit(Put(key="key", value=b"", ttl_ms=1500), Put(key="endless", value=b""))

    assert [result.expire_time for result in outcome.results] == [store.now() + 1500, None]


async def test_a_write_without_ttl_takes_that_of_its_namespace(store: StoreUnderTest) -> None:
    outcome = await store.commit(Put(key="key", value=b""), ttl_default_ms=2000)

    entry = await store.entry("key")

    assert outcome.results[0].expire_time == store.now() + 2000
    assert entry is not None
    assert (entry.expire_time, entry.ttl_ms) == (store.now() + 2000, 2000)


async def test_a_ttl_of_its_own_goes_before_that_of_the_namespace(store: StoreUnderTest) -> None:
    await store.commit(Put(key="key", value=b"", ttl_ms=500), ttl_default_ms=2000)

    entry = await store.entry("key")

    assert entry is not None
    assert (entry.expire_time, entry.ttl_ms) == (store.now() + 500, 500)


async def test_a_write_of_a_value_sets_its_end_anew(store: StoreUnderTest) -> None:
    await store.put("key", b"one", ttl_ms=1000)
    await store.advance(900)
    await store.put("key", b"two", ttl_ms=1000)
    await store.advance(999)
    assert await store.value("key") == b"two"

    await store.advance(1)

    assert await store.entry("key") is None


async def test_a_write_without_any_ttl_takes_the_end_away(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    await store.put("key")
    await store.advance(1_000_000)

    assert await store.value("key") == b"value"


async def test_a_deletion_does_not_find_what_has_ended(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    await store.advance(1000)

    outcome = await store.commit(Remove(key="key"))

    assert (outcome.results[0].found, outcome.version) == (False, 0)


async def test_a_write_over_what_has_ended_does_not_find_it(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    await store.advance(1000)

    outcome = await store.commit(Put(key="key", value=b"new"))

    assert not outcome.results[0].found
    assert await store.value("key") == b"new"


async def test_a_check_for_absence_holds_on_what_has_ended(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    await store.advance(1000)

    outcome = await store.commit(Check(key="key", expected_version=0), Put(key="other", value=b""))

    assert not outcome.results[0].found
    assert outcome.version > 0


@pytest.mark.parametrize(
    "change", [MergePatch(patch={"a": 1}), Append(items=(1,)), Increment(delta=1)], ids=["patch", "append", "increment"]
)
async def test_an_update_does_not_find_what_has_ended(store: StoreUnderTest, change: object) -> None:
    await store.put("key", b"5", ttl_ms=1000)
    await store.advance(1000)

    with pytest.raises(FailedPrecondition) as caught:
        await store.commit(Change(key="key", change=change))  # type: ignore[arg-type]  # one of the union by the table

    assert caught.value.reason == "KEY_NOT_FOUND"


async def test_an_update_that_creates_begins_anew_after_the_end(store: StoreUnderTest) -> None:
    await store.put("key", b"5", labels={"old": "label"}, ttl_ms=1000)
    await store.advance(1000)

    await store.commit(Change(key="key", change=Increment(delta=1), create=True))

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.value, dict(entry.labels), entry.create_time) == (b"1", {}, store.now())


async def test_an_update_of_a_fixed_namespace_keeps_the_end(store: StoreUnderTest) -> None:
    await store.put("key", b"1", ttl_ms=1000)
    end = store.now() + 1000
    await store.advance(600)

    outcome = await store.commit(Change(key="key", change=Increment(delta=1)), ttl_default_ms=1000)

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.expire_time, entry.ttl_ms) == (end, 1000)
    assert outcome.results[0].expire_time == end


async def test_an_update_of_a_sliding_namespace_moves_the_end_by_the_ttl_last_given(store: StoreUnderTest) -> None:
    await store.put("key", b"1", ttl_ms=3000)
    await store.advance(600)

    outcome = await store.commit(Change(key="key", change=Increment(delta=1)), ttl_default_ms=1000, sliding=True)

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.expire_time, entry.ttl_ms) == (store.now() + 3000, 3000)
    assert outcome.results[0].expire_time == store.now() + 3000


@pytest.mark.parametrize("sliding", [False, True], ids=["fixed", "sliding"])
async def test_an_update_with_a_ttl_of_its_own_sets_it(store: StoreUnderTest, sliding: bool) -> None:
    await store.put("key", b"1", ttl_ms=3000)
    await store.advance(600)

    await store.commit(Change(key="key", change=Increment(delta=1), ttl_ms=200), sliding=sliding)

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.expire_time, entry.ttl_ms) == (store.now() + 200, 200)


async def test_an_update_of_a_sliding_entry_without_ttl_gives_it_no_end(store: StoreUnderTest) -> None:
    await store.put("key", b"1")

    await store.commit(Change(key="key", change=Increment(delta=1)), ttl_default_ms=1000, sliding=True)

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.expire_time, entry.ttl_ms) == (None, None)


async def test_an_update_that_creates_takes_the_ttl_of_the_namespace(store: StoreUnderTest) -> None:
    await store.commit(Change(key="key", change=Increment(delta=1), create=True), ttl_default_ms=1000)
    await store.commit(Change(key="own", change=Increment(delta=1), create=True, ttl_ms=50), ttl_default_ms=1000)

    entries = [await store.entry("key"), await store.entry("own")]

    assert [entry.expire_time for entry in entries if entry] == [store.now() + 1000, store.now() + 50]


async def test_value_and_end_are_one_over_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    await store.put("short", ttl_ms=1000)
    await store.put("long", ttl_ms=5000)
    end = store.now() + 5000
    await store.advance(1000)

    await store.reopen()

    assert await store.entry("short") is None
    entry = await store.entry("long")
    assert entry is not None
    assert (entry.expire_time, entry.ttl_ms) == (end, 5000)
