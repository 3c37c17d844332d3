"""Sides that do the same for the same time, in alternating blocks: how often, how long, and with how much CPU time.

In a block, so many callers make one call after another on one side; then the next side has its turn, and who begins
changes each round. Ratios are between blocks of one round, neighbours in time; what is told is the median of the rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from bench.histogram import Histogram

T = TypeVar("T")
ROUNDS_MIN = 5
Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Who is measured. `call_of` gives what a caller, by its number, does again and again; `pids` are the servers asked."""

    name: str
    call_of: Callable[[int], Call]
    pids: Sequence[int] = ()
    callers: int | None = None
    """As many instead of the comparison's; the direct side of a pool has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A turn of a side."""

    per_s: float
    durations: Histogram
    client_cpu_us: float
    server_cpu_us: float

    @property
    def p50_us(self) -> float:
        return self.durations.quantile(0.5)


Value = Callable[[Mapping[str, Block]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a round's blocks are boiled down to, and between which bounds the median has to be; none: it is only told."""

    title: str
    value: Value
    at_least: float | None = None
    at_most: float | None = None


def rate_to(side: str, peer: str, *, at_least: float | None = None) -> Target:
    """Calls a second of a side / the peer's."""
    title = f"{side} / {peer}, a second"
    return Target(title=title, value=lambda blocks: blocks[side].per_s / blocks[peer].per_s, at_least=at_least)


def p50_to(side: str, peer: str, *, at_most: float | None = None) -> Target:
    """The median duration of a side / the peer's."""
    title = f"{side} / {peer}, p50"
    return Target(title=title, value=lambda blocks: blocks[side].p50_us / blocks[peer].p50_us, at_most=at_most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A side over all its blocks: medians of rates, quantiles of all durations, CPU time of a call."""

    name: str
    per_s: float
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    client_cpu_us: float
    server_cpu_us: float
    calls: int
    histogram: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A target as it was measured; `rounds` are the values whose median `value` is."""

    title: str
    value: float
    at_least: float | None
    at_most: float | None
    rounds: list[float]

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None: there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least or 0.0) <= self.value and (self.at_most is None or self.value <= self.at_most)

    @property
    def wanted(self) -> str:
        """The bound, as a table has it; empty: there is none."""
        low = "" if self.at_least is None else f"≥ {self.at_least:g}"
        high = "" if self.at_most is None else f"≤ {self.at_most:g}"
        return ", ".join(filter(None, (low, high)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """A comparison in one run."""

    title: str
    callers: int
    sides: list[Measured]
    outcomes: list[Outcome]

    @property
    def met(self) -> bool:
        """Whether all targets are met."""
        return all(outcome.met is not False for outcome in self.outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of a measurement: `rounds`, seconds of a block, and whose event loop the callers are on: asyncio's own, or uvloop's."""

    rounds: int
    block_s: float
    loop: str = "asyncio"

    def run(self, measured: Coroutine[Any, Any, T]) -> T:
        """Run to its end on a loop of that kind."""
        return uvloop.run(measured) if self.loop == "uvloop" else asyncio.run(measured)


async def race(title: str, sides: Sequence[Side], targets: Iterable[Target] = (), *, callers: int, size: Size) -> Race:
    """All sides in alternating blocks, after one each that is not counted."""
    blocks: dict[str, list[Block]] = {side.name: [] for side in sides}
    for side in sides:
        await _block(side, callers, size.block_s / 2)
    for number in range(size.rounds):
        for side in sides if number % 2 else sides[::-1]:
            blocks[side.name].append(await _block(side, callers, size.block_s))
    rounds = [{name: its[number] for name, its in blocks.items()} for number in range(size.rounds)]
    return Race(
        title=title,
        callers=callers,
        sides=[_measured(name, its) for name, its in blocks.items()],
        outcomes=[_outcome(target, rounds) for target in targets],
    )


def _measured(name: str, blocks: Sequence[Block]) -> Measured:
    durations = Histogram()
    for block in blocks:
        durations.add(block.durations)
    return Measured(
        name=name,
        per_s=statistics.median(block.per_s for block in blocks),
        p50_us=durations.quantile(0.5),
        p99_us=durations.quantile(0.99),
        p999_us=durations.quantile(0.999),
        max_us=durations.quantile(1.0),
        client_cpu_us=statistics.median(block.client_cpu_us for block in blocks),
        server_cpu_us=statistics.median(block.server_cpu_us for block in blocks),
        calls=durations.count,
        histogram=durations.text(),
    )


def _outcome(target: Target, rounds: Sequence[Mapping[str, Block]]) -> Outcome:
    values = [target.value(blocks) for blocks in rounds]
    return Outcome(
        title=target.title,
        value=statistics.median(values),
        at_least=target.at_least,
        at_most=target.at_most,
        rounds=values,
    )


async def _block(side: Side, callers: int, seconds: float) -> Block:
    clock, durations = time.perf_counter, list[list[float]]()

    async def caller(number: int) -> None:
        call, mine = side.call_of(number), list[float]()
        durations.append(mine)
        before = clock()
        while before < end:
            await call()
            now = clock()
            mine.append(now - before)
            before = now

    server_cpu_s, client_cpu_s, start = _cpu_s(side.pids), time.process_time(), clock()
    end = start + seconds
    await asyncio.gather(*map(caller, range(side.callers or callers)))
    took_s = clock() - start
    client_cpu_s, server_cpu_s = time.process_time() - client_cpu_s, _cpu_s(side.pids) - server_cpu_s
    calls = sum(map(len, durations))
    return Block(
        per_s=calls / took_s,
        durations=Histogram.of(duration for mine in durations for duration in mine),
        client_cpu_us=client_cpu_s / calls * 1e6,
        server_cpu_us=server_cpu_s / calls * 1e6,
    )


def _cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of processes and what they have started, by the scheduler's own count, which has nanoseconds."""
    return sum(_nanoseconds(pid) for pid in pids) / 1e9


def _nanoseconds(pid: int) -> int:
    used = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            used += int((task / "schedstat").read_text().split()[0])
            used += sum(map(_nanoseconds, map(int, (task / "children").read_text().split())))
        except OSError:  # it has just ended
            continue
    return used
