"""`status`, `get` and `list`: what changes nothing."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

import click

from sidecar.cli import options, output
from sidecar.cli.calls import Exit, absent, client_for, exit_code_of

if TYPE_CHECKING:
    from sidecar.cli.admin_client import DaemonStatus
    from statesidecar import Entry, TierStatus

_TIER_COLUMNS = (
    ("tier", "left"),
    ("state", "left"),
    ("breaker", "left"),
    ("p50", "right"),
    ("p99", "right"),
    ("hits", "right"),
    ("held", "right"),
    ("url", "left"),
    ("last error", "left"),
)


@click.command()
@options.connection
def status(*, target: str | None, timeout_s: float, as_json: bool) -> None:
    """Show the mode, tiers and queues of the daemon."""
    with client_for(target, timeout_s, as_json=as_json) as client:
        answer = client.daemon_status()
    if as_json:
        told = output.to_json(answer)
        output.print_json(told.pop("status") | told)
        return
    click.echo(_summary(answer))
    output.print_rows(_TIER_COLUMNS, (_tier_row(tier) for tier in answer.status.tiers))
    if answer.dead_writes:
        click.echo("`state-sidecar dead-writes list` tells what became of the dead writes.", err=True)


def _summary(answer: DaemonStatus) -> str:
    status = answer.status
    parts = [status.mode.name + (", draining" if status.draining else ""), f"state-sidecar {status.daemon_version}"]
    if status.app:
        parts.append(f"app {output.printable(status.app)}")
    if status.start_time:
        parts.append(f"started {status.start_time.isoformat(timespec='seconds')}")
    parts += [f"{status.requests_in_flight} requests in flight", f"{status.followups_pending} followups pending"]
    if status.journal_depth:
        oldest = answer.journal_oldest_time
        since = f", the oldest since {oldest.isoformat(timespec='seconds')}" if oldest else ""
        parts.append(f"{status.journal_depth} writes in the journal{since}")
    if answer.dead_writes:
        parts.append(f"{answer.dead_writes} dead writes")
    if cleaned := sum(answer.cleaned_counts.values()):
        parts.append(f"{cleaned} things cleaned")
    if status.outbox_pending:
        lag = status.outbox_lag
        since = f", the oldest for {lag.total_seconds():.0f} s" if lag and lag.total_seconds() >= 1 else ""
        parts.append(f"{status.outbox_pending} outbox messages pending{since}")
    if answer.dead_letters:
        parts.append(f"{answer.dead_letters} dead letters")
    return " · ".join(parts)


def _tier_row(tier: TierStatus) -> tuple[str, ...]:
    latency = tier.latency
    return (
        tier.tier.name + (" (authority)" if tier.authority else ""),
        tier.state.name if tier.state else "-",
        tier.breaker.name if tier.breaker else "-",
        f"{latency.p50_s * 1000:.1f} ms" if latency else "-",
        f"{latency.p99_s * 1000:.1f} ms" if latency else "-",
        "-" if tier.hit_ratio is None else f"{tier.hit_ratio:.0%} of {tier.lookups}",
        output.size(tier.bytes_held) if tier.bytes_held else "-",
        output.printable(tier.url),
        output.printable(tier.last_error) or "-",
    )


@click.command()
@options.namespace
@options.key
@click.option("--strong", is_flag=True, help="Ask the authority, not a copy.")
@click.option("--min-version", type=click.IntRange(0, options.INT64_MAX), help="No older than this version.")
@click.option("--verbose", "-v", is_flag=True, help="Version, size, expiry and labels on stderr.")
@options.connection
def get(
    *,
    namespace: str,
    key: str,
    strong: bool,
    min_version: int | None,
    verbose: bool,
    target: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Print a value: its exact bytes into a pipe, JSON and text readable on a terminal."""
    from statesidecar import Consistency  # noqa: PLC0415  # not for serve

    with client_for(target, timeout_s, as_json=as_json) as client:
        consistency = Consistency.STRONG if strong else Consistency.CACHED
        result = client.get(namespace, key, consistency=consistency, min_version=min_version)
    entry = result.entry
    if as_json:
        output.print_json({"found": result.found, **output.to_json(result)})
    elif entry is not None:
        output.print_value(entry.value)
        if verbose:
            click.echo(f"{output.entry_line(entry)} · from {result.served_by.name}", err=True)
    if result.stale_possible and entry is not None:
        click.echo("The authority is away: a newer version may exist.", err=True)
    code = exit_code_of(result.mode)
    if code is Exit.OK and entry is None:
        code = absent(namespace, key, as_json=as_json)
    sys.exit(code)


@click.command("list")
@options.namespace
@click.option("--prefix", type=options.Name(), default="", help="Only keys that begin with it.")
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="Entries at most; 0: all.")
@click.option("--keys-only", is_flag=True, help="Without values: faster, and no sizes.")
@options.connection
def list_entries(
    *,
    namespace: str,
    prefix: str,
    limit: int,
    keys_only: bool,
    target: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """List entries in key order: a table on a terminal, tab-separated fields into a pipe."""
    with client_for(target, timeout_s, as_json=as_json) as client:
        # A page that holds one more than asked for tells whether there are more, at no further call.
        page_size = limit + 1 if 0 < limit < 1000 else 0
        found = client.list(namespace, prefix, keys_only=keys_only, page_size=page_size)
        entries = list(islice(found, limit + 1 if limit else None))
    more = bool(limit) and len(entries) > limit
    del entries[limit or len(entries) :]
    if as_json:
        output.print_json({"entries": [_listed(entry, keys_only=keys_only) for entry in entries], "more": more})
        return
    columns = [
        ("key", "left"),
        ("version", "right"),
        ("size", "right"),
        ("expires in", "right"),
        ("content type", "left"),
    ]
    rows = ([*_entry_row(entry, keys_only=keys_only)] for entry in entries)
    output.print_rows([column for column in columns if not keys_only or column[0] != "size"], rows)
    if more:
        click.echo(f"only the first {limit}: --limit 0 lists all", err=True)
    elif not entries:
        click.echo(f"no entries in {output.printable(namespace)}", err=True)


def _entry_row(entry: Entry, *, keys_only: bool) -> tuple[str, ...]:
    size = () if keys_only else (output.size(len(entry.value)),)
    return (
        output.printable(entry.key),
        str(entry.version),
        *size,
        output.expires_in(entry.expire_time),
        output.printable(entry.content_type),
    )


def _listed(entry: Entry, *, keys_only: bool) -> dict[str, object]:
    told: dict[str, object] = output.to_json(entry)
    return {name: value for name, value in told.items() if not (keys_only and name.startswith("value"))}
