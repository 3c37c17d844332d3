"""A cache stays within its bytes. What is pushed out, placeholders too, is only forgotten: nothing stale comes of it."""

from __future__ import annotations

import random

from sidecar.core.cache import Hit, Miss
from sidecar.core.entry import Copy, Entry
from tests.contract.harnesses import CacheUnderTest
from tests.support.factories import entry, tombstone

SMALL_BYTES = 64 * 1024


async def test_the_bytes_of_many_entries_stay_within_the_bound(bounded_cache: CacheUnderTest) -> None:
    cache = bounded_cache
    await cache.resize(SMALL_BYTES)
    for n in range(200):
        await cache.hold(entry(key=f"{n}", value=b"x" * 1024))

    # The newest first: each miss leaves a placeholder, which takes the place of what was used least.
    held = [n for n in reversed(range(200)) if isinstance(await cache.get(f"{n}"), Hit)]

    assert 10 * 1024 < len(held) * 1024 <= SMALL_BYTES


async def test_placeholders_count_too(bounded_cache: CacheUnderTest) -> None:
    cache = bounded_cache
    await cache.resize(SMALL_BYTES)
    leases = [await cache.lease(f"{n}") for n in range(20_000)]

    stored = [await cache.fill(entry(key=f"{n}", value=b""), lease) for n, lease in enumerate(leases)]

    assert sum(stored) * 32 < SMALL_BYTES


async def test_what_was_used_last_stays(bounded_cache: CacheUnderTest) -> None:
    cache = bounded_cache
    await cache.resize(SMALL_BYTES)
    await cache.hold(entry(key="favourite"))
    for n in range(500):
        await cache.hold(entry(key=f"{n}", value=b"x" * 500))
        assert await cache.held("favourite") == entry(key="favourite")


async def test_a_value_larger_than_the_cache_is_not_held(bounded_cache: CacheUnderTest) -> None:
    cache = bounded_cache
    await cache.resize(SMALL_BYTES)
    lease = await cache.lease()
    await cache.fill(entry(value=b"x" * (SMALL_BYTES + 1)), lease)

    assert isinstance(await cache.get(), Miss)
    await cache.hold(entry(key="small"))
    assert await cache.held("small") == entry(key="small")


async def test_a_replacement_that_outgrows_the_cache_does_not_leave_the_old_value(
    bounded_cache: CacheUnderTest,
) -> None:
    cache = bounded_cache
    await cache.resize(SMALL_BYTES)
    await cache.hold(entry(version=1))
    await cache.apply(entry(version=2, value=b"x" * (SMALL_BYTES + 1)))

    assert isinstance(await cache.get(), Miss)


async def test_a_fill_whose_placeholder_was_pushed_out_is_rejected(bounded_cache: CacheUnderTest) -> None:
    cache = bounded_cache
    await cache.resize(SMALL_BYTES)
    lease = await cache.lease()
    for n in range(500):
        await cache.hold(entry(key=f"{n}", value=b"x" * 500))

    assert not await cache.fill(entry(), lease)


async def test_the_place_of_what_was_forgotten_is_free_again(bounded_cache: CacheUnderTest) -> None:
    cache = bounded_cache
    await cache.resize(SMALL_BYTES)
    keys = [f"{n}" for n in range(20)]
    for _ in range(50):
        for key in keys:
            await cache.hold(entry(key=key, value=b"x" * 1000))
        await cache.cache.invalidate("contract", keys)
    for key in keys:
        await cache.hold(entry(key=key, value=b"x" * 1000))

    assert [isinstance(await cache.get(key), Hit) for key in keys] == [True] * 20


async def test_readers_and_writers_in_any_order_never_leave_a_stale_copy(bounded_cache: CacheUnderTest) -> None:
    """Each step of a reader (ask, read, fill) and of a writer (commit, tell) alone, in a random order, under eviction.

    When nothing is left to be told, every held copy has to be the authority's.
    """
    cache = bounded_cache
    rng = random.Random(20_270_115)
    for _ in range(60):
        await cache.resize(6_000)
        authority: dict[str, Copy] = {}
        loaded: list[tuple[str, Copy | None, str]] = []
        untold: list[Copy] = []
        version = 0
        for _ in range(300):
            key = f"k{rng.randrange(6)}"
            step = rng.randrange(10)
            if step < 4:
                answer = await cache.get(key)
                if isinstance(answer, Miss) and answer.lease:
                    loaded.append((key, authority.get(key), answer.lease))
            elif step < 6 and loaded:
                filled, copy, lease = loaded.pop(rng.randrange(len(loaded)))
                await cache.fill(copy, lease, key=filled)
            elif step < 8:
                version += 1
                gone = rng.random() < 0.3
                authority[key] = tombstone(key=key, version=version) if gone else entry(key=key, version=version)
                untold.append(authority[key])
            elif untold:
                await cache.apply(untold.pop(rng.randrange(len(untold))))
        for copy in untold:
            await cache.apply(copy)
        for key, copy, lease in loaded:
            await cache.fill(copy, lease, key=key)
        for key in (f"k{n}" for n in range(6)):
            answer = await cache.get(key)
            truth = authority.get(key)
            if isinstance(answer, Hit):
                held = answer.copy if isinstance(answer.copy, Entry) else None
                assert held == (truth if isinstance(truth, Entry) else None), f"{key} is stale"
