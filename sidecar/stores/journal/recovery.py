"""What a journal's directory holds when it is opened: what is live, and where it can be written on."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from sidecar.core.sealing import Codec
from sidecar.stores.journal.errors import missing, of_newer_release
from sidecar.stores.journal.records import Record, UnknownRecord, Written, apply, decode
from sidecar.stores.journal.sealing import opened
from sidecar.stores.journal.segment import HEADER_BYTES, SUFFIX, Header, Scan, decode_header, scan, segment_path

_log = logging.getLogger(__name__)

UNNAMED = "new~"
"""A segment that is being made."""
_NAME = re.compile(r"([0-9]{20})" + re.escape(SUFFIX))


class Found(NamedTuple):
    """A segment, and where what counts of it ends."""

    path: Path
    header: Header
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Everything that was left. `where`: the index of the segment that has the newest copy of a live sequence."""

    segments: list[Found]
    live: dict[int, Written]
    where: dict[int, int]
    next_sequence: int


def recover(directory: Path, codec: Codec | None = None) -> Recovered:
    """Read all segments; cut off a torn end, and make what was found durable.

    `codec` opens what is sealed. Raises OSError, StoreCorrupt, and what the codec raises.
    """
    (directory / UNNAMED).unlink(missing_ok=True)
    paths = _paths(directory)
    headers = [_header(path) for path in paths]
    ends = [header.previous_end for header in headers[1:]]
    segments: list[Found] = []
    live: dict[int, Written] = {}
    where: dict[int, int] = {}
    next_sequence = 1
    for index, (path, header) in enumerate(zip(paths, headers, strict=True)):
        found = scan(path, header, path.read_bytes(), end=ends[index] if index < len(ends) else None)
        next_sequence = max(next_sequence, header.next_sequence)
        for record in _records(path, found, codec):
            apply(live, record)
            if isinstance(record, Written):
                where[record.sequence] = index
                next_sequence = max(next_sequence, record.sequence + 1)
        segments.append(Found(path, header, found.end))
        if index == len(ends):
            _make_durable(path, found)
    where = {sequence: where[sequence] for sequence in live}
    return Recovered(segments=segments, live=live, where=where, next_sequence=next_sequence)


def _paths(directory: Path) -> list[Path]:
    """The segments' files in order. Raises StoreCorrupt if one is missing between others."""
    ordinals = sorted(int(match[1]) for path in directory.iterdir() if (match := _NAME.fullmatch(path.name)))
    for before, ordinal in pairwise(ordinals):
        if ordinal != before + 1:
            raise missing(segment_path(directory, before + 1))
    return [segment_path(directory, ordinal) for ordinal in ordinals]


def _header(path: Path) -> Header:
    with path.open("rb") as file:
        return decode_header(path, file.read(HEADER_BYTES))


def _records(path: Path, found: Scan, codec: Codec | None) -> list[Record]:
    try:
        return [decode(opened(codec, frame.contents)) for frame in found.frames]
    except UnknownRecord as exc:
        raise of_newer_release(path, str(exc)) from exc


def _make_durable(path: Path, found: Scan) -> None:
    """What is read must not be lost by a crash later: its sequences would be used again."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        if found.torn:
            _log.warning(
                "the journal's torn end was cut off: what had not been acknowledged",
                extra={"file": str(path), "position": found.end, "bytes": found.torn},
            )
            os.ftruncate(descriptor, found.end)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
