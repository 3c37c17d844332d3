"""`migrate`: bring what a namespace has to the schema that all daemons know."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from sidecar.cli import interrupts, options, output
from sidecar.cli.calls import Exit, client_for

if TYPE_CHECKING:
    from sidecar.cli.admin_client import Migrated

_COLUMNS = (
    ("state", "left"),
    *((title, "right") for title in ("schema", "looked at", "migrated", "failed", "remaining")),
)


@click.command()
@options.namespace
@click.option("--dry-run", is_flag=True, help="Count what would be migrated, try the steps on it, change nothing.")
@click.option(
    "--to",
    "to_version",
    type=click.IntRange(1, 2**32 - 1),
    help="The schema to bring entries to, at most the one that all daemons know. Default: that one.",
)
@options.connecting("24h")
def migrate(
    *, namespace: str, dry_run: bool, to_version: int | None, target: options.Target, timeout_s: float, as_json: bool
) -> None:
    """Bring every entry of a namespace to one schema, in place: nobody's version changes, and nothing is locked.

    Entries that are read or written are brought to it anyway; this does the others. It may be interrupted, and its daemon
    may die: asked for again, it goes on where it was. Exit 4 if a step failed on some entries, which stay as they were;
    5 if entries remain that others wrote meanwhile, or if another daemon is at it now: ask again.
    """
    latest: Migrated | None = None
    with client_for(target, timeout_s, as_json=as_json) as client, interrupts.ending(client.close), _bar() as show:
        told = client.migrate(namespace, target=to_version or 0, dry_run=dry_run, timeout_s=timeout_s)
        for latest in told:
            show(latest)
    assert latest is not None, "the last of them has ended"
    if as_json:
        output.print_json({"dry_run": dry_run, "migration": latest})
    else:
        counts = (latest.target_version, latest.scanned, latest.migrated, latest.failed, latest.remaining)
        output.print_rows(_COLUMNS, [(latest.state, *(str(count) for count in counts))])
        _comment(latest, to_version, dry_run=dry_run)
    sys.exit(_exit_code(latest, dry_run=dry_run))


def _exit_code(told: Migrated, *, dry_run: bool) -> Exit:
    if told.state != "done" or (told.remaining > told.failed and not dry_run):
        return Exit.UNAVAILABLE
    return Exit.INVALID if told.failed else Exit.OK


def _comment(told: Migrated, asked: int | None, *, dry_run: bool) -> None:
    for key, message in told.failures.items():
        click.echo(f"{output.printable(key)}: {output.printable(message)}", err=True)
    if len(told.failures) < told.failed:
        click.echo(f"and {told.failed - len(told.failures)} more", err=True)
    if told.state == "busy":
        click.echo("Another daemon is at it now.", err=True)
        return
    if asked not in (None, told.target_version):
        click.echo(f"Not to {asked}: {told.target_version} is as near as all daemons and their steps allow.", err=True)
    if dry_run:
        click.echo(f"would be migrated: {told.migrated}", err=True)
    elif told.remaining > told.failed:
        click.echo(f"{told.remaining - told.failed} were written meanwhile in another schema: migrate again.", err=True)


@contextmanager
def _bar() -> Iterator[Callable[[Migrated], None]]:
    """On stderr, if that is a terminal; gone in the end."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  # 70 ms, for those who look
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (BarColumn(20), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def show(told: Migrated) -> None:
            description = f"to schema {told.target_version}: {told.migrated} migrated, {told.failed} failed"
            if told.state == "waiting":
                description = "another daemon is at it, waiting"
            progress.update(task, description=description, completed=told.scanned, total=told.total or None)

        yield show
