"""Files that are read again when they change, as secrets and certificates do while a daemon serves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

LOOK_INTERVAL_S = 1.0
FILE_BYTES_MAX = 1 << 20

log = logging.getLogger(__name__)


class Watched(Generic[T]):
    """What `parse` makes of the contents of some files. Safe to ask from any thread.

    `generation` rises with every change that was taken. Files that can't be read, or whose content is wrong, leave what was
    known; that is logged once.
    """

    def __init__(
        self, paths: Sequence[Path], parse: Callable[[list[bytes]], T], *, monotonic: Callable[[], float]
    ) -> None:
        """Reads them. Raises OSError and ValueError, whose message holds nothing of the content."""
        self.generation = 0
        self._paths = tuple(paths)
        self._parse = parse
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._value = self._read()
        self._looked = monotonic()

    def get(self, *, at_once: bool = False) -> T:
        """The latest; files are looked at once a second at most, or `at_once`."""
        if (now := self._monotonic()) - self._looked >= LOOK_INTERVAL_S or at_once:
            with self._lock:
                self._looked = now
                self._look()
        return self._value

    def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        # Before it is read: what changes meanwhile is another stamp, and read the next time.
        self._seen = stamp
        try:
            self._value = self._read()
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else str(exc)
            log.warning("a changed file is not taken: %s", why, extra={"files": [str(path) for path in self._paths]})
        else:
            self.generation += 1

    def _read(self) -> T:
        contents: list[bytes] = []
        for path in self._paths:
            with path.open("rb") as file:
                contents.append(file.read(FILE_BYTES_MAX + 1))
            if len(contents[-1]) > FILE_BYTES_MAX:
                raise ValueError(f"{path} is larger than {FILE_BYTES_MAX} bytes")
        return self._parse(contents)

    def _stamp(self) -> tuple[tuple[int, ...], ...]:
        """Differs when a file is another; empty: one is not there."""
        # Kubernetes swaps a link above the files: what it leads to then has another inode.
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return ()
        return tuple((stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)
