"""What writers did, as they knew it: a line before each write, another after its answer, in a file that outlives them.

A write without an answer is unknown: its writer was killed in it, or was told so. The lines are JSON arrays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

PREFIX = "journal-"


class Fate(StrEnum):
    """What a writer heard of a write."""

    COMMITTED = "committed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Intended(NamedTuple):
    """A message of a write. `token` is its payload; `operation`: whose it is, -1: the whole write's."""

    token: str
    key: str
    operation: int


@dataclass(slots=True)
class Written:
    """A write. `did` says which of its operations changed something; `removals` are those that may find nothing to remove."""

    name: str
    keys: tuple[str, ...]
    messages: tuple[Intended, ...]
    removals: tuple[int, ...]
    guarded: bool
    fate: Fate = Fate.UNKNOWN
    version: int = 0
    did: tuple[bool, ...] = ()

    def goes_out(self, message: Intended) -> bool:
        """Whether a message of it goes out, once it is committed."""
        return message.operation < 0 or self.did[message.operation]


class Journal:
    """The file of one writer. Each line is in the page cache when the call returns: kill -9 takes nothing back."""

    def __init__(self, directory: Path, writer: int) -> None:
        self._file = os.open(directory / f"{PREFIX}{writer}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def begin(self, written: Written) -> None:
        """It may take effect from now on."""
        self._add([written.name, written.keys, written.messages, written.removals, written.guarded])

    def end(self, name: str, fate: Fate, version: int = 0, did: Sequence[bool] = ()) -> None:
        """It was answered."""
        self._add([name, fate, version, did])

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, line: Sequence[object]) -> None:
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")


def read(directory: Path) -> list[Written]:
    """The writes of all writers."""
    return [written for path in sorted(directory.glob(f"{PREFIX}*")) for written in _read(path)]


def _read(path: Path) -> Iterator[Written]:
    writes: dict[str, Written] = {}
    for line in path.read_text().splitlines():
        name, second, *rest = json.loads(line)
        if isinstance(second, str):
            version, did = rest
            writes[name].fate, writes[name].version, writes[name].did = Fate(second), version, tuple(did)
        else:
            messages, removals, guarded = rest
            intended = tuple(Intended(*message) for message in messages)
            writes[name] = Written(name, tuple(second), intended, tuple(removals), guarded)
    yield from writes.values()
