"""Rows wait here until a file of their day is full, or all of them together take too much memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sidecar.cli.export.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of a file: rows, and bytes before they are encoded; one row is written however large. Of all that wait: memory."""

    part_rows: int
    part_bytes: int
    buffer_bytes: int


@dataclass(slots=True)
class _Buffer:
    rows: list[Row] = field(default_factory=list)
    size: int = 0
    held: int = 0


class Parts:
    """`write` is given a day and the rows of one file."""

    def __init__(self, bounds: Bounds, write: Callable[[str, list[Row]], None]) -> None:
        self._bounds = bounds
        self._write = write
        self._buffers: dict[str, _Buffer] = {}
        self._held = 0

    def add(self, row: Row) -> None:
        """Takes a row; writes what has no room any more, the largest first."""
        buffer = self._buffers.get(row.day)
        if buffer is not None and not self._fits(buffer, row):
            self._flush(row.day)
            buffer = None
        if buffer is None:
            buffer = self._buffers[row.day] = _Buffer()
        buffer.rows.append(row)
        buffer.size += row.size
        buffer.held += row.held
        self._held += row.held
        while self._held > self._bounds.buffer_bytes:
            self._flush(max(self._buffers, key=lambda day: self._buffers[day].held))

    def flush(self) -> None:
        """Writes all that waits."""
        for day in sorted(self._buffers):
            self._flush(day)

    def _fits(self, buffer: _Buffer, row: Row) -> bool:
        return len(buffer.rows) < self._bounds.part_rows and buffer.size + row.size <= self._bounds.part_bytes

    def _flush(self, day: str) -> None:
        buffer = self._buffers.pop(day)
        self._held -= buffer.held
        self._write(day, buffer.rows)
