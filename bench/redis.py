"""Reads through Redis against redis-py's asyncio client alone: the same server, one caller, in alternating short blocks.

The floor is what an application would do without us: GET of one key, MGET of a hundred. Ours are the same keys and values
through the cache, and through the engine as StateService asks it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio
import uvloop

from bench.figures import Row, percentile
from servers.base import HOST
from servers.redis import Valkey
from sidecar.core.limits import Limits
from sidecar.core.modes import Tier
from sidecar.core.operations import Put, Write
from sidecar.core.policy import PolicyTable
from sidecar.engine.engine import Engine
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryStore
from sidecar.stores.redis import RedisCache, RedisClient, parse_target
from sidecar.tiers.placement import Placement
from sidecar.tiers.repair import Repairer

VALUE = bytes(index * 7 % 251 for index in range(1024))
KEYS = [f"user-{number:04}" for number in range(100)]
NAMESPACE = "default"
FLOORS = [0] * len(KEYS)
BLOCKS = {1: 1.0, len(KEYS): 0.2}
"""By the keys of a call, the part of `calls` that a block makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A read of ours beside the floor's."""

    title: str
    keys: int
    ours: Callable[[], Awaitable[Any]]
    bare: Callable[[], Awaitable[Any]]
    ratio_max: float | None


async def _block(call: Callable[[], Awaitable[Any]], calls: int) -> list[float]:
    clock, durations = time.perf_counter, []
    for _ in range(calls):
        start = clock()
        await call()
        durations.append(clock() - start)
    return sorted(durations)


async def _compare(case: Case, *, rounds: int, calls: int) -> Row:
    calls = max(20, int(calls * BLOCKS[case.keys]))
    sides = (case.bare, case.ours)
    p50: dict[Any, list[float]] = {side: [] for side in sides}
    p99: dict[Any, list[float]] = {side: [] for side in sides}
    for side in sides:
        await _block(side, calls)
    for number in range(rounds):
        for side in sides if number % 2 else sides[::-1]:
            durations = await _block(side, calls)
            p50[side].append(percentile(durations, 0.5))
            p99[side].append(percentile(durations, 0.99))
    return Row(
        title=case.title,
        p50_us=statistics.median(p50[case.ours]) * 1e6,
        p99_us=statistics.median(p99[case.ours]) * 1e6,
        floor_p50_us=statistics.median(p50[case.bare]) * 1e6,
        floor_p99_us=statistics.median(p99[case.bare]) * 1e6,
        ratio=statistics.median(ours / bare for ours, bare in zip(p50[case.ours], p50[case.bare], strict=True)),
        ratio_max=case.ratio_max,
    )


async def _filled(engine: Engine, placement: Placement, ports: SystemPorts) -> None:
    """Have every key in Redis, by the way it gets there."""
    await Repairer(placement, ports).round()
    for key in KEYS:
        put = Put(key=key, value=VALUE)
        await placement.commit(Write(namespace=NAMESPACE, operations=(put,), value_bytes_max=1 << 20))
    read = await engine.reads.get(NAMESPACE, KEYS, floors=FLOORS, strong=False, deadline=None)
    assert all(found.entry is not None and found.tier is Tier.HOT for found in read.lookups)


def _cases(cache: RedisCache, placement: Placement, engine: Engine, bare: redis.asyncio.Redis) -> Sequence[Case]:
    now = placement.authority.now
    one = KEYS[:1]

    def cached(keys: Sequence[str]) -> Callable[[], Awaitable[list[Any]]]:
        generation = placement.cache.generation or 0
        return lambda: cache.get(NAMESPACE, keys, generation=generation, now=now())

    def engined(keys: Sequence[str]) -> Callable[[], Awaitable[Any]]:
        floors = FLOORS[: len(keys)]
        return lambda: engine.reads.get(NAMESPACE, keys, floors=floors, strong=False, deadline=None)

    def get() -> Awaitable[Any]:
        return bare.get(KEYS[0])

    def mget() -> Awaitable[Any]:
        return bare.mget(KEYS)

    return (
        Case(title="Redis hit, the cache alone", keys=1, ours=cached(one), bare=get, ratio_max=1.15),
        Case(title="Redis hit, through the engine", keys=1, ours=engined(one), bare=get, ratio_max=1.5),
        Case(title="100 Redis hits, the cache alone", keys=100, ours=cached(KEYS), bare=mget, ratio_max=None),
        Case(title="100 Redis hits, through the engine", keys=100, ours=engined(KEYS), bare=mget, ratio_max=1.3),
    )


async def _measure(server: Valkey, progress: Callable[[str], None], *, rounds: int, calls: int) -> list[Row]:
    ports = SystemPorts()
    client = RedisClient(parse_target(server.url), clock=ports.clock)
    cache = RedisCache(client, prefix="bench")
    placement = Placement(MemoryStore(clock=ports.clock), tier=Tier.WARM, ports=ports, cache=cache)
    engine = Engine(policies=PolicyTable(), limits=Limits(), hot=None, warm=placement)
    bare = redis.asyncio.Redis(host=HOST, port=server.port)
    await bare.mset(dict.fromkeys(KEYS, VALUE))
    await _filled(engine, placement, ports)
    rows = []
    for case in _cases(cache, placement, engine, bare):
        progress(case.title)
        rows.append(await _compare(case, rounds=rounds, calls=calls))
    await bare.aclose()
    await client.close()
    return rows


def measure(progress: Callable[[str], None], *, rounds: int, calls: int) -> list[Row]:
    """All cases, against one Valkey that lives through the whole run."""
    with Valkey() as server:
        return uvloop.run(_measure(server, progress, rounds=rounds, calls=calls))
