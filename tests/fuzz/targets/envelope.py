"""Sealed values: envelopes, the keyring that opens them, and rows with sealed parts.

Bytes may be refused with DataLoss, KeyAway and FailedPrecondition. Only what was sealed at a place opens there, as itself.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sidecar.core import ledger
from sidecar.core.audit import NoAudit
from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss, FailedPrecondition, KeyAway
from sidecar.core.marks import BLOB, RESTORED, SCHEMA, UPDATES, WOKEN
from sidecar.core.sealing import MAGIC, value_place
from sidecar.stores.sealed import envelope, rows
from sidecar.stores.sealed.files import FileKeys
from sidecar.stores.sealed.keyring import Keyring
from tests.fuzz.drawing import Draw
from tests.support.clock import ManualClock

_CLOSED = (DataLoss, KeyAway, FailedPrecondition)
_PLAIN, _AT = b"what a caller wrote", value_place("session", "key", 0)
_MARKS = (SCHEMA, BLOB, UPDATES, RESTORED, WOKEN, "label")
_LOOP = asyncio.new_event_loop()


def _keyring(*, accept_plaintext: bool) -> Keyring:
    clock = ManualClock()
    return Keyring(
        FileKeys(_KEYS, clock),
        app="shop",
        clock=clock,
        period_s=1e9,
        accept_plaintext=accept_plaintext,
        audit=NoAudit(),
    )


_FOLDER = tempfile.TemporaryDirectory()
_KEYS = Path(_FOLDER.name)
(_KEYS / "first.key").write_bytes(bytes(range(100, 132)))
(_KEYS / "first.key").chmod(0o400)
_KEYRING, _LENIENT = _keyring(accept_plaintext=False), _keyring(accept_plaintext=True)
_CODEC = _LOOP.run_until_complete(_KEYRING.codec("session"))
_SEALED = _CODEC.seal(_PLAIN, _AT)


def seeds() -> Iterator[bytes]:
    yield b"\0" + MAGIC + b"\5first" + (60).to_bytes(2, "big") + bytes(60 + 16 + 12 + 16 + 5)
    yield b"\1\0"
    yield b"\1\1\0\x20\0\xff"
    yield b"\2\3abc\4what"
    yield b"\3\0\5hello" + bytes(range(60))
    yield b"\4\2x/row\0\0\0\x10[]"


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 5:
        case 0:
            _raw(draw.rest())
        case 1:
            sealed = draw.edited(_SEALED)
            if sealed == _SEALED:
                assert _CODEC.open(sealed, _AT, namespace="session") == _PLAIN
            else:
                _refused(sealed, _AT)
        case 2:
            at, plain = draw.chunk(), draw.rest()
            sealed = _CODEC.seal(plain, at)
            assert envelope.plain_size(sealed) == len(plain)
            assert _CODEC.open(sealed, at, namespace="session") == plain
            _refused(sealed, at + b"x")
        case 3:
            _entry(draw)
        case _:
            key = draw.one_of([ledger.CONTENTS, ledger.DEAD_LETTERS, ledger.MESSAGES, ledger.WAITING, ""]) + draw.text()
            with suppress(*_CLOSED):
                rows.opened_entry(_CODEC, Entry(ledger.LEDGER, key, draw.rest(), 1, 0, 0))


def _raw(data: bytes) -> None:
    for sealed in (data, MAGIC + data):
        size = envelope.plain_size(sealed)
        assert 0 <= size <= len(sealed)
        if sealed.startswith(MAGIC):
            with suppress(envelope.NotSealedHere):
                end = envelope.header_length(sealed)
                assert len(MAGIC) < end < len(sealed)
                name, wrapped = envelope.parsed(sealed[:end])
                assert len(name) + len(wrapped) < end
        _refused(sealed, _AT)
    if not data.startswith(MAGIC):
        assert _LENIENT.open_now(data, _AT, namespace="session") == data


def _refused(sealed: bytes, at: bytes) -> None:
    with suppress(*_CLOSED):
        _KEYRING.open_now(sealed, at, namespace="session")
        raise AssertionError("bytes that nobody sealed were opened")
    with suppress(*_CLOSED):
        _LOOP.run_until_complete(_KEYRING.open(sealed, at, namespace="session"))
        raise AssertionError("bytes that nobody sealed were opened")


def _entry(draw: Draw) -> None:
    """An entry comes back as it was; with other labels or another value it may be refused, and is never another's."""
    plain = draw.entry("session", draw.text())._replace(labels={draw.one_of(_MARKS): draw.text()})
    sealed = rows.sealed_entry(_CODEC, plain)
    assert rows.opened_entry(_CODEC, sealed) == plain
    changed = sealed._replace(value=draw.edited(sealed.value), labels={draw.one_of(_MARKS): draw.text()})
    with suppress(*_CLOSED):
        opened = rows.opened_entry(_CODEC, changed)
        assert opened.value == plain.value or BLOB in changed.labels
