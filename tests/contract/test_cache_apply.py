"""Writers tell what they committed: older copies go, placeholders and cached misses go, and nothing is ever created."""

from __future__ import annotations

from itertools import permutations

import pytest

from sidecar.core.cache import Hit, Miss
from sidecar.core.entry import Copy, Entry
from tests.contract.harnesses import CacheUnderTest
from tests.support.clock import START_MS
from tests.support.factories import entry, tombstone

OLD, NEW = entry(version=1, value=b"old"), entry(version=2, value=b"new")


async def test_a_newer_entry_replaces_an_older_one(cache: CacheUnderTest) -> None:
    await cache.hold(OLD)
    await cache.apply(NEW)

    assert await cache.held() == NEW


async def test_an_older_entry_changes_nothing(cache: CacheUnderTest) -> None:
    await cache.hold(NEW)
    await cache.apply(OLD)

    assert await cache.held() == NEW


async def test_the_same_version_again_changes_nothing(cache: CacheUnderTest) -> None:
    await cache.hold(NEW)
    await cache.apply(NEW)

    assert await cache.held() == NEW


@pytest.mark.parametrize("copy", [NEW, tombstone(version=2)], ids=["entry", "tombstone"])
async def test_a_writer_never_creates(cache: CacheUnderTest, copy: Copy) -> None:
    await cache.apply(copy)

    assert await cache.lease()


async def test_a_writer_never_creates_where_a_lease_is_out(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    await cache.apply(NEW)

    answer = await cache.get()
    assert isinstance(answer, Miss)
    assert answer.lease not in (None, lease)


async def test_a_cached_miss_goes_when_the_key_is_created(cache: CacheUnderTest) -> None:
    await cache.hold(None)
    await cache.apply(NEW)

    assert isinstance(await cache.get(), Miss)


async def test_a_cached_tombstone_goes_when_the_key_is_created_again(cache: CacheUnderTest) -> None:
    await cache.hold(tombstone(version=1))
    await cache.apply(NEW)

    answer = await cache.get()
    assert isinstance(answer, Miss) or answer.copy == NEW


async def test_an_older_entry_does_not_replace_a_tombstone(cache: CacheUnderTest) -> None:
    await cache.hold(tombstone(version=3))
    await cache.apply(NEW)

    answer = await cache.get()
    assert isinstance(answer, Miss) or not isinstance(answer.copy, Entry)


async def test_a_tombstone_hides_an_older_entry(cache: CacheUnderTest) -> None:
    await cache.hold(OLD)
    await cache.apply(tombstone(version=2))

    answer = await cache.get()
    assert isinstance(answer, Miss) or not isinstance(answer.copy, Entry)


async def test_an_older_tombstone_changes_nothing(cache: CacheUnderTest) -> None:
    await cache.hold(NEW)
    await cache.apply(tombstone(version=1))

    assert await cache.held() == NEW


async def test_an_entry_does_not_come_back_after_its_tombstone(cache: CacheUnderTest) -> None:
    await cache.hold(OLD)
    await cache.apply(tombstone(version=3))
    await cache.apply(NEW)

    answer = await cache.get()
    assert isinstance(answer, Miss) or not isinstance(answer.copy, Entry)


@pytest.mark.parametrize("order", list(permutations([2, 3, 4])), ids=str)
async def test_in_any_order_the_newest_stays(cache: CacheUnderTest, order: tuple[int, ...]) -> None:
    await cache.hold(OLD)
    for version in order:
        await cache.apply(entry(version=version))

    assert await cache.held() == entry(version=4)


async def test_many_states_are_told_at_once(cache: CacheUnderTest) -> None:
    for key in "ab":
        await cache.hold(entry(key=key, version=1))

    await cache.apply(entry(key="a", version=2), tombstone(key="b", version=2), entry(key="c", version=2))

    assert await cache.held("a") == entry(key="a", version=2)
    for key in "bc":
        answer = await cache.get(key)
        assert isinstance(answer, Miss) or not isinstance(answer.copy, Entry)


async def test_the_end_of_a_replaced_entry_is_that_of_the_new_one(cache: CacheUnderTest) -> None:
    await cache.hold(entry(version=1, expire_time=START_MS + 1000))
    await cache.apply(entry(version=2, expire_time=START_MS + 5000))
    cache.now += 4999
    assert isinstance(await cache.get(), Hit)

    cache.now += 1

    assert isinstance(await cache.get(), Miss)


@pytest.mark.parametrize("ttl_ms", [1, 1000, 3_600_000])
async def test_an_expired_copy_is_a_miss_at_its_end_and_not_before(cache: CacheUnderTest, ttl_ms: int) -> None:
    await cache.hold(entry(expire_time=START_MS + ttl_ms, ttl_ms=ttl_ms))
    cache.now = START_MS + ttl_ms - 1
    assert isinstance(await cache.get(), Hit)

    cache.now += 1

    assert await cache.lease()


async def test_a_copy_that_had_ended_when_it_was_filled_is_a_miss(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    await cache.fill(entry(expire_time=START_MS), lease)

    assert isinstance(await cache.get(), Miss)


async def test_an_invalidated_copy_is_a_miss(cache: CacheUnderTest) -> None:
    await cache.hold(entry(key="a"))
    await cache.hold(entry(key="b"))

    await cache.cache.invalidate("contract", ["a", "missing"])

    assert await cache.lease("a")
    assert await cache.held("b") == entry(key="b")


async def test_an_invalidation_is_of_its_namespace(cache: CacheUnderTest) -> None:
    await cache.hold(OLD)
    await cache.cache.invalidate("other", ["key"])

    assert await cache.held() == OLD


async def test_telling_is_of_its_namespace(cache: CacheUnderTest) -> None:
    await cache.hold(OLD)
    await cache.cache.apply("other", [entry(namespace="other", version=2)], generation=1)

    assert await cache.held() == OLD


async def test_a_copy_of_another_generation_is_a_miss(cache: CacheUnderTest) -> None:
    await cache.hold(OLD)

    answer = await cache.get(generation=2)

    assert isinstance(answer, Miss)
    assert answer.lease


async def test_a_cached_miss_of_another_generation_is_a_miss(cache: CacheUnderTest) -> None:
    await cache.hold(None)

    assert isinstance(await cache.get(generation=2), Miss)


async def test_what_is_told_over_a_copy_of_another_generation_drops_it(cache: CacheUnderTest) -> None:
    await cache.hold(entry(version=9))
    await cache.apply(NEW, generation=2)

    assert isinstance(await cache.get(generation=1), Miss)
    assert isinstance(await cache.get(generation=2), Miss)


async def test_a_lease_of_another_generation_fills_nothing(cache: CacheUnderTest) -> None:
    lease = await cache.lease()

    cache.generation = 2

    assert not await cache.fill(NEW, lease)
    assert isinstance(await cache.get(), Miss)


async def test_a_lease_of_another_generation_is_nobodys(cache: CacheUnderTest) -> None:
    await cache.lease()

    answer = await cache.get(generation=2)

    assert isinstance(answer, Miss)
    assert answer.lease is not None


async def test_a_fill_of_a_new_generation_is_a_hit_of_it_only(cache: CacheUnderTest) -> None:
    cache.generation = 2
    await cache.hold(NEW)

    assert await cache.held(generation=2) == NEW
    assert isinstance(await cache.get(generation=1), Miss)


async def test_the_identity_stays(cache: CacheUnderTest) -> None:
    assert await cache.cache.identity() == await cache.cache.identity()


async def test_closing_twice_is_harmless(cache: CacheUnderTest) -> None:
    await cache.cache.close()
    await cache.cache.close()
