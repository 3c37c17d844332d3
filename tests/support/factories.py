"""Test data that names only what matters to the test."""

from __future__ import annotations

import hashlib
from typing import Any

from sidecar.core.entry import Entry, Tombstone
from sidecar.core.operations import Operation, Write, WriteId
from tests.support.clock import START_MS

NAMESPACE = "contract"
VALUE_BYTES_MAX = 8 * 1024 * 1024


def entry(**fields: Any) -> Entry:
    """An entry that doesn't end."""
    plain: dict[str, Any] = {"namespace": NAMESPACE, "key": "key", "value": b"value", "version": 1}
    return Entry(**plain | {"create_time": START_MS, "update_time": START_MS} | fields)


def tombstone(**fields: Any) -> Tombstone:
    """What a deletion leaves."""
    plain: dict[str, Any] = {"namespace": NAMESPACE, "key": "key", "version": 1, "delete_time": START_MS}
    return Tombstone(**plain | fields)


def write(*operations: Operation, **fields: Any) -> Write:
    """A write of a namespace without ttl."""
    plain: dict[str, Any] = {"namespace": NAMESPACE, "operations": operations, "value_bytes_max": VALUE_BYTES_MAX}
    return Write(**plain | fields)


def request(request_id: str, body: str = "") -> WriteId:
    """A request id with the digest of a body."""
    return WriteId(request_id=request_id, fingerprint=hashlib.sha256(body.encode()).digest())
