"""What waits to be written: bounded in all, the largest written first; and what a terminal shows meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli.export.parts import Bounds, Parts
from sidecar.cli.export.rows import UNDATED, Row, entry_row
from statesidecar.v1.types_pb2 import Entry
from tests.cli.export_support import Lake, lake
from tests.cli.test_values import terminal

MIB = 1024 * 1024
ROWS_HELD = 10
"""Of a row of the tests, beside its bytes."""


class Days:
    """What was added and what was written, by day; asserts that each file is allowed, and has its reason."""

    def __init__(self, bounds: Bounds) -> None:
        self.added: dict[str, list[Row]] = defaultdict(list)
        self.written: dict[str, list[Row]] = defaultdict(list)
        self.ending = False
        self._bounds = bounds

    def waiting(self) -> dict[str, list[Row]]:
        return {day: rows[len(self.written[day]) :] for day, rows in self.added.items()}

    def write(self, day: str, part: list[Row]) -> None:
        waits = self.waiting()
        assert len(part) <= self._bounds.part_rows
        assert len(part) == 1 or _size(part) <= self._bounds.part_bytes
        if part != waits[day]:
            assert part == waits[day][:-1], "all but the row that has no room"
            assert len(part) == self._bounds.part_rows or _size(waits[day]) > self._bounds.part_bytes
        elif not self.ending:
            assert sum(map(_held, waits.values())) > self._bounds.buffer_bytes
            assert _held(part) == max(map(_held, waits.values())), "the largest is the first"
        self.written[day] += part


def _size(rows: list[Row]) -> int:
    return sum(row.size for row in rows)


def _held(rows: list[Row]) -> int:
    return sum(row.held for row in rows)


@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=200),
    part_rows=st.integers(1, 10),
    part_bytes=st.integers(1, 100),
    buffer_bytes=st.integers(1, 500),
)
def test_every_row_is_written_once_within_all_bounds(
    rows: list[tuple[int, int]], part_rows: int, part_bytes: int, buffer_bytes: int
) -> None:
    bounds = Bounds(part_rows=part_rows, part_bytes=part_bytes, buffer_bytes=buffer_bytes)
    days = Days(bounds)
    parts = Parts(bounds, days.write)

    for number, (day, size) in enumerate(rows):
        row = Row(f"{day}", (number,), size, size + ROWS_HELD)
        days.added[row.day].append(row)
        parts.add(row)
        assert sum(map(_held, days.waiting().values())) <= buffer_bytes
    days.ending = True
    parts.flush()

    assert days.written == days.added


def test_an_entry_without_a_time_is_on_the_day_that_readers_take_for_null() -> None:
    row = entry_row(Entry(key="caf\u00e9", value=b"123", labels={"a": "\u0436"}))

    assert (row.day, row.size) == (UNDATED, 5 + 3 + 3)
    assert row.held > row.size


@pytest.fixture(scope="module")
def filled() -> Iterator[Lake]:
    """Namespaces of 48 MiB and of 144 MiB."""
    with lake() as running:
        for number in range(72):
            value = os.urandom(2 * MIB)
            running.client.set("large", f"{number}", value)
            if number % 3 == 0:
                running.client.set("small", f"{number}", value)
        yield running


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_memory_does_not_grow_with_the_namespace(filled: Lake, tmp_path: Path, format: str) -> None:
    """What is measured is the most that the process ever had."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sidecar.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
    )

    def most_bytes(namespace: str) -> int:
        options = ("--format", format, "--buffer-bytes", "8MiB", "--target", filled.target)
        command = [sys.executable, "-c", code, "export", namespace, "--to", f"file://{tmp_path}", *options]
        ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
        return int(ran.stdout.split()[-1]) * 1024

    assert most_bytes("large") - most_bytes("small") < 24 * MIB


def test_a_terminal_shows_rows_bytes_and_parts(filled: Lake, tmp_path: Path) -> None:
    with terminal() as (ours, theirs):
        command = ["export", "large", "--to", f"file://{tmp_path}", "--target", filled.target]
        environ = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
        with subprocess.Popen(
            [sys.executable, "-m", "sidecar", *command], stdout=subprocess.PIPE, stderr=theirs, env=environ
        ) as running:
            os.close(theirs)
            shown = b""
            while True:
                try:
                    shown += os.read(ours, 65536)
                except OSError:  # EIO: the program has ended
                    break
            assert running.stdout is not None
            told = running.stdout.read()

    assert running.returncode == 0
    assert b" entries \xc2\xb7 " in shown
    assert told.startswith("exported · 72 entries · 144.0 MiB · 2 parts · ".encode())
