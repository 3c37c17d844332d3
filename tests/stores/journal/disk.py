"""What a power loss leaves: what was synced for certain, and of everything later any part.

A `Disk` watches one directory. It hears of each sync, after the real one, and remembers what was durable then. An image
has for each block of a file that was written later either state, and for each name that was made or removed later too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

BLOCK = 64
"""Far less than any disk's: more can be torn."""


class Disk:
    """The durable state of one directory's files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._contents: dict[int, bytes] = {}
        self._names: dict[str, int] = {}

    def synced(self, descriptor: int) -> None:
        """A file or the directory was made durable."""
        state = os.fstat(descriptor)
        if not stat.S_ISDIR(state.st_mode):
            self._contents[state.st_ino] = os.pread(descriptor, state.st_size, 0)
        elif self._directory.exists() and self._directory.stat().st_ino == state.st_ino:
            self._names = self._present()

    def image(self, directory: Path, random: Random) -> None:
        """Write what a loss of power now might leave."""
        directory.mkdir()
        present = self._present()
        for name in sorted(present.keys() | self._names.keys()):
            durable, now = self._names.get(name), present.get(name)
            inode = durable if durable == now else random.choice([durable, now])
            if inode is not None:
                content = self._torn(inode, self._directory / name if inode == now else None, random)
                (directory / name).write_bytes(content)

    def _torn(self, inode: int, path: Path | None, random: Random) -> bytes:
        before = self._contents.get(inode, b"")
        now = before if path is None else path.read_bytes()
        size = random.choice([len(before), len(now), random.randint(*sorted((len(before), len(now))))])
        blocks = []
        for begin in range(0, size, BLOCK):
            either = random.choice([before, now])[begin : min(begin + BLOCK, size)]
            blocks.append(either.ljust(min(BLOCK, size - begin), b"\0"))
        return b"".join(blocks)

    def _present(self) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in self._directory.iterdir() if path.name != "lock"}


@contextmanager
def watched(directory: Path) -> Iterator[Disk]:
    """Every sync in this process is told to the disk, after it was done."""
    disk = Disk(directory)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            real = getattr(os, name)

            def sync(descriptor: int, real: object = real) -> None:
                assert callable(real)
                real(descriptor)
                disk.synced(descriptor)

            patch.setattr(os, name, sync)
        yield disk
