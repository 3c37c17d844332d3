"""Journals under test, each with what a restart and a kill leave of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from sidecar.core.journal import Base, Buffering, Journal
from sidecar.core.operations import Change, Put
from sidecar.stores.journal import FileJournal, MemoryJournal
from tests.support.clock import START_MS
from tests.support.factories import NAMESPACE, request

BYTES_MAX = 1 << 20
SEGMENT_BYTES = 2_000
"""So small that a few writes fill one: every test goes through several."""


class Subject(Protocol):
    """A journal that is open, and what becomes of it."""

    @property
    def journal(self) -> Journal:
        """The one that is open."""
        ...

    async def reopen(self) -> None:
        """Close it and open it again, as another process would."""
        ...

    async def crash(self) -> None:
        """The process is killed in the middle of whatever it does, and another opens what was left."""
        ...

    async def end(self) -> None:
        """Leave nothing behind."""
        ...


class FileSubject:
    """Files in a directory; a kill is a copy of them, as they are."""

    def __init__(self, directory: Path, kind: type[FileJournal] = FileJournal) -> None:
        self.directory = directory / "0"
        self._number = 0
        self._kind = kind
        self._left: list[FileJournal] = []
        self.journal = self.make()

    def make(self) -> FileJournal:
        return self._kind(self.directory, bytes_max=BYTES_MAX, segment_bytes=SEGMENT_BYTES)

    async def reopen(self) -> None:
        await self.journal.close()
        self.journal = self.make()
        await self.journal.open()

    async def crash(self) -> None:
        self._left.append(self.journal)
        self._number += 1
        copy = self.directory.with_name(f"{self._number}")
        copy_at_one_moment(self.directory, copy)
        self.directory = copy
        self.journal = self.make()
        await self.journal.open()

    async def end(self) -> None:
        for journal in (*self._left, self.journal):
            await journal.close()


class MemorySubject:
    """No disk; a kill loses all that may be lost."""

    def __init__(self, directory: Path, kind: type[MemoryJournal] = MemoryJournal) -> None:
        self.journal = kind(bytes_max=BYTES_MAX, sync=others_run)

    async def reopen(self) -> None:
        await self.journal.close()
        self.journal = self.journal.crashed()
        await self.journal.open()

    async def crash(self) -> None:
        self.journal = self.journal.crashed()
        await self.journal.open()

    async def end(self) -> None:
        await self.journal.close()


def copy_at_one_moment(directory: Path, copy: Path) -> None:
    """The files as they are together, though a thread may be writing them."""

    def state() -> dict[str, tuple[int, int, int]]:
        found = {path.name: path.stat() for path in directory.iterdir()}
        return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}

    while True:
        with contextlib.suppress(FileNotFoundError, shutil.Error):  # one was deleted in the meantime: again
            before = state()
            shutil.copytree(directory, copy)
            if state() == before:
                return
        shutil.rmtree(copy, ignore_errors=True)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {"files": FileSubject, "memory": MemorySubject}


async def others_run() -> None:
    """What takes time, without taking any."""
    await asyncio.sleep(0)


@asynccontextmanager
async def opened(make: Callable[[Path], Subject], directory: Path) -> AsyncIterator[Subject]:
    """A subject whose journal is open."""
    subject = make(directory)
    try:
        await subject.journal.open()
        yield subject
    finally:
        await subject.end()


@asynccontextmanager
async def opened_files(directory: Path, **options: Any) -> AsyncIterator[FileJournal]:
    """A journal in files that is open, with room."""
    journal = FileJournal(directory, **{"bytes_max": 64 << 20} | options)
    try:
        await journal.open()
        yield journal
    finally:
        await journal.close()


def segments(directory: Path) -> list[Path]:
    """The files of a journal in their order."""
    return sorted(directory.glob("*.journal"))


def buffering(operation: Put | Change | str, value: bytes = b"value", **fields: Any) -> Buffering:
    """A write as it is handed over; a text is the key of a Put."""
    if isinstance(operation, str):
        operation = Put(key=operation, value=value)
    plain: dict[str, Any] = {"namespace": NAMESPACE, "operation": operation, "request": request(f"id {operation.key}")}
    return Buffering(**plain | {"base": Base(version=7, value=b"base"), "hlc": 1 << 40, "time": START_MS} | fields)


async def put(subject: Subject, key: str, value: bytes = b"value") -> int:
    """Append a write; its sequence."""
    return (await subject.journal.append(buffering(key, value))).sequence


async def bury(subject: Subject, sequence: int, *, reason: str = "VERSION_MISMATCH", now: int = START_MS) -> None:
    """Settle a write as dead."""
    await subject.journal.bury(sequence, reason=reason, message=f"why {sequence}", now=now)


def keys(subject: Subject) -> list[str]:
    """Of what is pending, in order."""
    return [buffered.write.operation.key for buffered in subject.journal.pending()]


def dead_keys(subject: Subject) -> list[str]:
    """Of what is dead, in order."""
    return [dead.buffered.write.operation.key for dead in subject.journal.dead()]
