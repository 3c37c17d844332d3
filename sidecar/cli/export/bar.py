"""How an export goes, on a terminal: the total is not known, so counts that grow."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.cli import output
from sidecar.cli.export.job import Shown


@contextmanager
def shown(what: str) -> Iterator[Shown]:
    """Shows what it is told on stderr, if that is a terminal, until the block ends."""
    if not sys.stderr.isatty():
        yield lambda _rows, _size, _parts: None
        return
    from rich.console import Console  # noqa: PLC0415  # 70 ms, for those who look
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what)

        def show(rows: int, size: int, parts: int) -> None:
            progress.update(task, description=counts(what, rows, size, parts))

        yield show


def counts(what: str, rows: int, size: int, parts: int) -> str:
    """Such as: 1,200 entries · 3.4 MiB · 2 parts."""
    of = "" if what == "entries" else f" of {what}"
    return f"{_count(rows, 'entry', 'entries')}{of} · {output.size(size)} · {_count(parts, 'part', 'parts')}"


def _count(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
