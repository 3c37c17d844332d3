"""Rows of the ledger and marks: messages, dead letters, blobs' records, pointers. They may be refused with DataLoss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from sidecar.core import ledger
from sidecar.core.blob_records import BlobRecord, BlobState, Owner, blob_name, named_time
from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss
from sidecar.core.marks import Pointer
from sidecar.core.outbox import Pending, message_id, message_key, order_of
from sidecar.engine.outbox.letters import DeadLetter, letters_of
from tests.fuzz.drawing import Draw


def seeds() -> Iterator[bytes]:
    message = Pending(
        id=message_id(7, 0),
        namespace="shop",
        order=order_of("key"),
        key="key",
        version=7,
        commit_time=8,
        topic="orders",
        payload=b"payload",
        attributes={"a": "b"},
    )
    yield b"\0" + message.encode()
    put = DeadLetter(message=message, reason="why", attempts=3, time=9).put(1.0)
    yield b"\1" + put.value
    yield b"\2" + BlobRecord(Owner(namespace="shop", key="key")).encode()
    yield b"\2" + BlobRecord(Owner(content="00ff"), BlobState.CONDEMNED).encode()
    yield b"\3" + Pointer("0123456789abcdef/" + "0" * 28, 5, "ab" * 32, archived=True).text.encode()
    yield b"\4\4shop\3key" + bytes(range(80))
    yield b"\5\4shop" + bytes(range(60))


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 6:
        case 0:
            with suppress(DataLoss):
                stored = Pending.decode(_row(message_key("shop", "0" * 16, "1"), draw.rest()))
                assert Pending.decode(_row(stored.row, stored.encode())) == stored
        case 1:
            with suppress(DataLoss):
                DeadLetter.decode(_row(letters_of("shop") + "0" * 12 + "1", draw.rest()))
        case 2:
            with suppress(DataLoss):
                record = BlobRecord.decode(draw.rest())
                assert BlobRecord.decode(record.encode()) == record
        case 3:
            text = draw.rest().decode("utf-8", "replace")
            with suppress(DataLoss):
                pointer = Pointer.parse(text)
                assert Pointer.parse(pointer.text) == pointer
                named_time(pointer.blob)
        case 4:
            _message(draw)
        case _:
            _names(draw)


def _row(key: str, value: bytes) -> Entry:
    return Entry(ledger.LEDGER, key, value, 1, 0, 0)


def _message(draw: Draw) -> None:
    # A namespace has no control characters: that is what ends it in a row's key.
    namespace, key = draw.text().replace(ledger.SEPARATOR, "-"), draw.text()
    version = draw.number(7)
    message = Pending(
        id=message_id(version, draw.number()),
        namespace=namespace,
        order=order_of(key),
        key=key,
        version=version,
        commit_time=draw.time(),
        topic=draw.text(),
        payload=draw.chunk(),
        content_type=draw.text(),
        attributes=draw.labels(),
    )
    assert Pending.decode(_row(message.row, message.encode())) == message
    letter = DeadLetter(message=message, reason=draw.text(), attempts=draw.number(2), time=draw.time())
    put = letter.put(1.0)
    assert DeadLetter.decode(_row(put.key, put.value)) == letter


def _names(draw: Draw) -> None:
    record = BlobRecord(Owner(namespace=draw.text(), key=draw.text()), draw.one_of(list(BlobState)))
    assert BlobRecord.decode(record.encode()) == record
    now = draw.time()
    name = blob_name("0123456789abcdef", now, draw.take(8).hex())
    assert named_time(name) == now
    pointer = Pointer(name, draw.number(5), draw.take(32).hex(), archived=draw.flag())
    assert Pointer.parse(pointer.text) == pointer
