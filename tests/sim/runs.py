"""Many seeds over processes, and the report of what they did."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.sim.promises import Promise
from tests.sim.world import Result, run

CHUNK = 10
TRACE_LINES = 60
"""Of a failing seed's trace: the last ones that are about the key, or about faults of the whole world."""


@dataclass(slots=True)
class Report:
    """What many seeds did together."""

    seeds: int = 0
    operations: int = 0
    ticks: int = 0
    virtual_ms: int = 0
    checks: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.operations += result.operations
        self.ticks += result.ticks
        self.virtual_ms += result.virtual_ms
        self.checks.update(result.checks)
        self.faults.update(result.faults)
        if result.promise:
            self.failed.append(result)

    @property
    def untested(self) -> list[str]:
        """Promises that nothing exercised: as bad as broken ones."""
        return [promise.value for promise in Promise if not self.checks[promise.value]]


def _chunk(seeds: range) -> list[Result]:
    return [run(seed) for seed in seeds]


def results(seeds: range, jobs: int) -> Iterator[Result]:
    """Run seeds over `jobs` processes, in order."""
    if jobs == 1 or len(seeds) <= CHUNK:
        yield from map(run, seeds)
        return
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        for chunk in pool.map(_chunk, chunks):
            yield from chunk


def minimal_trace(result: Result) -> list[str]:
    """The end of a failing run, as far as it is about the key that went wrong."""
    traced = run(result.seed, traced=True)
    namespace, _, key = traced.about.partition("/")

    def matters(line: str) -> bool:
        world = "----" in line or "crash of" in line or "pause of" in line
        return world or (namespace in line and f"'{key}'" in line)

    return [line for line in traced.trace if matters(line)][-TRACE_LINES:]


def explain(result: Result, console: Console) -> None:
    """A failure: what was promised, what happened, how to see it again."""
    console.print(
        f"seed {result.seed} broke [bold]{result.promise}[/bold] at step {result.ticks}, about {result.about}:"
    )
    console.print(f"  {result.failure}", markup=False)
    for line in minimal_trace(result):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"replay: make sim SEED={result.seed}   (trace hash {result.digest:08x})", markup=False)


def run_seeds(seeds: range, jobs: int, console: Console) -> int:
    """Run, show progress, report. The exit status."""
    report = Report()
    start = time.perf_counter()
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("seeds", total=len(seeds))
        for result in results(seeds, jobs):
            report.add(result)
            progress.advance(bar)
            if not console.is_terminal and report.seeds % 200 == 0:
                console.print(f"{report.seeds} of {len(seeds)} seeds, {len(report.failed)} failed")
    elapsed_s = time.perf_counter() - start
    _print(report, elapsed_s, console)
    for result in report.failed[:3]:
        explain(result, console)
    for result in report.failed[3:]:
        console.print(f"seed {result.seed} broke {result.promise}: {result.failure[:200]}", markup=False)
    if len(seeds) > 1 and report.untested:
        console.print(f"never exercised: {', '.join(report.untested)}")
        return 1
    return 1 if report.failed else 0


def _print(report: Report, elapsed_s: float, console: Console) -> None:
    faults = Table("fault", "times")
    for name, times in sorted(report.faults.items()):
        faults.add_row(name, f"{times:,}")
    console.print(faults)
    table = Table("promise", "checked", "broken by seeds")
    for promise in Promise:
        broken = sum(result.promise == promise.value for result in report.failed)
        table.add_row(promise.value, f"{report.checks[promise.value]:,}", str(broken))
    console.print(table)
    console.print(
        f"{report.seeds} seeds in {elapsed_s:.1f} s ({report.seeds / elapsed_s:.1f} a second): {report.operations:,} client "
        f"operations, {report.ticks:,} steps, {report.faults.total():,} faults, {report.virtual_ms / 3_600_000:.1f} virtual "
        f"hours; {len(report.failed)} failed"
    )


def console() -> Console:
    """Where reports go."""
    return Console(file=sys.stdout, soft_wrap=True)
