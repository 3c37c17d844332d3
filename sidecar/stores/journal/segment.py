"""A segment's form: a header, and records framed so that a torn end is told from spoilt bytes.

Each frame begins with a random mark of the segment's own and has a CRC over mark, position, length, contents and
`synced`: how far the file was known to be durable when the frame was written. What is acknowledged is written only when
all before it is durable. So where bytes don't verify, and a later frame that does says that they had been durable, they
were spoilt; if none says so, they were being written when the machine stopped, and nobody had relied on them. No value
can imitate a frame, since nobody outside knows the mark.

    header   magic "SSJL" | version 2 | 2 zero | mark 8 | ordinal 8 | next sequence 8 | end of the segment before 8 | CRC 4
    frame    mark 8 | length 4 | synced 8 | CRC 4 | contents
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from sidecar.stores.journal.errors import of_newer_release, spoilt

VERSION = 1
MARK_BYTES = 8
SUFFIX = ".journal"

_MAGIC = b"SSJL"
_VERSION = struct.Struct(">4sH")
_HEADER = struct.Struct(">4sH2x8sQQQI")
_FRAME = struct.Struct(">8sIQI")
_PLACE = struct.Struct(">QIQ")

HEADER_BYTES = _HEADER.size
FRAME_BYTES = _FRAME.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """How a segment begins.

    Sequences below `next_sequence` were used before it. Of the segment before, nothing counts from `previous_end` on:
    what is there was refused.
    """

    mark: bytes
    ordinal: int
    next_sequence: int
    previous_end: int


class Frame(NamedTuple):
    """A frame that verifies: where its file goes on after it, and what it says."""

    end: int
    synced: int
    contents: bytes


class Scan(NamedTuple):
    """The frames of a segment, and where they end; `torn` bytes after that were never acknowledged."""

    frames: list[Frame]
    end: int
    torn: int


def segment_path(directory: Path, ordinal: int) -> Path:
    """Where a segment is."""
    return directory / f"{ordinal:020}{SUFFIX}"


def encode_header(header: Header) -> bytes:
    """A header's bytes."""
    body = _HEADER.pack(_MAGIC, VERSION, header.mark, header.ordinal, header.next_sequence, header.previous_end, 0)[:-4]
    return body + struct.pack(">I", crc32(body))


def decode_header(path: Path, content: bytes) -> Header:
    """A segment's header. Raises StoreCorrupt."""
    if len(content) >= _VERSION.size:
        magic, version = _VERSION.unpack_from(content)
        if magic == _MAGIC and version > VERSION:
            raise of_newer_release(path, f"format {version}, {VERSION} is known")
    if len(content) >= HEADER_BYTES:
        magic, _, mark, ordinal, next_sequence, previous_end, checksum = _HEADER.unpack_from(content)
        verifies = magic == _MAGIC and checksum == crc32(content[: HEADER_BYTES - 4])
        if verifies and segment_path(path.parent, ordinal) == path:
            return Header(mark=mark, ordinal=ordinal, next_sequence=next_sequence, previous_end=previous_end)
    raise spoilt(path, 0, "its header does not verify")


def encode_frame(header: Header, position: int, synced: int, contents: bytes) -> bytes:
    """A frame that will be at a position."""
    checksum = _checksum(header.mark, position, len(contents), synced, contents)
    return _FRAME.pack(header.mark, len(contents), synced, checksum) + contents


def scan(path: Path, header: Header, content: bytes, *, end: int | None) -> Scan:
    """The frames of a segment up to `end`, where all must verify; None: of the last segment, which may be torn.

    Raises StoreCorrupt.
    """
    frames: list[Frame] = []
    position = HEADER_BYTES
    stop = len(content) if end is None else end
    while position < stop and (frame := _frame(header.mark, content, position)) is not None:
        frames.append(frame)
        position = frame.end
    if end is not None:
        if position != end:
            raise spoilt(path, position, "it was complete, and does not verify")
        return Scan(frames, position, 0)
    for found, later in _later(header.mark, content, position):
        if later.synced > position:
            raise spoilt(path, position, f"a record after it, at byte {found}, shows that it was complete")
    return Scan(frames, position, stop - position)


def _frame(mark: bytes, content: bytes, position: int) -> Frame | None:
    """What verifies at a position."""
    begin = position + FRAME_BYTES
    if begin > len(content):
        return None
    found, length, synced, checksum = _FRAME.unpack_from(content, position)
    if found != mark or begin + length > len(content):
        return None
    contents = content[begin : begin + length]
    if checksum != _checksum(mark, position, length, synced, contents):
        return None
    return Frame(begin + length, synced, contents)


def _later(mark: bytes, content: bytes, position: int) -> Iterator[tuple[int, Frame]]:
    """Frames that verify anywhere after a position."""
    found = content.find(mark, position + 1)
    while found >= 0:
        frame = _frame(mark, content, found)
        if frame is not None:
            yield found, frame
        found = content.find(mark, found + 1 if frame is None else frame.end)


def _checksum(mark: bytes, position: int, length: int, synced: int, contents: bytes) -> int:
    return crc32(contents, crc32(_PLACE.pack(position, length, synced), crc32(mark)))
