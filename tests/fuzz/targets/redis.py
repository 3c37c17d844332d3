"""What Redis answers: slots of the cache, heads and values of the store, outcomes of its scripts.

A slot may be NotOurs; a head, a value, a name and an outcome DataLoss, and an outcome the decision that it is. Checksums are
against accidents, so some inputs get one that fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from sidecar.core.cache import Hit
from sidecar.core.entry import Copy
from sidecar.core.errors import DECISIONS, DataLoss, InvalidRequest
from sidecar.core.operations import Put, Write, WriteId
from sidecar.stores.redis import codec, store_outcomes, store_rows
from sidecar.stores.redis.codec import Lease, Names, NotOurs
from sidecar.stores.redis.script import Argument
from tests.fuzz.drawing import Draw

_NAMES = Names("state-sidecar/")
_NAME = _NAMES.space("session") + b"key"
_SHARD = store_rows.Shard(1, ())
_WRITE = Write(namespace="session", operations=(Put(key="key", value=b"", expected_version=3),), value_bytes_max=100)
_REQUEST = WriteId(request_id="r", fingerprint=b"f" * 16)


def seeds() -> Iterator[bytes]:
    for kind in b"PMET":
        yield b"\0slot\1" + bytes([kind]) + bytes(7) + b"\1" + bytes(7) + b"\2" + b"\xff" * 8 + bytes(60)
    yield b"\1slot\1E" + bytes(7) + b"\1" + bytes(7) + b"\2" + b"\xff" * 8 + bytes(32) + b"\0\1\0\0\0\2t{}value"
    yield from (b"\2" + bytes([kind]) + bytes(range(120)) for kind in range(3))
    yield b"\3" + b"\1.22.holder"
    yield b"\4\0" + bytes(8) + store_rows.HEAD.pack(1, 5, 6, 7, 0, 0, store_rows.digest(b""))
    yield b"\4\1" + store_rows.HEAD.pack(1, 5, 6, 7, 0, 0, store_rows.digest(b"")) + b"\0\0\0\1\0\1t{}"
    yield b"\5" + store_rows.field_of("session", "key")
    yield b"\6A" + bytes(7) + b"\5\1" + bytes(8) + b"\0\0\0\0"
    yield b"\6C" + bytes(4) + bytes(7) + b"\2"
    yield b'\6J{"kind":"VersionConflict"}'
    yield b"\7" + bytes(7) + b"\5\0\x10" + _REQUEST.fingerprint + b"A" + bytes(8)


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 8:
        case 0:
            _read(draw.rest())
        case 1:
            body = draw.rest()
            _read(body + codec._checksum(_NAME, body))
        case 2:
            _slot_round_trip(draw)
        case 3:
            _lease(draw.rest().decode("utf-8", "replace"))
        case 4:
            _head(draw)
        case 5:
            _field(draw)
        case 6:
            with suppress(DataLoss, *DECISIONS):
                store_outcomes.decode(_WRITE, draw.rest(), _SHARD, replayed=False)
        case _:
            body = draw.rest()
            seal = store_rows.digest(store_rows.field_of("session", "r") + body)
            for record in (body, seal + body):
                with suppress(DataLoss, InvalidRequest):
                    outcome = store_outcomes.recorded("session", _REQUEST, record)
                    assert record.startswith(seal)
                    assert record.endswith(outcome)


def _read(slot: bytes) -> None:
    with suppress(NotOurs):
        answers, missing = codec.read_all([_NAME], [slot], "session", ["key"], generation=1, now=0)
        assert len(answers) == 1
        assert missing in ([], [0])


def _slot_round_trip(draw: Draw) -> None:
    kind, namespace, key = draw.number() % 3, draw.text(), draw.text()
    name = _NAMES.space(namespace) + key.encode()
    copy: Copy | None = None
    if kind == 1:
        copy = draw.entry(namespace, key)
    elif kind == 2:
        copy = draw.tombstone(namespace, key)
    generation = draw.number(4)
    made = codec.encode(name, copy, generation=generation, end=codec.NO_END)
    [answer], missing = codec.read_all([name], [made], namespace, [key], generation=generation, now=0)
    assert (answer, missing) == (Hit(copy), [])
    spoilt = draw.edited(made)
    with suppress(NotOurs):
        [answer], missing = codec.read_all([name], [spoilt], namespace, [key], generation=generation, now=0)
        assert spoilt == made or missing, "a spoilt slot was believed"


def _lease(text: str) -> None:
    lease = Lease.parse(text)
    if lease is not None:
        assert Lease.parse(str(lease)) == lease
        lease.placeholder(_NAME)


def _head(draw: Draw) -> None:
    forged, raw = draw.flag(), draw.rest()
    if forged:
        raw = store_rows.digest(store_rows.field_of("session", "key") + raw) + raw
    with suppress(DataLoss):
        copy = store_rows.verified("session", "key", raw, b"", _SHARD)
        assert (copy.namespace, copy.key) == ("session", "key")


def _field(draw: Draw) -> None:
    field = draw.rest()
    with suppress(DataLoss):
        namespace, name = store_rows.names_of(field)
        assert store_rows.field_of(namespace, name) == field
    namespace, name = draw.text(), draw.text()
    if len(namespace.encode()) < 1 << 16:
        assert store_rows.names_of(store_rows.field_of(namespace, name)) == (namespace, name)
    guard: Argument = _SHARD.guard(draw.number(8))
    assert guard is not None
