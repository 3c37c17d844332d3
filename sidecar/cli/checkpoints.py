"""`checkpoint`, `restore`, and `checkpoints`: what was kept, what is in it, and its end."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

import click

from sidecar.cli import options, output
from sidecar.cli.calls import Exit, client_for, exit_code_of

if TYPE_CHECKING:
    from statesidecar import Checkpoint, CheckpointContent, Entry

_COLUMNS = (
    ("id", "left"),
    ("of", "left"),
    ("made", "left"),
    ("entries", "right"),
    ("size", "right"),
    ("stored", "right"),
    ("label", "left"),
)
_ENTRY_COLUMNS = (
    ("key", "left"),
    ("version", "right"),
    ("size", "right"),
    ("updated", "left"),
    ("content type", "left"),
)
_id = click.argument("checkpoint_id", metavar="ID", type=options.Name())


@click.command()
@options.namespace
@click.argument("key", required=False, type=options.Name())
@click.option("--prefix", type=options.Name(), help="All keys that begin with it, instead of one.")
@click.option("--label", type=options.Name(), default="", help="A name for people.")
@click.option("--metadata", type=options.Label(), multiple=True, help="Repeatable.")
@click.option("--parent", "parent_id", type=options.Name(), default="", help="The checkpoint it continues, by its ID.")
@options.request_id
@options.connection
def checkpoint(
    *,
    namespace: str,
    key: str | None,
    prefix: str | None,
    label: str,
    metadata: tuple[tuple[str, str], ...],
    parent_id: str,
    request_id: str | None,
    target: options.Target,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Keep a key as it is, or all keys under a prefix, for `restore`."""
    if (key is None) == (prefix is None):
        raise click.UsageError("give a KEY or a --prefix: one of the two")
    with client_for(target, timeout_s, as_json=as_json) as client:
        made = client.checkpoint(
            namespace,
            key=key or "",
            key_prefix=prefix or "",
            label=label,
            metadata=dict(metadata),
            parent_id=parent_id,
            request_id=request_id,
        )
    if as_json:
        output.print_json(made)
    else:
        click.echo(f"checkpoint {output.printable(made.checkpoint_id)} · {_extent(made)}")


