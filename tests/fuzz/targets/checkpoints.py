"""Checkpoints: records, documents, contents, and deltas with what they decompress to.

Rows may be refused with DataLoss, stored forms with DeltaCorrupt. What is decompressed has the bytes that it may have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from sidecar.core import checkpoints, deltas
from sidecar.core.checkpoints import Record
from sidecar.core.contents import Content
from sidecar.core.deltas import DeltaCorrupt, Link
from sidecar.core.errors import DataLoss
from tests.fuzz.drawing import Draw

_ID = "0" * 27 + "1"
_BASE = bytes(range(256)) * 8
_BYTES_MAX = 1 << 16
_BOMB_BYTES = 64 << 20


def seeds() -> Iterator[bytes]:
    yield b"\0" + _unsealed(Record(checkpoint_id=_ID, namespace="shop", key="k", create_time=1, entry_count=1).encode())
    entry = Draw(b"\0\5hello" + bytes(range(50))).entry("shop", "k")
    yield b"\1" + checkpoints.document([entry, entry])
    whole = Link(depth=0, chain_bytes=5, anchor_depth=0, anchor_bytes=5)
    yield b"\2" + _unsealed(Content(content_id=_ID, size=5, link=whole, data=b"hello").encode())
    yield b"\3" + deltas.encode(b"x" * 3000)
    yield b"\3" + deltas.encode(_BASE[:999] + b"changed, and by more than a few bytes" + _BASE[1030:], _BASE)
    yield b"\3" + deltas.encode(_BASE + b"more")[:1] + b"\x20" + deltas.encode(bytes(_BOMB_BYTES))[5:]
    yield b"\4\0\7\1\0changed" + bytes(40)
    yield b"\5\2" + bytes(range(100))


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 6:
        case 0:
            stored = draw.rest()
            for row in (stored, checkpoints.seal(stored, _ID)):
                with suppress(DataLoss):
                    Record.decode(row, _ID)
        case 1:
            with suppress(DataLoss):
                checkpoints.entries_of("shop", draw.rest())
        case 2:
            with suppress(DataLoss):
                Content.decode(checkpoints.seal(draw.rest(), _ID), _ID)
        case 3:
            stored = draw.rest()
            for base in (None, _BASE):
                with suppress(DeltaCorrupt):
                    assert len(deltas.decode(stored, base, bytes_max=_BYTES_MAX)) <= _BYTES_MAX
        case 4:
            _delta(draw)
        case _:
            _rows(draw)


def _unsealed(row: bytes) -> bytes:
    return checkpoints.unseal(row, _ID)


def _delta(draw: Draw) -> None:
    base = draw.chunk() * (1 + draw.number())
    content = draw.edited(base)
    stored = deltas.encode(content, base)
    assert deltas.decode(stored, base, bytes_max=len(content)) == content
    assert deltas.restore([deltas.encode(base), stored], bytes_max=max(len(base), len(content))) == content
    if content:
        with suppress(DeltaCorrupt):
            deltas.decode(stored, base, bytes_max=len(content) - 1)
            raise AssertionError("more bytes than allowed")
    with suppress(DeltaCorrupt):
        assert len(deltas.decode(draw.edited(stored), base, bytes_max=_BYTES_MAX)) <= _BYTES_MAX


def _rows(draw: Draw) -> None:
    entries = tuple(draw.entry("shop", draw.text()) for _ in range(draw.number() % 4))
    entries = tuple(
        entry._replace(labels={f"l{name}": text for name, text in entry.labels.items()}) for entry in entries
    )
    assert checkpoints.entries_of("shop", checkpoints.document(entries)) == entries
    record = Record(
        checkpoint_id=_ID,
        namespace=f"n{draw.text()}",
        key_prefix=draw.text() or None,
        label=draw.text(),
        metadata=draw.labels(),
        create_time=draw.time() + 1,
        entry_count=draw.number(2) + 1,
        automatic=draw.flag(),
    )
    assert Record.decode(record.encode(), _ID) == record
    content = Content(
        content_id=_ID,
        size=draw.number(4),
        link=Link(
            depth=draw.number(2),
            chain_bytes=draw.number(4),
            anchor=draw.take(16).ljust(16).hex() if draw.flag() else "",
            anchor_depth=draw.number(2),
            anchor_bytes=draw.number(4),
        ),
        bases=tuple(draw.take(16).ljust(16).hex() for _ in range(draw.number() % 9)),
        blob=draw.text().encode("ascii", "replace").decode(),
        data=draw.rest(),
    )
    assert Content.decode(content.encode(), _ID) == content
