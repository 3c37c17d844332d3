"""Readers and writers of several daemons against one authority, while items are taken away from under them.

A state that was told is never undone: once a daemon has told version n of a key, no later lookup of any daemon may
answer with an older one. Each lookup is held to that, with what had been told when it began.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from sidecar.core.cache import Cache, Fill, Hit, Miss
from sidecar.core.entry import Copy, Entry
from tests.support.clock import START_MS
from tests.support.factories import entry, tombstone

KEYS = [f"k{n}" for n in range(12)]
READERS, WRITERS = 8, 4


@dataclass
class Race:
    """An authority, what was told of it, and what came of the lookups."""

    seed: int
    lookups: int = 0
    hits: int = 0
    fills: int = 0
    stale: list[str] = field(default_factory=list)
    _version: int = 0
    _states: dict[str, list[Copy]] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)

    async def run(self, caches: Sequence[Cache], *, lookups: int, stop_when_stale: bool = False) -> None:
        """So many lookups in all."""
        self._end, self._stop = self.lookups + lookups, stop_when_stale
        actors = [self._read(caches[n % len(caches)], random.Random(f"{self.seed} r{n}")) for n in range(READERS)]
        actors += [self._write(caches[n % len(caches)], random.Random(f"{self.seed} w{n}")) for n in range(WRITERS)]
        actors.append(self._evict(caches[0], random.Random(f"{self.seed} e")))
        await asyncio.gather(*actors)
        for key in KEYS:
            await self._look_up(caches[0], key)

    @property
    def _over(self) -> bool:
        return self.lookups >= self._end or (self._stop and bool(self.stale))

    async def _read(self, cache: Cache, rng: random.Random) -> None:
        while not self._over:
            key = rng.choice(KEYS)
            lease = await self._look_up(cache, key)
            if lease is not None:
                await _pause(rng)
                copy = self._states[key][-1] if key in self._states else None
                if copy is not None and not isinstance(copy, Entry) and rng.random() < 0.5:
                    copy = None  # the authority has forgotten the tombstone
                await _pause(rng)
                self.fills += await cache.fill("contract", [Fill(key, copy, lease)], generation=1, now=START_MS)

    async def _look_up(self, cache: Cache, key: str) -> str | None:
        told = self._told.get(key, 0)
        (answer,) = await cache.get("contract", [key], generation=1, now=START_MS)
        self.lookups += 1
        if isinstance(answer, Miss):
            return answer.lease
        self.hits += 1
        if not self._true(key, answer, told):
            self.stale.append(f"{key}: {answer} after version {told} was told")
        return None

    def _true(self, key: str, answer: Hit, told: int) -> bool:
        if isinstance(answer.copy, Entry):
            return answer.copy.version >= told
        since = [state for state in self._states.get(key, []) if state.version >= told]
        return told == 0 or any(not isinstance(state, Entry) for state in since)

    async def _write(self, cache: Cache, rng: random.Random) -> None:
        while not self._over:
            key = rng.choice(KEYS)
            lease = None
            if rng.random() < 0.4:
                (lease,) = await cache.lease("contract", [key], generation=1, now=START_MS)
                await _pause(rng)
            self._version += 1
            version = self._version
            state: Copy = tombstone(key=key, version=version) if rng.random() < 0.2 else entry(key=key, version=version)
            self._states.setdefault(key, []).append(state)
            await _pause(rng)
            stored = 0
            if lease is not None:
                stored = await cache.fill("contract", [Fill(key, state, lease)], generation=1, now=START_MS)
            if not stored:
                await cache.apply("contract", [state], generation=1)
            self._told[key] = max(self._told.get(key, 0), version)
            for _ in range(rng.randrange(30)):
                await asyncio.sleep(0)

    async def _evict(self, cache: Cache, rng: random.Random) -> None:
        while not self._over:
            await cache.invalidate("contract", [rng.choice(KEYS)])
            for _ in range(rng.randrange(30)):
                await asyncio.sleep(0)


async def _pause(rng: random.Random) -> None:
    for _ in range(rng.choice((0, 0, 1, 3, 12, 40))):
        await asyncio.sleep(0)
