"""A run: writers on one daemon, readers with near caches on another, whose streams are cut and fall silent.

What is judged of each answer from a near cache: the version that superseded it had not been acknowledged to its writer for
longer than the bound that the answer states, when the read began. One writer a key, so acknowledgements are in order; all
in one process, so there is one clock.
"""

from __future__ import annotations

import asyncio
import random
import time
from bisect import bisect_right
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from statesidecar import AsyncStateClient, GetResult, NearCache, StateClient, StateSidecarError
from tests.client.proxy import Proxy

NS = "model"
WRITERS, KEYS = 4, 20
"""Of each writer."""
BURST = 64
"""Reads between two looks at how far the others are."""
CALL_S = 0.6


@dataclass
class Outcome:
    """What a run has shown."""

    reads: int = 0
    hits: int = 0
    writes: int = 0
    oldest_s: float = 0.0
    """How long a version had been superseded, at most, when a read began that returned it from a near cache."""
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class History:
    """Versions of each key and when they were acknowledged: in order, for a key has one writer."""

    def __init__(self) -> None:
        self._versions: dict[str, list[int]] = {}
        self._acknowledged_s: dict[str, list[float]] = {}

    def acknowledged(self, key: str, version: int) -> None:
        """Now."""
        self._acknowledged_s.setdefault(key, []).append(time.monotonic())
        self._versions.setdefault(key, []).append(version)  # Last: readers in other threads look here first

    def superseded_s(self, key: str, version: int) -> float | None:
        """When the next version was acknowledged; None: it was not."""
        versions = self._versions.get(key, [])
        place = bisect_right(versions, version)
        return self._acknowledged_s[key][place] if place < len(versions) else None


class Judge:
    """Of one reader: it looks at each of its answers."""

    def __init__(self, outcome: Outcome, history: History, settings: NearCache) -> None:
        self._outcome = outcome
        self._history = history
        self._max_age_s = settings.max_age_s
        self._seen: dict[str, int] = {}

    def read(self, key: str, result: GetResult, began_s: float) -> None:
        """An answer to a read that began at this monotonic second."""
        self._outcome.reads += 1
        if result.version < self._seen.get(key, 0):
            self._wrong(f"{key}: {result.version} after {self._seen[key]}")
        self._seen[key] = result.version
        if result.max_age_s is None:
            return
        self._outcome.hits += 1
        if result.max_age_s > self._max_age_s:
            self._wrong(f"{key}: {result.max_age_s:.3f} s is more than {self._max_age_s} s")
        superseded_s = self._history.superseded_s(key, result.version)
        if superseded_s is None:
            return
        old_s = began_s - superseded_s
        self._outcome.oldest_s = max(self._outcome.oldest_s, old_s)
        if old_s > result.max_age_s:
            self._wrong(f"{key}: {result.version} was superseded for {old_s:.6f} s, not {result.max_age_s:.6f}")

    def _wrong(self, problem: str) -> None:
        if len(self._outcome.problems) < 20:
            self._outcome.problems.append(problem)


class Run:
    """One, over two daemons that share their backends."""

    def __init__(self, reading: str, writing: str, seed: int, settings: NearCache, *, write_pause_s: float) -> None:
        """`reading`, `writing`: where the daemons of readers and writers listen. `write_pause_s`: a writer's, on average."""
        self._write_pause_s = write_pause_s
        self._reading, self._writing = reading, writing
        self._chance = random.Random(seed)
        self._settings = settings
        self._history = History()
        self._done = Event()
        self.outcome = Outcome()

    async def go(self, *, reads: int, fault_s: float) -> Outcome:
        """Until so many reads were made. A stream is cut, or falls silent, about each `fault_s`."""
        async with AsyncExitStack() as stack:
            proxy = stack.enter_context(Proxy(self._reading))
            writers = [await stack.enter_async_context(AsyncStateClient(self._writing)) for _ in range(2)]
            options: dict[str, Any] = {"near": {NS: self._settings}, "timeout_s": CALL_S}
            first = await stack.enter_async_context(AsyncStateClient(proxy.target, **options))
            second = stack.enter_context(StateClient(proxy.target, **options))
            for number in range(WRITERS):
                for key in _keys(number):
                    await self._write_once(writers[0], key)
            tasks = [
                *[asyncio.create_task(self._write(writers[number % 2], number)) for number in range(WRITERS)],
                asyncio.create_task(self._fail(proxy, fault_s)),
            ]
            reading = [
                *[asyncio.create_task(self._read(first, reads)) for _ in range(2)],
                asyncio.create_task(asyncio.to_thread(self._read_blocking, second, reads)),
            ]
            try:
                await asyncio.gather(*reading)
            finally:
                self._done.set()
                await asyncio.gather(*tasks)
        return self.outcome

    # ---- writers, faults

    async def _write(self, client: AsyncStateClient, number: int) -> None:
        keys = list(_keys(number))
        while not self._done.is_set():
            await self._write_once(client, self._chance.choice(keys))
            await _pause(self._chance.expovariate(1 / self._write_pause_s))

    async def _write_once(self, client: AsyncStateClient, key: str) -> None:
        written = await client.set(NS, key, b"%d" % self.outcome.writes)
        self._history.acknowledged(key, written.version)
        self.outcome.writes += 1

    async def _fail(self, proxy: Proxy, fault_s: float) -> None:
        while not self._done.is_set():
            await _pause(self._chance.uniform(0.5, 1.5) * fault_s)
            fault = "silence" if self.outcome.faults["cut"] > self.outcome.faults["silence"] else "cut"
            self.outcome.faults[fault] += 1
            proxy.cut() if fault == "cut" else proxy.silence()

    # ---- readers

    async def _read(self, client: AsyncStateClient, reads: int) -> None:
        judge, keys = self._judge()
        while self._goes_on(reads):
            for _ in range(BURST):
                key = self._chance.choice(keys)
                began_s = time.monotonic()
                try:
                    result = await client.get(NS, key)
                except StateSidecarError as error:
                    self.outcome.errors[type(error).__name__] += 1
                else:
                    judge.read(key, result, began_s)
            await asyncio.sleep(0)

    def _read_blocking(self, client: StateClient, reads: int) -> None:
        judge, keys = self._judge()
        chance = random.Random(self._chance.random())
        while self._goes_on(reads):
            key = chance.choice(keys)
            began_s = time.monotonic()
            try:
                result = client.get(NS, key)
            except StateSidecarError as error:
                self.outcome.errors[type(error).__name__] += 1
            else:
                judge.read(key, result, began_s)

    def _goes_on(self, reads: int) -> bool:
        return self.outcome.reads < reads or self.outcome.faults.total() < 2  # one of each

    def _judge(self) -> tuple[Judge, list[str]]:
        keys = [key for number in range(WRITERS) for key in _keys(number)]
        return Judge(self.outcome, self._history, self._settings), keys


def _keys(number: int) -> list[str]:
    return [f"{number}/{key}" for key in range(KEYS)]


async def _pause(seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
