"""The turn of the repairers that share a cache: one at a time, kept with a cursor by the cache, and never made up."""

from __future__ import annotations

from sidecar.core.cache import REPAIR_TURN_MS, Turn
from tests.contract.harnesses import CacheUnderTest

GENERATION = 7


async def claim(
    cache: CacheUnderTest, owner: str, *, begin: int | None = None, generation: int = GENERATION
) -> Turn | None:
    return await cache.cache.claim_repair(owner, generation=generation, begin=begin, now=cache.now)


async def renew(cache: CacheUnderTest, owner: str, cursor: int, *, generation: int = GENERATION) -> bool:
    return await cache.cache.renew_repair(owner, generation=generation, cursor=cursor, now=cache.now)


async def test_a_cache_that_knows_no_cursor_says_so_and_makes_none(cache: CacheUnderTest) -> None:
    assert await claim(cache, "a") == Turn(None)
    assert await claim(cache, "b") == Turn(None)
    assert not await renew(cache, "a", 5)
    assert await claim(cache, "a") == Turn(None)


async def test_a_first_turn_begins_where_it_is_told_to(cache: CacheUnderTest) -> None:
    assert await claim(cache, "a", begin=41) == Turn(41)


async def test_a_cursor_that_is_known_does_not_begin_again(cache: CacheUnderTest) -> None:
    await claim(cache, "a", begin=41)
    await renew(cache, "a", 50)

    assert await claim(cache, "a", begin=99) == Turn(50)


async def test_nobody_else_has_the_turn(cache: CacheUnderTest) -> None:
    await claim(cache, "a", begin=1)

    assert await claim(cache, "b", begin=1) is None
    assert not await renew(cache, "b", 2)
    assert await claim(cache, "a") == Turn(1)


async def test_an_owner_may_claim_again_and_again(cache: CacheUnderTest) -> None:
    await claim(cache, "a", begin=1)
    for n in range(1, 5):
        cache.now += REPAIR_TURN_MS - 1
        assert await claim(cache, "a") == Turn(n)
        assert await renew(cache, "a", n + 1)
        assert await claim(cache, "b") is None


async def test_a_turn_that_was_not_renewed_passes_on_with_its_cursor(cache: CacheUnderTest) -> None:
    await claim(cache, "a", begin=1)
    await renew(cache, "a", 2)
    cache.now += REPAIR_TURN_MS - 1
    assert await claim(cache, "b") is None

    cache.now += 1

    assert await claim(cache, "b") == Turn(2)
    assert await claim(cache, "a") is None
    assert not await renew(cache, "a", 9)
    assert await renew(cache, "b", 3)


async def test_a_large_cursor_is_kept_exactly(cache: CacheUnderTest) -> None:
    for cursor in ((1 << 53) + 1, (1 << 63) - 1):
        await claim(cache, "a", begin=1)
        assert await renew(cache, "a", cursor)
        assert await claim(cache, "a") == Turn(cursor)


async def test_each_generation_has_a_turn_of_its_own(cache: CacheUnderTest) -> None:
    await claim(cache, "a", begin=1)

    assert await claim(cache, "b", generation=GENERATION + 1) == Turn(None)
    assert await claim(cache, "b", begin=5, generation=GENERATION + 1) == Turn(5)
    assert await claim(cache, "c", begin=5, generation=GENERATION + 1) is None


async def test_a_turn_is_no_entry(cache: CacheUnderTest) -> None:
    await claim(cache, "a", begin=1)
    await cache.lease()
    await cache.cache.invalidate("contract", ["key", "a", ""])

    assert await claim(cache, "a") == Turn(1)
