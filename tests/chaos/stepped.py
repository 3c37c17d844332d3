"""A daemon whose wall clock can be stepped while it runs, by a file that it shares with the runner."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from sidecar.runtime.ports import SystemClock

VARIABLE = "CHAOS_CLOCK"
_TWO = struct.Struct("qq")
"""Milliseconds that are added to the clock, and those that the daemon was seen to add."""


class SharedStep:
    """The step of one daemon's clock, in a file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_TWO.pack(0, 0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _TWO.size)

    @property
    def wanted(self) -> int:
        """What the clock is to be stepped by, in milliseconds."""
        return int(_TWO.unpack_from(self._shared)[0])

    @wanted.setter
    def wanted(self, milliseconds: int) -> None:
        _TWO.pack_into(self._shared, 0, milliseconds, self.used)

    @property
    def used(self) -> int:
        """What it was stepped by when the daemon looked last."""
        return int(_TWO.unpack_from(self._shared)[1])

    def use(self) -> int:
        """For the daemon: the step."""
        wanted = self.wanted
        if wanted != self.used:
            _TWO.pack_into(self._shared, 0, wanted, wanted)
        return wanted


def follow(path: Path) -> None:
    """From now on this process's clock goes by the file."""
    step, now = SharedStep(path), SystemClock.now

    def stepped(self: SystemClock) -> int:
        return now(self) + step.use()

    SystemClock.now = stepped  # type: ignore[method-assign]
