"""`dead-writes`: buffered writes that the authority could not take when it was back, and what becomes of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

import click

from sidecar.cli import options, output
from sidecar.cli.calls import Exit, client_for

if TYPE_CHECKING:
    from sidecar.cli.admin_client import AdminClient, DeadWrite

_COLUMNS = (
    ("id", "right"),
    ("namespace", "left"),
    ("key", "left"),
    ("operation", "left"),
    ("size", "right"),
    ("buffered", "left"),
    ("reason", "left"),
    ("message", "left"),
)
_namespace = click.option("--namespace", type=options.Name(), default="", help="Only of this one. Default: of any.")
_ids = click.argument("ids", metavar="[ID]...", type=options.Name(), nargs=-1)
_all = click.option("--all", "everything", is_flag=True, help="All of them, of the namespace if one is given.")


@click.group("dead-writes")
def dead_writes() -> None:
    """Show and settle buffered writes that the authority could not take.

    While the authority is away, writes to namespaces with `on_outage: buffer` are answered BUFFERED. One that conflicts
    with what the authority has when it is back is kept as a dead write, until it is redriven or discarded here.
    """


@dead_writes.command("list")
@_namespace
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="Dead writes at most; 0: all.")
@options.connection
def list_dead_writes(*, namespace: str, limit: int, target: options.Target, timeout_s: float, as_json: bool) -> None:
    """List dead writes, oldest first: a table on a terminal, tab-separated fields into a pipe. --json has the values."""
    with client_for(target, timeout_s, as_json=as_json) as client:
        page_size = limit + 1 if 0 < limit < 1000 else 0
        found = client.dead_writes(namespace, page_size=page_size)
        dead = list(islice(found, limit + 1 if limit else None))
    more = bool(limit) and len(dead) > limit
    del dead[limit or len(dead) :]
    if as_json:
        output.print_json({"dead_writes": dead, "more": more})
        return
    output.print_rows(_COLUMNS, (_row(write) for write in dead))
    if more:
        click.echo(f"only the first {limit}: --limit 0 lists all", err=True)
    elif not dead:
        click.echo("no dead writes" + (f" in {output.printable(namespace)}" if namespace else ""), err=True)


def _row(write: DeadWrite) -> tuple[str, ...]:
    return (
        output.printable(write.id),
        output.printable(write.namespace),
        output.printable(write.key),
        output.printable(write.operation),
        output.size(len(write.value)),
        write.buffered_time.isoformat(timespec="seconds"),
        output.printable(write.reason),
        output.printable(write.message),
    )


@dead_writes.command()
@_ids
@_all
@_namespace
@click.option(
    "--overwrite", is_flag=True, help="Over whatever the key is now. Default: by the namespace's policy again."
)
@options.connection
def redrive(
    *,
    ids: tuple[str, ...],
    everything: bool,
    namespace: str,
    overwrite: bool,
    target: options.Target,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Try dead writes again; exit 3 if some are refused again, which stay dead; 1 if some of the IDs are not there."""

    def settle(client: AdminClient) -> tuple[int, int]:
        return client.redrive(namespace, ids, overwrite=overwrite)

    _settle("redriven", settle, ids, everything=everything, target=target, timeout_s=timeout_s, as_json=as_json)


@dead_writes.command()
@_ids
@_all
@_namespace
@options.connection
def discard(
    *, ids: tuple[str, ...], everything: bool, namespace: str, target: options.Target, timeout_s: float, as_json: bool
) -> None:
    """Forget dead writes for ever; exit 1 if some of the IDs are not there."""

    def settle(client: AdminClient) -> tuple[int, int]:
        return client.discard(namespace, ids), 0

    _settle("discarded", settle, ids, everything=everything, target=target, timeout_s=timeout_s, as_json=as_json)


def _settle(
    done: str,
    settle: Callable[[AdminClient], tuple[int, int]],
    ids: tuple[str, ...],
    *,
    everything: bool,
    target: options.Target,
    timeout_s: float,
    as_json: bool,
) -> None:
    if bool(ids) == everything:
        raise click.UsageError("name dead writes by their IDs, or take --all of them: one of the two")
    with client_for(target, timeout_s, as_json=as_json) as client:
        count, refused = settle(client)
    missing = len(set(ids)) - count - refused if ids else 0
    if as_json:
        output.print_json({f"{done}_count": count, "refused_count": refused, "missing_count": missing})
    else:
        click.echo(f"{done} · {count} dead write{'' if count == 1 else 's'}")
        if refused:
            click.echo(
                f"{refused} {'was' if refused == 1 else 'were'} refused again: `dead-writes list` shows why", err=True
            )
        if missing:
            click.echo(f"{missing} of the IDs {'is' if missing == 1 else 'are'} not there", err=True)
    sys.exit(Exit.CONFLICT if refused else Exit.ABSENT if missing else Exit.OK)
