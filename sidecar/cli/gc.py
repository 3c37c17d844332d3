"""`gc`: clean now what the daemon would clean by and by, or count it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

from sidecar.cli import interrupts, options, output
from sidecar.cli.calls import Exit, client_for

if TYPE_CHECKING:
    from sidecar.cli.admin_client import Collected

_COLUMNS = (("tier", "left"), ("job", "left"), ("state", "left"), ("cleaned", "left"))
_UNDONE = ("failed", "busy")


@click.command()
@click.option("--dry-run", is_flag=True, help="Only count what would be cleaned as things are now.")
@options.connecting("10m")
def gc(*, dry_run: bool, target: options.Target, timeout_s: float, as_json: bool) -> None:
    """Clean now what the daemon's background jobs would clean by and by: a whole pass of each.

    Expired entries and what deletions leave, request ids, checkpoints that nobody keeps any more, contents and objects in
    the cold tier that nothing names. What is alive is never touched. It may be interrupted: what was cleaned stays so.
    Exit 5 if a job could not go on, or if another daemon does it now; the others are done then.
    """
    jobs: Sequence[Collected] = ()
    with client_for(target, timeout_s, as_json=as_json) as client, interrupts.ending(client.close), _bar() as bar:
        for told in client.collect(dry_run=dry_run, timeout_s=timeout_s):
            if isinstance(told, list):
                jobs = told
            else:
                bar.show(told)
    counts = _total(jobs)
    if as_json:
        output.print_json({"dry_run": dry_run, "jobs": jobs, "counts": counts})
    else:
        output.print_rows(_COLUMNS, (_row(job) for job in jobs))
        _comment(jobs, counts, dry_run=dry_run)
    sys.exit(Exit.UNAVAILABLE if any(job.state in _UNDONE for job in jobs) else Exit.OK)


def _row(job: Collected) -> tuple[str, ...]:
    return job.tier, output.printable(job.job), job.state.replace("_", " "), _told(job.counts) or "-"


def _told(counts: Mapping[str, int]) -> str:
    """Such as `12 expired, 3 blobs`."""
    return ", ".join(f"{count} {output.printable(kind.replace('_', ' '))}" for kind, count in counts.items() if count)


def _comment(jobs: Sequence[Collected], counts: Mapping[str, int], *, dry_run: bool) -> None:
    for job in jobs:
        if job.state == "failed":
            click.echo(f"{job.job} of the {job.tier} tier: {job.reason}: {output.printable(job.message)}", err=True)
        elif job.state == "busy":
            click.echo(f"{job.job} of the {job.tier} tier is done by another daemon now.", err=True)
    uncounted = [job for job in jobs if job.state == "not_counted"]
    if uncounted:
        click.echo("Expired entries, tombstones, request ids and change rows are not counted.", err=True)
    if dry_run:
        click.echo(f"would be cleaned: {_told(counts) or 'nothing'}", err=True)


def _total(jobs: Sequence[Collected]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for job in jobs:
        total.update(job.counts)
    return total


class _Bar(Protocol):
    def show(self, job: Collected) -> None:
        """Where the collection is."""


class _NoBar:
    def show(self, job: Collected) -> None:
        """Nobody looks."""


@contextmanager
def _bar() -> Iterator[_Bar]:
    """On stderr, if that is a terminal; gone in the end."""
    if not sys.stderr.isatty():
        yield _NoBar()
        return
    from rich.console import Console  # noqa: PLC0415  # 70 ms, for those who look
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    class Bar:
        def show(self, job: Collected) -> None:
            seen.add((job.tier, job.job))
            ended = len(seen) - (job.state in ("running", "waiting"))
            waiting = " (another daemon's, waiting)" if job.state == "waiting" else ""
            description = f"{output.printable(job.job)}{waiting} {_told(job.counts)}"
            progress.update(task, description=description, completed=ended, total=len(seen) + job.remaining_jobs)

    seen: set[tuple[str, str]] = set()
    columns = (BarColumn(20), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield Bar()
