"""What a person or a program reads on stdout."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from statesidecar import Entry

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def to_json(value: Any) -> Any:
    """A client's result as JSON values: enums by name, times in ISO 8601, durations in seconds, bytes as text or base64."""
    match value:
        case Enum():
            return value.name
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {str(name): to_json(inner) for name, inner in value.items()}
        case list() | tuple():
            return [to_json(inner) for inner in value]
        case _ if is_dataclass(value):
            told: dict[str, Any] = {}
            for field in fields(value):
                inner = getattr(value, field.name)
                told |= _bytes(field.name, inner) if isinstance(inner, bytes) else {field.name: to_json(inner)}
            return told
        case _:
            return value


def _bytes(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode(), f"{name}_encoding": "utf-8"}
    except UnicodeDecodeError:
        return {name: base64.b64encode(value).decode(), f"{name}_encoding": "base64"}


def print_json(value: Any) -> None:
    """One JSON object, on one line where a program reads it."""
    click.echo(json.dumps(to_json(value), ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def print_value(value: bytes) -> None:
    """The bytes as they are; on a terminal readable instead, and without what would control it."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    try:
        text = json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = value.decode(errors="backslashreplace")
    click.echo(printable(text, keep="\n\t"))


def printable(text: str, keep: str = "") -> str:
    """The text with control characters escaped: a terminal would obey them."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def size(count: int) -> str:
    """Bytes for a person: 512 B, 1.5 KiB."""
    if count < 1024:
        return f"{count} B"
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1024:.1f} KiB"


def duration(seconds: float) -> str:
    """At most two units: 1h30m, 45s, 0.3s."""
    if seconds < 1:
        return f"{max(seconds, 0):.1f}s"
    left, parts = round(seconds), ""
    for scale, unit in _UNITS:
        if left >= scale:
            parts, left = f"{parts}{left // scale}{unit}", left % scale
            if parts.count(unit) and len([c for c in parts if c.isalpha()]) == 2:
                break
    return parts


def expires_in(expire_time: datetime | None) -> str:
    """The time left, by this machine's clock."""
    return "never" if expire_time is None else duration((expire_time - datetime.now(UTC)).total_seconds())


def entry_line(entry: Entry) -> str:
    """An entry's metadata in a line."""
    parts = [f"version {entry.version}", size(len(entry.value)), f"expires {_in(entry.expire_time)}"]
    if entry.content_type:
        parts.append(printable(entry.content_type))
    if entry.schema_version:
        parts.append(f"schema {entry.schema_version}")
    if entry.update_time:
        parts.append(f"updated {entry.update_time.isoformat(timespec='seconds')}")
    parts += [printable(f"{name}={value}") for name, value in sorted(entry.labels.items())]
    return " · ".join(parts)


def written_line(version: int, durability: Enum, expire_time: datetime | None) -> str:
    """What a write did, in a line."""
    return f"version {version} · {durability.name} · expires {_in(expire_time)}"


def _in(expire_time: datetime | None) -> str:
    return "never" if expire_time is None else f"in {expires_in(expire_time)}"


def print_rows(columns: Iterable[tuple[str, str]], rows: Iterable[Iterable[str]]) -> None:
    """A table on a terminal, else lines of tab-separated fields. A column is its title and `left` or `right`."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    from rich.console import Console  # noqa: PLC0415  # 70 ms, for those who look
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in columns:
        table.add_column(title, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(field) for field in row))
    Console().print(table)
