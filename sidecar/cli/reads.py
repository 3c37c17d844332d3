"""`get` and `list`: what changes nothing."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

import click

from sidecar.cli import options, output
from sidecar.cli.calls import Exit, absent, client_for, exit_code_of

if TYPE_CHECKING:
    from statesidecar import Entry


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
    target: options.Target,
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
    target: options.Target,
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
