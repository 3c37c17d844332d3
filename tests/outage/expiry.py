"""What callers feel of the cleaning: Gets while nothing is to be cleaned, and while very many expired entries are.

In rounds, each of which loads entries that end at the same instant, calls through a quiet time before it, goes on
calling until they are swept, and through another: so that what the machine does besides is in both of the durations that are compared.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from servers.postgres import Postgres
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.support.process import Caller, DaemonProcess

NAMESPACE = "feature"
LIVE_KEYS = 1_000
CALLERS = 4
CALLS_PER_S = 100.0
"""Of each caller: a steady load, however quick the answers are."""
QUIET_S = 8.0
"""Before the entries end, and after they are cleaned."""
SETTLE_S = 2.0
"""Between what is loaded and what is measured."""
VALUE = bytes(500)
BATCH = 100
PATIENCE_S = 300.0
RATIO_MAX = 1.5
"""What is promised."""
CLEANED = re.compile(r'^statesidecar_cleaned_total\{kind="expired"\} (\S+)', re.MULTILINE)
_PAUSE = threading.Event()
"""Never set: to let time pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Durations in seconds: 99 of 100 Gets, of copies and of the authority's entries, and how long the cleaning took."""

    quiet_s: tuple[float, float]
    cleaning_s: tuple[float, float]
    took_s: float

    @property
    def ratios(self) -> tuple[float, float]:
        """What a Get takes while entries are cleaned, of what it takes else."""
        return self.cleaning_s[0] / self.quiet_s[0], self.cleaning_s[1] / self.quiet_s[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of the rounds of one store."""

    name: str
    entries: int
    rounds: list[Round]

    @property
    def ratios(self) -> tuple[float, float]:
        """Medians, of Gets of copies and of strong ones."""
        return _medians(one.ratios for one in self.rounds)

    def __str__(self) -> str:
        took_s = sum(one.took_s for one in self.rounds)
        quiet, cleaning = _medians(one.quiet_s for one in self.rounds), _medians(one.cleaning_s for one in self.rounds)
        told = [
            f"{kind} p99 {before * 1e3:.2f} ms, {after * 1e3:.2f} ms while cleaning: x{ratio:.2f}"
            for kind, before, after, ratio in zip(("Gets", "strong Gets"), quiet, cleaning, self.ratios, strict=True)
        ]
        rounds = ", ".join("/".join(f"{ratio:.2f}" for ratio in one.ratios) for one in self.rounds)
        return (
            f"{self.name}: {self.entries} expired entries cleaned in {took_s:.0f} s ({self.entries / took_s:.0f} a second); "
            f"{'; '.join(told)} (rounds: {rounds})"
        )


def _medians(pairs: Iterator[tuple[float, float]]) -> tuple[float, float]:
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)


class _Gets(threading.Thread):
    """Calls at a steady rate, every other one strong; `asked` has when each began, and what it took."""

    def __init__(self, target: str, number: int, stopping: threading.Event) -> None:
        super().__init__(name=f"gets-{number}")
        self.asked: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        self._target = target
        self._random = Random(number)
        self._stopping = stopping

    def run(self) -> None:
        levels = (types_pb2.CONSISTENCY_CACHED, types_pb2.CONSISTENCY_STRONG)
        with Caller(self._target) as caller:
            due, count = time.monotonic(), 0
            while not self._stopping.is_set():
                key = f"live/{self._random.randrange(LIVE_KEYS)}"
                request = pb.GetRequest(namespace=NAMESPACE, key=key, consistency=levels[count % 2])
                began = time.monotonic()
                caller.state.Get(request, timeout=10.0)
                self.asked[count % 2].append((began, time.monotonic() - began))
                count += 1
                due = max(due + 1 / CALLS_PER_S, time.monotonic() - 1.0)
                self._stopping.wait(max(0.0, due - time.monotonic()))


def sqlite(*, entries: int, rounds: int) -> Verdict:
    """With the embedded defaults."""
    with tempfile.TemporaryDirectory() as directory:
        return _run("SQLite", Path(directory), {}, entries=entries, rounds=rounds)


def postgres(*, entries: int, rounds: int) -> Verdict:
    """With the cache in the daemon."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Postgres())
        tiers = {"tiers.hot": "memory://", "tiers.warm": server.url()}
        return _run("PostgreSQL", directory, tiers, entries=entries, rounds=rounds)


def _run(name: str, directory: Path, tiers: Mapping[str, str], *, entries: int, rounds: int) -> Verdict:
    daemon = DaemonProcess(directory / "data", **tiers)
    try:
        daemon.start()
        with Caller(daemon.target) as caller:
            _load(caller, "live", LIVE_KEYS, None)
            found = [_round(daemon, caller, f"ends/{number}", entries // rounds) for number in range(rounds)]
    finally:
        daemon.kill()
    return Verdict(name=name, entries=entries // rounds * rounds, rounds=found)


def _load(caller: Caller, prefix: str, count: int, end: float | None) -> None:
    for begin in range(0, count, BATCH):
        ttl_ms = None if end is None else int((end - time.monotonic()) * 1000)
        assert ttl_ms is None or ttl_ms > 0, "the entries end before they are all there"
        sets = [pb.SetRequest(namespace=NAMESPACE, key=f"{prefix}/{begin + n}", value=VALUE) for n in range(BATCH)]
        for one in sets if ttl_ms is not None else []:
            one.ttl.FromMilliseconds(ttl_ms or 0)
        operations = [pb.TransactOperation(set=one) for one in sets]
        caller.state.Transact(pb.TransactRequest(namespace=NAMESPACE, operations=operations), timeout=30.0)


def _cleaned(daemon: DaemonProcess) -> int:
    found = CLEANED.search(daemon.probe("/metrics")[1])
    assert found is not None, "no statesidecar_cleaned_total"
    return int(float(found[1]))


def _round(daemon: DaemonProcess, caller: Caller, prefix: str, count: int) -> Round:
    before = _cleaned(daemon)
    load_s = count / 1_000 + 5.0
    end = time.monotonic() + load_s + SETTLE_S + QUIET_S
    _load(caller, prefix, count, end)
    _PAUSE.wait(max(0.0, end - QUIET_S - time.monotonic()))
    with _calling(daemon.target) as callers:
        _PAUSE.wait(max(0.0, end - time.monotonic()))
        began = ended = end
        while (cleaned := _cleaned(daemon) - before) < count:
            assert time.monotonic() < end + PATIENCE_S, f"{cleaned} of {count} cleaned"
            began = time.monotonic() if not cleaned else began
            _PAUSE.wait(0.2)
        ended = time.monotonic()
        _PAUSE.wait(QUIET_S)
    kinds = [[asked for caller in callers for asked in caller.asked[kind]] for kind in (0, 1)]
    quiet = tuple(_p99([took for at, took in asked if at < end - 0.5 or at > ended + 0.5]) for asked in kinds)
    cleaning = tuple(_p99([took for at, took in asked if began <= at < ended]) for asked in kinds)
    return Round(quiet_s=(quiet[0], quiet[1]), cleaning_s=(cleaning[0], cleaning[1]), took_s=ended - began)


@contextmanager
def _calling(target: str) -> Iterator[list[_Gets]]:
    stopping = threading.Event()
    callers = [_Gets(target, number, stopping) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield callers
    finally:
        stopping.set()
        for caller in callers:
            caller.join()


def _p99(durations: list[float]) -> float:
    assert len(durations) > 100, f"{len(durations)} Gets tell nothing about the slowest of a hundred"
    return sorted(durations)[int(len(durations) * 0.99)]
