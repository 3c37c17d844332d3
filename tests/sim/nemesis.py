"""What goes wrong besides single calls: crashes, pauses, outages, and a cache that forgets or goes back in time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Protocol

from sidecar.stores.memory import MemoryCache
from tests.sim.clients import Fleet
from tests.sim.faults import Link
from tests.sim.plan import Plan
from tests.sim.promises import Ledger, Promise
from tests.sim.scheduler import Scheduler, sleep

DRAIN_MS = 120_000
"""Virtual time in which everything that was admitted must have been answered, with slow calls, pauses and all."""


class Restart(Protocol):
    """Puts a new incarnation of a sidecar in its place."""

    def __call__(self, place: int) -> None: ...


class Nemesis:
    """Does what the plan allows, one thing after another, until told to stop."""

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        random: Random,
        plan: Plan,
        fleet: Fleet,
        cache: MemoryCache,
        ledger: Ledger,
        restart: Restart,
        faults: Counter[str],
    ) -> None:
        self.stopped = False
        self._scheduler = scheduler
        self._random = random
        self._plan = plan
        self._fleet = fleet
        self._cache = cache
        self._require = ledger.require
        self._restart = restart
        self._faults = faults

    async def run(self) -> None:
        while not self.stopped:
            await sleep(self._random.randint(0, self._plan.nemesis_pause_ms))
            await self._do(self._random.choice(self._plan.nemeses))
        if "rollback" in self._plan.nemeses:
            # What comes last, later writes can't heal by chance.
            await self._do("rollback")

    async def _do(self, name: str) -> None:
        self._faults[name] += 1
        self._scheduler.note("----", name)
        await getattr(self, name)()

    def _place(self) -> int:
        return self._random.randrange(len(self._fleet.places))

    async def crash(self) -> None:
        place = self._place()
        self._scheduler.note("crash of", self._fleet.places[place].name)
        self._fleet.places[place].crash()
        await sleep(self._random.choice((0, 100, 2_000)))
        self._restart(place)

    async def pause(self) -> None:
        process = self._fleet.places[self._place()].process
        self._scheduler.note("pause of", process.name)
        self._scheduler.pause(process)
        await sleep(self._random.choice((50, 1_000, 5_000, 12_000)))
        self._scheduler.resume(process)

    async def cut_authority(self) -> None:
        await self._cut([sidecar.store.link for sidecar in self._fleet.places])

    async def cut_cache(self) -> None:
        await self._cut([sidecar.cache.link for sidecar in self._fleet.places])

    async def _cut(self, links: list[Link]) -> None:
        """All of them, or one."""
        chosen = links if self._random.random() < 0.6 else [self._random.choice(links)]
        for link in chosen:
            link.cut = True
        await sleep(self._random.choice((50, 1_000, 4_000)))
        for link in chosen:
            link.cut = False

    async def evict(self) -> None:
        """Forced eviction of 15 to 40 % of what is there."""
        share = self._random.uniform(0.15, 0.4)
        for slot in list(self._cache._slots):
            if self._random.random() < share:
                self._cache._drop(slot)
        if self._random.random() < share:
            self._cache._turns.clear()

    async def flush(self) -> None:
        """All is forgotten; whoever flushed can be noticed by the identity."""
        self._cache.clear()
        self._rename()

    async def rollback(self) -> None:
        """A failover to a replica that lags: the cache is again what it was a moment ago."""
        slots, held = self._cache._slots.copy(), self._cache.bytes_held
        turns = {generation: replace(turn) for generation, turn in self._cache._turns.items()}
        lag = self._random.choice((5, 100, 1_500, 4_000))
        await sleep(self._random.randint(0, lag))
        self._cache._slots, self._cache.bytes_held, self._cache._turns = slots, held, turns
        self._rename()

    def _rename(self) -> None:
        # An identity never comes again, whichever nemesis gave the last one.
        last = int(self._cache._identity.split("-")[1])
        self._cache._identity = f"cache-{last + 1}-"
        self._scheduler.note("---- the cache is now", self._cache._identity)

    async def drain(self) -> None:
        """A rollout: one sidecar finishes what it has, and another takes its place."""
        place = self._place()
        sidecar = self._fleet.places[place]
        clean = await sidecar.drain(DRAIN_MS)
        self._require(
            Promise.DRAIN_CLEAN,
            clean and not sidecar.leftovers,
            f"{sidecar.name} drained with {sidecar.leftovers or 'tasks'}",
        )
        sidecar.crash()
        self._restart(place)
