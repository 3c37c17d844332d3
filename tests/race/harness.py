"""Writers and readers of a few keys through several daemons' placements, over a real cache that keeps forgetting.

Four writers, four readers, thirty keys, forced evictions, writers that die between commit and apply. The authority is in
this process, so that the truth is known at each step. What is counted:

- *fills*: copies that the cache accepted under a lease.
- *stale*: a hot answer older than a version whose writer had told the cache before the read began; and, when all is quiet,
  a copy that differs from an authority whose last writer did not die.
- *unrepaired*: copies that are still wrong after the repairer's rounds, whoever died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sidecar.core.cache import Cache, Fill, Hit
from sidecar.core.entry import Copy, Entry
from sidecar.core.modes import Tier
from sidecar.core.operations import Operation, Put, Remove
from sidecar.core.store import Outcome
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.placement import Placement
from sidecar.tiers.repair import Repairer
from tests.support.factories import NAMESPACE, write

WRITERS = READERS = 4
KEYS = [f"k{n:02}" for n in range(30)]
OPERATIONS_PER_ROUND = 2_000
DEATHS = 0.02
DAEMONS = 2


@dataclass(slots=True)
class Figures:
    """What was counted."""

    fills: int = 0
    reads: int = 0
    writes: int = 0
    deaths: int = 0
    evictions: int = 0
    stale: int = 0
    unrepaired: int = 0
    examples: list[str] = field(default_factory=list)

    def wrong(self, what: str) -> None:
        """Keep the first few."""
        if len(self.examples) < 5:
            self.examples.append(what)


class _Counted:
    """A cache whose accepted fills are counted."""

    def __init__(self, cache: Cache, figures: Figures) -> None:
        self._cache = cache
        self._figures = figures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        stored = await self._cache.fill(namespace, fills, generation=generation, now=now)
        self._figures.fills += stored
        return stored


class _Yielding(MemoryStore):
    """An authority whose answers take a while, so that others come between."""

    def __init__(self, random: Random, **options: Any) -> None:
        super().__init__(**options)
        self._random = random

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        copies = await super().get(namespace, keys)
        await wait_a_little(self._random)
        return copies

    async def commit(self, write: Any) -> Outcome:
        outcome = await super().commit(write)
        await wait_a_little(self._random)
        return outcome


async def wait_a_little(random: Random) -> None:
    """Let the others run for a number of turns of the loop; I/O comes in between."""
    for _ in range(random.choice((0, 0, 1, 3, 10, 40))):
        await asyncio.sleep(0)


class Race:
    """One run over caches that `connect` makes, each as another daemon's connection to the same one."""

    def __init__(self, connect: Callable[[], Cache], *, seed: int) -> None:
        self.figures = Figures()
        self._random = Random(seed)
        self._connect = connect
        self._told: dict[str, int] = {}
        self._dead: set[str] = set()

    async def run(self, fills: int, progress: Callable[[Figures], None] = lambda _: None) -> Figures:
        """Rounds until so many fills were accepted."""
        ports = SystemPorts()
        self._store = _Yielding(self._random, clock=ports.clock)
        async with AsyncExitStack() as stack:
            self._placements = []
            for _ in range(DAEMONS):
                cache = _Counted(self._connect(), self.figures)
                stack.push_async_callback(cache.close)
                self._placements.append(Placement(self._store, tier=Tier.WARM, ports=ports, cache=cache))
            self._repairers = [Repairer(placement, ports) for placement in self._placements]
            await self._repair()
            while self.figures.fills < fills:
                await self._round()
                progress(self.figures)
        return self.figures

    async def _round(self) -> None:
        self._left, self._due = OPERATIONS_PER_ROUND, 0.0
        self._rate = self._random.uniform(0.15, 0.4)
        actors = [self._write() for _ in range(WRITERS)] + [self._read() for _ in range(READERS)]
        await asyncio.gather(*actors, self._evict())
        await self._check("stale", [key for key in KEYS if key not in self._dead])
        await self._repair()
        await self._check("unrepaired", KEYS)
        self._dead.clear()

    async def _write(self) -> None:
        while self._take():
            placement, key = self._random.choice(self._placements), self._random.choice(KEYS)
            operation: Operation = Remove(key=key) if self._random.random() < 0.1 else Put(key=key, value=b"value")
            self.figures.writes += 1
            self._due += self._rate
            if self._random.random() < DEATHS:
                await self._store.commit(write(operation))
                self._dead.add(key)
                self.figures.deaths += 1
                continue
            outcome = await placement.commit(write(operation))
            for copy in outcome.copies:
                self._told[copy.key] = max(copy.version, self._told.get(copy.key, 0))
            await wait_a_little(self._random)

    async def _read(self) -> None:
        while self._take():
            placement = self._random.choice(self._placements)
            keys = self._random.sample(KEYS, k=self._random.choice((1, 1, 3, 10)))
            told = [self._told.get(key, 0) for key in keys]
            found = await placement.get(NAMESPACE, keys, [0] * len(keys), deadline=None)
            self.figures.reads += len(keys)
            self._due += len(keys) * self._rate
            for key, least, answer in zip(keys, told, found.lookups, strict=True):
                version = 0 if answer.copy is None else answer.copy.version
                if answer.tier is Tier.HOT and version < least:
                    self.figures.stale += 1
                    self.figures.wrong(f"{key}: a hot {version} where {least} had been told")
            await wait_a_little(self._random)
            if found.fills:
                await placement.cache.fill(NAMESPACE, found.fills, now=self._store.now())

    async def _evict(self) -> None:
        """For 15 to 40 % of the keys that are read and written, one is forgotten by the cache: a DEL is what that is."""
        while self._left > 0:
            count = min(int(self._due), len(KEYS))
            if count:
                self._due -= count
                self.figures.evictions += count
                await self._placements[0].cache.invalidate(NAMESPACE, self._random.sample(KEYS, k=count))
            await asyncio.sleep(0)

    def _take(self) -> bool:
        self._left -= 1
        return self._left > 0

    async def _repair(self) -> None:
        for repairer in self._repairers:
            while await repairer.round():
                pass

    async def _check(self, what: str, keys: list[str]) -> None:
        """All is quiet: each copy is the authority's."""
        placement, now = self._placements[0], self._store.now()
        assert placement.cache.generation is not None
        truths = await MemoryStore.get(self._store, NAMESPACE, keys)
        held = await placement.cache.backend.get(NAMESPACE, keys, generation=placement.cache.generation, now=now)
        for key, truth, found in zip(keys, truths, held, strict=True):
            if isinstance(found, Hit) and not _same(found.copy, truth):
                setattr(self.figures, what, getattr(self.figures, what) + 1)
                self.figures.wrong(f"{what} {key}: {_version(found.copy)}, the authority has {_version(truth)}")
                await placement.cache.invalidate(NAMESPACE, [key])
        leases = {
            key: found.lease
            for key, found in zip(keys, held, strict=True)
            if not isinstance(found, Hit) and found.lease
        }
        await placement.cache.release(NAMESPACE, leases)


def _same(held: Copy | None, truth: Copy | None) -> bool:
    absent = not isinstance(held, Entry) and not isinstance(truth, Entry)
    return absent or _version(held) == _version(truth)


def _version(copy: Copy | None) -> int:
    return 0 if copy is None else copy.version
