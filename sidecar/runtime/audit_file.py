"""The audit log as a file: a JSON object a line, each with the SHA-256 of the line before it, so that a line that was
changed, taken out, put in or moved shows.

Lines are only ever appended, also after a crash: what a kill left of the last line stays, and the next line says how long
it is. A line is durable (fsync) before the next batch is begun. A chain proves nothing of lines cut off its end: its
newest digest has to be kept elsewhere for that, and the daemon's log tells it whenever a file is opened or closed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.runtime.locks import FileLock, StartError
from sidecar.stores.disk import sync_directory

log = logging.getLogger(__name__)

GENESIS = "0" * 64
"""What the first line of all says of the one before it."""
LINE_BYTES_MAX = 64 * 1024
_BEGIN = b'{"sequence": '


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the newest line's number and digest, and how many bytes of an unfinished line are there."""

    sequence: int = 0
    digest: str = GENESIS
    torn_bytes: int = 0


class Broken(Exception):
    """A chain does not hold; the message names file, line and why."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that holds. `first` above 1: older lines are in files that are gone. `torn`: its last line is unfinished."""

    files: int
    lines: int
    first: int
    last: int
    digest: str
    torn: bool


class AuditFile:
    """Appends to `path`; from `size_max` bytes on it becomes `path.1`, and so on up to `keep` of them. `now` tells the time as text."""

    def __init__(self, path: Path, *, size_max: int, keep: int, now: Callable[[], str]) -> None:
        self.head = Head()
        self._path = path
        self._size_max = size_max
        self._keep = keep
        self._now = now
        self._lock = FileLock(path.with_name(f"{path.name}.lock"), what=f"the audit log {path}")
        self._descriptor: int | None = None

    def open(self) -> None:
        """Go on where the chain ends. StartError when another process has it, or it is no audit log, or can't be written."""
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock.acquire()
            self._begin(_stored_head(self._path))
        except OSError as exc:
            self.close()
            raise StartError(f"cannot write the audit log {self._path}: {exc.strerror} (audit.file)") from exc
        except Broken as exc:
            self.close()
            raise StartError(f"{exc}: choose another file (audit.file)") from exc

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Make records durable, in order. Raises OSError or Broken: some may be there then, and the next call goes on there."""
        try:
            descriptor = self._here()
            self._write(descriptor, records)
            if os.fstat(descriptor).st_size >= self._size_max:
                self._rotate()
        except OSError:
            self._forget()
            raise

    def close(self) -> None:
        """Let go. Idempotent."""
        if self._descriptor is not None:
            log.info(
                "audit log %s closed", self._path, extra={"sequence": self.head.sequence, "digest": self.head.digest}
            )
        self._forget()
        self._lock.release()

    def _write(self, descriptor: int, records: Sequence[Mapping[str, Any]], before: bytes = b"") -> None:
        sequence, previous, lines = self.head.sequence, self.head.digest, [before]
        for record in records:
            sequence += 1
            line = json.dumps({"sequence": sequence, **record, "previous": previous}).encode()
            previous = digest_of(line)
            lines.append(line + b"\n")
        left = memoryview(b"".join(lines))
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
        self.head = Head(sequence, previous)

    def _here(self) -> int:
        """The file to append to: the chain goes on in a new one if somebody moved it away."""
        if self._descriptor is None:
            return self._begin(_stored_head(self._path))
        if self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(self._descriptor)):
            return self._descriptor
        self._forget()
        return self._begin(self.head)

    def _begin(self, head: Head) -> int:
        fresh = not self._path.exists()
        self.head = head
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._descriptor = descriptor
        opened = {"time": self._now(), "kind": "opened", "details": {"torn_bytes": str(head.torn_bytes)}}
        self._write(descriptor, [opened], before=b"\n" if head.torn_bytes and not fresh else b"")
        if fresh:
            sync_directory(self._path.parent)
        log.info("audit log %s opened", self._path, extra={"sequence": self.head.sequence, "digest": self.head.digest})
        return descriptor

    def _rotate(self) -> None:
        self._forget()
        for number in range(self._keep, 0, -1):
            older = _rotated(self._path, number - 1) if number > 1 else self._path
            if older.exists():
                older.replace(_rotated(self._path, number))
        self._begin(self.head)

    def _forget(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def digest_of(line: bytes) -> str:
    """How the next line names this one, without its line end."""
    return hashlib.sha256(line).hexdigest()


def verify(path: Path) -> Verified:
    """Read a log and the files that it was rotated to, oldest first. Raises Broken, and OSError."""
    sequence = previous = first = None
    lines, torn = 0, b""
    with ExitStack() as stack:
        # All are opened first: a daemon that rotates meanwhile changes only their names.
        files = [(file, stack.enter_context(file.open("rb"))) for file in _files(path)]
        for file, stream in files:
            for number, line in enumerate(_lines(stream), 1):
                record = _parsed(line)
                if record is None:
                    if torn:
                        raise Broken(f"{file}:{number}: no line of an audit log")
                    torn = line
                else:
                    wrong = _wrong(record, sequence, previous, torn)
                    if wrong:
                        raise Broken(f"{file}:{number}: {wrong}")
                    sequence, torn = record["sequence"], b""
                    first = sequence if first is None else first
                    lines += 1
                previous = digest_of(line)
    if sequence is None or first is None or previous is None:
        raise Broken(f"{path}: no line of an audit log")
    return Verified(len(files), lines, first, sequence, previous, bool(torn))


def _wrong(record: dict[str, Any], sequence: int | None, previous: str | None, torn: bytes) -> str:
    """What a line says that can't follow from the one before it; empty: nothing."""
    number = record["sequence"]
    if sequence is not None and number != sequence + 1:
        return f"line {number} follows line {sequence}"
    if previous is None and number == 1:
        previous = GENESIS
    if previous is not None and record.get("previous") != previous:
        return f"the line before line {number} is not the one that was written, or this is not"
    details = record.get("details")
    if torn and (
        record.get("kind") != "opened" or not isinstance(details, dict) or details.get("torn_bytes") != str(len(torn))
    ):
        return "the line before is unfinished, and this one does not say so"
    return ""


def _files(path: Path) -> list[Path]:
    number, files = 1, [path]
    while (rotated := _rotated(path, number)).exists():
        files.append(rotated)
        number += 1
    return files[::-1]


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _lines(stream: Any) -> Iterator[bytes]:
    while line := stream.readline(LINE_BYTES_MAX + 1):
        yield line.removesuffix(b"\n")


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and type(record.get("sequence")) is int else None


def _stored_head(path: Path) -> Head:
    """Where the chain ends, by the last lines. Raises Broken for a file that never was an audit log."""
    files = [one for one in (path, _rotated(path, 1)) if one.exists() and one.stat().st_size]
    if not files:
        return Head()
    with files[0].open("rb") as stream:
        begin = stream.read(len(_BEGIN))
        stream.seek(-min(files[0].stat().st_size, 3 * LINE_BYTES_MAX), os.SEEK_END)
        *lines, torn = stream.read().split(b"\n")
    numbers = [record["sequence"] for line in (*lines, torn) if (record := _parsed(line))]
    if not _BEGIN.startswith(begin) or (lines and not numbers):
        raise Broken(f"{files[0]} is no audit log")
    return Head(numbers[-1] if numbers else 0, digest_of(torn or lines[-1]), len(torn))
