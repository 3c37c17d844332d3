"""`set`, `cas`, `delete`, `touch` and `update`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli import options, output
from sidecar.cli.calls import Exit, absent, client_for, exit_code_of

if TYPE_CHECKING:
    from statesidecar import UpdateResult, WriteResult


@click.command("set")
@options.namespace
@options.key
@options.value
@options.connection
def set_value(
    *,
    namespace: str,
    key: str,
    value: str | None,
    file: Path | None,
    content_type: str,
    schema_version: int,
    labels: tuple[tuple[str, str], ...],
    ttl_s: float | None,
    request_id: str | None,
    messages: tuple[tuple[str, str], ...],
    target: options.Target,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Write a key, whatever was there. VALUE - is stdin."""
    content = options.read_value(value, file)
    with client_for(target, timeout_s, as_json=as_json) as client:
        result = client.set(
            namespace,
            key,
            content,
            content_type=content_type,
            schema_version=schema_version,
            labels=dict(labels),
            ttl=ttl_s,
            outbox=options.outbox(messages),
            request_id=request_id,
        )
    _told(result, as_json=as_json)


@click.command()
@options.namespace
@options.key
@options.value
@click.option(
    "--expected-version",
    type=click.IntRange(0, options.INT64_MAX),
    required=True,
    help="As `get --verbose` shows it; 0: the key must not exist.",
)
@options.connection
def cas(
    *,
    namespace: str,
    key: str,
    value: str | None,
    file: Path | None,
    content_type: str,
    schema_version: int,
    labels: tuple[tuple[str, str], ...],
    ttl_s: float | None,
    request_id: str | None,
    messages: tuple[tuple[str, str], ...],
    expected_version: int,
    target: options.Target,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Write a key if its version is still the expected one; exit 3 if not."""
    content = options.read_value(value, file)
    with client_for(target, timeout_s, as_json=as_json) as client:
        result = client.cas(
            namespace,
            key,
            content,
            expected_version=expected_version,
            content_type=content_type,
            schema_version=schema_version,
            labels=dict(labels),
            ttl=ttl_s,
            outbox=options.outbox(messages),
            request_id=request_id,
        )
    _told(result, as_json=as_json)


def _told(result: WriteResult, *, as_json: bool) -> None:
    code = exit_code_of(result.mode, result.durability)
    if as_json:
        output.print_json(result)
    elif code is Exit.OK:
        click.echo(output.written_line(result.version, result.durability, result.expire_time))
    sys.exit(code)


@click.command()
@options.namespace
@options.key
@click.option("--expected-version", type=click.IntRange(0, options.INT64_MAX), help="Only if it is still this version.")
@options.request_id
@options.messages
@options.connection
def delete(
    *,
    namespace: str,
    key: str,
    expected_version: int | None,
    request_id: str | None,
    messages: tuple[tuple[str, str], ...],
    target: options.Target,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Delete a key; exit 1 if there was none."""
    with client_for(target, timeout_s, as_json=as_json) as client:
        result = client.delete(
            namespace,
            key,
            expected_version=expected_version,
            outbox=options.outbox(messages),
            request_id=request_id,
        )
    code = exit_code_of(result.mode, result.durability if result.found else None)
    if as_json:
        output.print_json(result)
    elif result.found and code is Exit.OK:
        click.echo(f"deleted · version {result.version} · {result.durability.name}")
    if not result.found and code is Exit.OK:
        code = absent(namespace, key, as_json=as_json)
    sys.exit(code)


@click.command()
@options.namespace
@options.key
@click.option("--ttl", "ttl_s", type=options.Duration(), help="From now. Default: the ttl it was last given.")
@options.connection
def touch(
    *, namespace: str, key: str, ttl_s: float | None, target: options.Target, timeout_s: float, as_json: bool
) -> None:
    """Move a key's expiry without changing its version; exit 1 if there is none."""
    with client_for(target, timeout_s, as_json=as_json) as client:
        result = client.touch(namespace, key, ttl=ttl_s)
    code = exit_code_of(result.mode)
    if as_json:
        output.print_json(result)
    elif result.found:
        click.echo(f"expires in {output.expires_in(result.expire_time)}" if result.expire_time else "expires never")
    if not result.found and code is Exit.OK:
        code = absent(namespace, key, as_json=as_json)
    sys.exit(code)


@click.command()
@options.namespace
@options.key
@click.option("--merge-patch", "patch", type=options.Json(), help="RFC 7396: members replace, null removes.")
@click.option(
    "--append", "items", type=options.Json(), multiple=True, help="A JSON value for the end of an array. Repeatable."
)
@click.option("--max-items", type=click.IntRange(0, 2**31 - 1), help="With --append: keep only the last so many.")
@click.option("--increment", "delta", type=options.INT64, help="Add to a counter.")
@click.option("--minimum", type=options.INT64, help="With --increment: never below.")
@click.option("--maximum", type=options.INT64, help="With --increment: never above.")
@click.option("--create/--no-create", default=True, help="Whether an absent key is created; if not: exit 1.")
@options.ttl
@options.request_id
@options.messages
@options.connection
@click.pass_context
def update(
    ctx: click.Context,
    /,
    *,
    namespace: str,
    key: str,
    target: options.Target,
    timeout_s: float,
    as_json: bool,
    **given: Any,
) -> None:
    """Change a value where it is, and print the new one; concurrent updates don't conflict.

    One of --merge-patch, --append and --increment.
    """
    chosen = [name for name in ("patch", "items", "delta") if _is_given(ctx, name)]
    stray = [name for name in ("max_items",) if chosen != ["items"] and _is_given(ctx, name)]
    stray += [name for name in ("minimum", "maximum") if chosen != ["delta"] and _is_given(ctx, name)]
    if len(chosen) != 1 or stray:
        raise click.UsageError("give one of --merge-patch, --append and --increment, with its own options only")
    common = {"create": given["create"], "ttl": given["ttl_s"], "request_id": given["request_id"]}
    common["outbox"] = options.outbox(given["messages"])
    with client_for(target, timeout_s, as_json=as_json) as client:
        result: UpdateResult
        match chosen[0]:
            case "patch":
                result = client.merge_patch(namespace, key, given["patch"], **common)
            case "items":
                result = client.append(namespace, key, given["items"], max_items=given["max_items"] or 0, **common)
            case _:
                bounds = {"minimum": given["minimum"], "maximum": given["maximum"]}
                result = client.increment(namespace, key, given["delta"], **bounds, **common)
    code = exit_code_of(result.mode, result.durability)
    if as_json:
        output.print_json(result)
    elif code is Exit.OK:
        output.print_value(result.value)
    sys.exit(code)


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