@click.command()
@options.namespace
@click.argument("checkpoint_id", metavar="[ID]", required=False, type=options.Name())
@click.option("--key", type=options.Name(), help="The latest checkpoint of this key.")
@click.option("--prefix", type=options.Name(), help="The latest checkpoint of this prefix.")
@click.option(
    "--expected-version",
    type=click.IntRange(0, options.INT64_MAX),
    help="Only if the key is still this version; 0: only if it does not exist.",
)
@options.request_id
@options.connection
def restore(
    *,
    namespace: str,
    checkpoint_id: str | None,
    key: str | None,
    prefix: str | None,
    expected_version: int | None,
    request_id: str | None,
    target: options.Target,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Write a checkpoint's entries back, with a new version: one by its ID, or the latest of a key or prefix.

    Of a prefix, keys that were made since are deleted. Exit 1 if there is no such checkpoint.
    """
    if [checkpoint_id, key, prefix].count(None) != 2:
        raise click.UsageError("give an ID, a --key or a --prefix: one of the three")
    with client_for(target, timeout_s, as_json=as_json) as client:
        result = client.restore(
            namespace,
            checkpoint_id=checkpoint_id or "",
            key=key or "",
            key_prefix=prefix or "",
            expected_version=expected_version,
            request_id=request_id,
        )
    code = exit_code_of(result.mode)
    if as_json:
        output.print_json(result)
    elif code is Exit.OK:
        click.echo(f"restored · {_entries(len(result.entries))} · version {result.version}")
    sys.exit(code)


@click.group()
def checkpoints() -> None:
    """List checkpoints, show what is in one, and delete them. `checkpoint` makes one, `restore` goes back to it."""


@checkpoints.command("list")
@options.namespace
@click.option("--key", type=options.Name(), default="", help="Only of this key.")
@click.option("--prefix", type=options.Name(), default="", help="Only of this prefix.")
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="Checkpoints at most; 0: all.")
@options.connection
def list_checkpoints(
    *, namespace: str, key: str, prefix: str, limit: int, target: options.Target, timeout_s: float, as_json: bool
) -> None:
    """List checkpoints, newest first: a table on a terminal, tab-separated fields into a pipe."""
    if key and prefix:
        raise click.UsageError("give a --key or a --prefix: one of the two at most")
    with client_for(target, timeout_s, as_json=as_json) as client:
        page_size = limit + 1 if 0 < limit < 1000 else 0
        found = client.list_checkpoints(namespace, key=key, key_prefix=prefix, page_size=page_size)
        listed = list(islice(found, limit + 1 if limit else None))
    more = bool(limit) and len(listed) > limit
    del listed[limit or len(listed) :]
    if as_json:
        output.print_json({"checkpoints": listed, "more": more})
        return
    output.print_rows(_COLUMNS, (_row(one) for one in listed))
    if more:
        click.echo(f"only the first {limit}: --limit 0 lists all", err=True)
    elif not listed:
        click.echo(f"no checkpoints in {output.printable(namespace)}", err=True)


@checkpoints.command()
@options.namespace
@_id
@click.argument("key", required=False, type=options.Name())
@options.connection
def show(
    *, namespace: str, checkpoint_id: str, key: str | None, target: options.Target, timeout_s: float, as_json: bool
) -> None:
    """Show what is in a checkpoint; with a KEY, print that key's value as it was. --json has the values.

    Exit 1 if there is no such checkpoint, or no such key in it.
    """
    with client_for(target, timeout_s, as_json=as_json) as client:
        content = client.get_checkpoint(namespace, checkpoint_id)
    entries = [entry for entry in content.entries if key in (None, entry.key)]
    code = exit_code_of(content.mode)
    if as_json:
        output.print_json({"checkpoint": content.checkpoint, "entries": entries})
    elif key is not None:
        for entry in entries:
            output.print_value(entry.value)
    else:
        _show(content)
    if key is not None and not entries and code is Exit.OK:
        code = Exit.ABSENT
        if not as_json:
            click.echo(f"no entry {output.printable(key)} in checkpoint {output.printable(checkpoint_id)}", err=True)
    sys.exit(code)


@checkpoints.command("delete")
@options.namespace
@click.argument("checkpoint_ids", metavar="ID...", type=options.Name(), nargs=-1, required=True)
@options.connection
def delete_checkpoints(
    *, namespace: str, checkpoint_ids: tuple[str, ...], target: options.Target, timeout_s: float, as_json: bool
) -> None:
    """Delete checkpoints for ever; exit 1 if some of the IDs are not there."""
    from statesidecar import NotFound  # noqa: PLC0415  # not for serve

    missing = []
    with client_for(target, timeout_s, as_json=as_json) as client:
        ids = list(dict.fromkeys(checkpoint_ids))
        for one in ids:
            try:
                client.delete_checkpoint(namespace, one)
            except NotFound:
                missing.append(one)
    count = len(ids) - len(missing)
    if as_json:
        output.print_json({"deleted_count": count, "missing": missing})
    else:
        click.echo(f"deleted · {count} checkpoint{'' if count == 1 else 's'}")
        for one in missing:
            click.echo(f"no checkpoint {output.printable(one)} in {output.printable(namespace)}", err=True)
    sys.exit(Exit.ABSENT if missing else Exit.OK)


def _row(made: Checkpoint) -> tuple[str, ...]:
    return (
        output.printable(made.checkpoint_id),
        _of(made),
        made.create_time.isoformat(timespec="seconds") if made.create_time else "-",
        str(made.entry_count),
        output.size(made.value_bytes),
        output.size(made.stored_bytes) if made.stored_bytes else "-",
        output.printable(made.label) or ("(automatic)" if made.automatic else ""),
    )


def _show(content: CheckpointContent) -> None:
    made = content.checkpoint
    parts = [f"checkpoint {output.printable(made.checkpoint_id)}", f"of {_of(made)}", _extent(made)]
    if made.stored_bytes:
        parts.append(f"added {output.size(made.stored_bytes)} to what is stored")
    if made.automatic:
        parts.append("automatic")
    if made.create_time:
        parts.append(f"made {made.create_time.isoformat(timespec='seconds')}")
    if made.parent_id:
        parts.append(f"continues {output.printable(made.parent_id)}")
    parts += [output.printable(f"{name}={value}") for name, value in sorted(made.metadata.items())]
    click.echo(" · ".join(parts), err=True)
    output.print_rows(_ENTRY_COLUMNS, (_entry_row(entry) for entry in content.entries))


def _entry_row(entry: Entry) -> tuple[str, ...]:
    return (
        output.printable(entry.key),
        str(entry.version),
        output.size(len(entry.value)),
        entry.update_time.isoformat(timespec="seconds") if entry.update_time else "-",
        output.printable(entry.content_type),
    )


def _of(made: Checkpoint) -> str:
    return output.printable(made.key or f"{made.key_prefix}*")


def _extent(made: Checkpoint) -> str:
    label = [output.printable(made.label)] if made.label else []
    return " · ".join([_entries(made.entry_count), output.size(made.value_bytes), *label])


def _entries(count: int) -> str:
    return f"{count} entr{'y' if count == 1 else 'ies'}"
