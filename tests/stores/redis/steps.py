"""Readers and writers of a few keys, each step of theirs alone in a random order, while copies are evicted.

No copy that is found may be older than what was told; when nothing is left to be told, each has to be the authority's.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from sidecar.core.cache import Hit, Miss
from sidecar.core.entry import Copy, Entry
from tests.contract.harnesses import CacheUnderTest
from tests.support.factories import NAMESPACE, entry, tombstone

KEYS = [f"k{number}" for number in range(6)]
EPOCH = 1000 << 48
"""Above 2^53: neighbouring versions are one double."""
STEPS = 400


async def stale_after(
    cache: CacheUnderTest, evict: Callable[[str], Awaitable[object]], rng: random.Random
) -> list[str]:
    """The keys whose copies were found wrong in so many steps. `evict` has Redis itself forget one."""
    wrong: list[str] = []
    told: dict[str, int] = {}
    authority: dict[str, Copy] = {}
    loaded: list[tuple[str, Copy | None, str]] = []
    untold: list[Copy] = []
    for version in range(EPOCH + 1, EPOCH + STEPS):
        key = rng.choice(KEYS)
        match rng.randrange(10):
            case 0 | 1 | 2 | 3:
                answer = await cache.get(key)
                if isinstance(answer, Miss) and answer.lease:
                    loaded.append((key, authority.get(key), answer.lease))
                elif (
                    isinstance(answer, Hit)
                    and isinstance(answer.copy, Entry)
                    and answer.copy.version < told.get(key, 0)
                ):
                    wrong.append(key)
            case 4 | 5 if loaded:
                filled, copy, lease = loaded.pop(rng.randrange(len(loaded)))
                await cache.fill(copy, lease, key=filled)
            case 6 | 7:
                gone = rng.random() < 0.3
                authority[key] = tombstone(key=key, version=version) if gone else entry(key=key, version=version)
                untold.append(authority[key])
            case 8:
                await evict(key)
            case _ if untold:
                state = untold.pop(rng.randrange(len(untold)))
                await cache.apply(state)
                told[state.key] = max(state.version, told.get(state.key, 0))
    for state in untold:
        await cache.apply(state)
    for key, copy, lease in loaded:
        await cache.fill(copy, lease, key=key)
    wrong += [key for key in KEYS if not await _right(cache, key, authority.get(key))]
    await cache.cache.invalidate(NAMESPACE, KEYS)
    return wrong


async def _right(cache: CacheUnderTest, key: str, truth: Copy | None) -> bool:
    answer = await cache.get(key)
    if isinstance(answer, Miss):
        return True
    assert isinstance(answer, Hit)
    held = answer.copy if isinstance(answer.copy, Entry) else None
    return held == (truth if isinstance(truth, Entry) else None)
