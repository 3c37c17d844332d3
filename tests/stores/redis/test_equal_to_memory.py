"""Step by step what `MemoryCache` does: the same calls in a random order get the same answers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from servers.base import shared
from servers.redis import Redis, RedisCluster, Valkey
from sidecar.core.cache import REPAIR_TURN_MS, Fill, Hit, Miss
from sidecar.core.entry import Copy
from sidecar.stores.memory import MemoryCache
from tests.stores.redis.support import cache_of
from tests.support.clock import START_MS
from tests.support.factories import entry, tombstone

LEASE_MS, NEGATIVE_MS = 60_000, 50_000
"""So long that the server's own clock ends nothing in a test that moves the authority's."""
KEYS = "abcd"
BASE = (1 << 63) - 10_000
"""Versions above 2^53, whose neighbours are one double."""


@pytest.mark.parametrize("kind", [Redis, Valkey, RedisCluster])
@pytest.mark.parametrize("seed", range(6))
async def test_the_same_calls_get_the_same_answers(kind: Any, seed: int) -> None:
    model = MemoryCache(bytes_max=1 << 30, lease_ms=LEASE_MS, negative_ms=NEGATIVE_MS)
    rng = random.Random(seed)
    leases: list[tuple[str, str, str]] = [("a", "invented", "invented")]
    now, generation, version = START_MS, 1, BASE

    def state(key: str) -> Copy:
        some = rng.randrange(max(BASE, version - 4), version + 1)
        if rng.random() < 0.3:
            return tombstone(key=key, version=some)
        return entry(key=key, version=some, expire_time=rng.choice((None, now + 30_000, now + 200_000, now)))

    async with cache_of(shared(kind).url, lease_ms=LEASE_MS, negative_ms=NEGATIVE_MS) as under_test:
        subject = under_test.cache
        for step in range(600):
            version += 1
            now += rng.choice((0, 0, 1, 1000, 20_000))
            if step % 150 == 149:
                generation += 1
            used = rng.choice((generation, generation, generation, max(1, generation - 1)))
            at = {"generation": used, "now": now}
            keys = rng.choices(KEYS, k=rng.randrange(1, 4))
            match rng.randrange(8):
                case 0 | 1 | 2:
                    expected, actual = (
                        await model.get("contract", keys, **at),
                        await subject.get("contract", keys, **at),
                    )
                    for key, wanted, answer in zip(keys, expected, actual, strict=True):
                        if isinstance(wanted, Miss) and isinstance(answer, Miss):
                            assert (wanted.lease is None) == (answer.lease is None), (step, key)
                            if wanted.lease and answer.lease:
                                leases.append((key, wanted.lease, answer.lease))
                        else:
                            assert isinstance(wanted, Hit), (step, key)
                            assert answer == wanted, (step, key)
                case 3:
                    taken, given = (
                        await model.lease("contract", keys, **at),
                        await subject.lease("contract", keys, **at),
                    )
                    assert [lease is None for lease in taken] == [lease is None for lease in given], step
                    leases += [(key, a, b) for key, a, b in zip(keys, taken, given, strict=True) if a and b]
                case 4 | 5:
                    key, one, other = rng.choice(leases[-6:])
                    copy = rng.choice((None, state(key)))
                    counts = (
                        await model.fill("contract", [Fill(key, copy, one)], **at),
                        await subject.fill("contract", [Fill(key, copy, other)], **at),
                    )
                    assert counts[0] == counts[1], step
                case 6:
                    told = [state(key) for key in keys]
                    await model.apply("contract", told, generation=used)
                    await subject.apply("contract", told, generation=used)
                case _:
                    key, one, other = rng.choice(leases[-6:])
                    if rng.random() < 0.5:
                        await model.release("contract", [(key, one)])
                        await subject.release("contract", [(key, other)])
                    else:
                        await model.invalidate("contract", [key])
                        await subject.invalidate("contract", [key])


@pytest.mark.parametrize("seed", range(3))
async def test_turns_of_repairers_are_the_same(seed: int) -> None:
    model = MemoryCache(bytes_max=1 << 30)
    rng = random.Random(seed)
    now = START_MS
    async with cache_of(shared(Valkey).url) as under_test:
        subject = under_test.cache
        for step in range(300):
            now += rng.choice((0, 0, 1, 1000, REPAIR_TURN_MS))
            owner = rng.choice(("one", "two", "three with spaces"))
            generation = 1 + step // 100
            if rng.random() < 0.6:
                begin = rng.choice((None, None, BASE + step))
                claim: dict[str, Any] = {"generation": generation, "begin": begin, "now": now}
                assert await subject.claim_repair(owner, **claim) == await model.claim_repair(owner, **claim), step
            else:
                renewal = {"generation": generation, "cursor": BASE + step, "now": now}
                assert await subject.renew_repair(owner, **renewal) == await model.renew_repair(owner, **renewal), step
