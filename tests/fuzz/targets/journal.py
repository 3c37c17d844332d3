"""The journal: records, segments, and what is recovered from files.

A record may be an UnknownRecord, a segment StoreCorrupt. Of a spoilt segment only what was written comes back, in order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sidecar.core.errors import StoreCorrupt
from sidecar.core.journal import Base, Buffering
from sidecar.core.operations import Append, Change, Increment, MergePatch, Put, WriteId
from sidecar.stores.journal import records, segment
from sidecar.stores.journal.contents import Contents
from sidecar.stores.journal.records import Buried, Grave, Record, Removed, Settled, UnknownRecord, Written
from sidecar.stores.journal.recovery import recover
from sidecar.stores.journal.segment import HEADER_BYTES, Header, segment_path
from tests.fuzz.drawing import Draw

_SHM = Path("/dev/shm")
_FOLDER = tempfile.TemporaryDirectory(dir=_SHM if _SHM.is_dir() else None)
_DIRECTORY = Path(_FOLDER.name)
_PATH = segment_path(_DIRECTORY, 1)
_HEADER = Header(mark=b"\xa5markers", ordinal=1, next_sequence=1, previous_end=0)


def seeds() -> Iterator[bytes]:
    grave = Grave(order=1, reason="why", message="words", dead_time=2)
    put = Buffering(
        namespace="session",
        operation=Put(key="k", value=b"v", labels={"a": "b"}),
        request=WriteId(request_id="r", fingerprint=b"f"),
        base=Base(version=1, value=b"base"),
        hlc=3,
        time=4,
    )
    written = Written(sequence=1, write=put, parts=records.encoded_parts(put), grave=grave)
    for record in (written, Settled(sequence=1), Buried(sequence=1, grave=grave), Removed(sequence=1)):
        yield b"\0" + records.encode(record)
    yield b"\1\3\5hello\5world\0\1\0\x30\0\xff"
    yield b"\2" + segment.encode_header(_HEADER)
    yield from (bytes([3, kind]) + bytes(range(120)) for kind in range(4))
    yield from (b"\4\4" + bytes([kind]) + bytes(range(kind, 120)) for kind in range(4))


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 16:
        case 0:
            with suppress(UnknownRecord):
                record = records.decode(draw.rest())
                # Shown, since NaN is not equal to itself.
                assert repr(records.decode(records.encode(record))) == repr(record)
        case 1:
            _scan(draw)
        case 2:
            with suppress(StoreCorrupt):
                header = segment.decode_header(_PATH, draw.rest())
                assert segment.decode_header(_PATH, segment.encode_header(header)) == header
        case 3:
            record = _record(draw)
            assert records.decode(records.encode(record)) == record
        case 4:  # a sixteenth: files cost a hundred times what the others do
            _recover(draw)
        case _:
            _scan(draw)


def _scan(draw: Draw) -> None:
    contents = [draw.chunk() for _ in range(draw.number() % 5)]
    written = _segment(contents, synced=draw.flag())
    read = draw.edited(written)
    if len(read) < HEADER_BYTES:
        return  # its header was refused before
    end = len(written) if draw.flag() else None
    with suppress(StoreCorrupt):
        found = segment.scan(_PATH, _HEADER, read, end=end)
        kept = [frame.contents for frame in found.frames]
        assert kept == contents[: len(kept)]
        if read == written:
            assert len(kept) == len(contents)
        assert end is None or read[HEADER_BYTES:end] == written[HEADER_BYTES:]
        assert found.end + found.torn == (len(read) if end is None else end)


def _segment(contents: list[bytes], *, synced: bool) -> bytes:
    """A segment's bytes. `synced`: each frame says that all before it was durable."""
    content = segment.encode_header(_HEADER)
    for each in contents:
        content += segment.encode_frame(_HEADER, len(content), len(content) if synced else HEADER_BYTES, each)
    return content


def _record(draw: Draw) -> Record:
    sequence = draw.number(2) + 1
    match draw.number() % 4:
        case 0:
            return Settled(sequence=sequence)
        case 1:
            return Removed(sequence=sequence)
        case 2:
            return Buried(sequence=sequence, grave=_grave(draw))
        case _:
            write = _write(draw)
            grave = _grave(draw) if draw.flag() else None
            return Written(sequence=sequence, write=write, parts=records.encoded_parts(write), grave=grave)


def _grave(draw: Draw) -> Grave:
    return Grave(order=draw.number(2), reason=draw.text(), message=draw.text(), dead_time=draw.time())


def _write(draw: Draw) -> Buffering:
    operation: Put | Change
    match draw.number() % 4:
        case 0:
            operation = Put(key=draw.text(), value=draw.chunk(), labels=draw.labels(), ttl_ms=draw.maybe_time())
        case 1:
            operation = Change(key=draw.text(), change=MergePatch(patch=draw.json()))
        case 2:
            operation = Change(
                key=draw.text(), change=Append(items=(draw.json(), draw.json()), max_items=draw.number())
            )
        case _:
            operation = Change(
                key=draw.text(), change=Increment(delta=draw.number(4), minimum=None, maximum=draw.time())
            )
    return Buffering(
        namespace=draw.text(),
        operation=operation,
        request=WriteId(request_id=draw.text(), fingerprint=draw.chunk()),
        base=Base(version=draw.number(), value=draw.chunk() if draw.flag() else None) if draw.flag() else None,
        hlc=draw.number(7),
        time=draw.time(),
    )


def _recover(draw: Draw) -> None:
    """What is recovered twice is the same, and is what a journal can be opened with."""
    contents = [records.encode(_record(draw)) for _ in range(draw.number() % 6)]
    _PATH.write_bytes(draw.edited(_segment(contents, synced=draw.flag())))
    with suppress(StoreCorrupt):
        first = recover(_DIRECTORY)
        again = recover(_DIRECTORY)
        assert again == first
        held = Contents(first.live, first.next_sequence)
        assert len(held.pending()) + len(held.dead()) == len(first.live)
        assert all(sequence < first.next_sequence for sequence in first.live)
