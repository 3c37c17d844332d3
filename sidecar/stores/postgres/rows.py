"""Entries and tombstones as rows. A row is trusted only after its checksums verify; what fails is DataLoss, never bytes.

A row is its namespace and key, the header (the columns from `version` to `value_checksum` in the order of the
statements), the header's checksum, and the value where it was loaded. The header's checksum is over all before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any
from zlib import crc32

from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.errors import DataLoss
from sidecar.stores.postgres.arrays import BYTES, INTEGERS, OPTIONAL_INTEGERS

Row = tuple[Any, ...]

KINDS = (
    BYTES,
    BYTES,
    INTEGERS,
    *[OPTIONAL_INTEGERS] * 5,
    INTEGERS,
    BYTES,
    BYTES,
    INTEGERS,
    INTEGERS,
    BYTES,
)
"""The columns of an encoded row."""
END_KINDS = (BYTES, BYTES, OPTIONAL_INTEGERS, OPTIONAL_INTEGERS, INTEGERS)
"""The columns of an encoded end."""
HEADER_LENGTH = 10
SCANNED_LENGTH = 1 + HEADER_LENGTH + 1
"""A key, its header and the header's checksum."""
_EXPIRE_TIME, _TTL_MS = 4, 5
_EMPTY = crc32(b"")
_NUMBERS = Struct("!12q")


def encode(copy: Copy) -> Row:
    """A whole row."""
    at = (copy.namespace.encode(), copy.key.encode())
    if isinstance(copy, Tombstone):
        value = b""
        header: Row = (copy.version, copy.delete_time, None, None, None, None, 0, b"", b"", _EMPTY)
    else:
        value = copy.value
        header = (
            copy.version,
            None,
            copy.create_time,
            copy.update_time,
            copy.expire_time,
            copy.ttl_ms,
            copy.schema_version,
            copy.content_type.encode(),
            _labels_bytes(copy.labels) if copy.labels else b"",
            crc32(value),
        )
    return (*at, *header, _checksum(at, header), value)


def decode(namespace: str, key: str, row: Sequence[Any]) -> Copy:
    """The copy in a row after its namespace and key; without a value it is empty. Raises DataLoss."""
    header = tuple(row[:HEADER_LENGTH])
    if row[HEADER_LENGTH] != _checksum((namespace.encode(), key.encode()), header):
        raise entry_corrupt(namespace, key)
    value = row[HEADER_LENGTH + 1] if len(row) > HEADER_LENGTH + 1 else None
    if value is None:
        value = b""
    elif crc32(value) != header[-1]:
        raise entry_corrupt(namespace, key)
    version, delete_time, create_time, update_time, expire_time, ttl_ms, schema_version, content_type, labels, _ = (
        header
    )
    if delete_time is not None:
        return Tombstone(namespace=namespace, key=key, version=version, delete_time=delete_time)
    return Entry(
        namespace=namespace,
        key=key,
        value=value,
        version=version,
        create_time=create_time,
        update_time=update_time,
        expire_time=expire_time,
        ttl_ms=ttl_ms,
        content_type=content_type.decode(),
        schema_version=schema_version,
        labels=json.loads(labels) if labels else {},
    )


def decode_text(stored: bytes) -> str:
    """The text of a stored namespace or key. Raises DataLoss."""
    try:
        return stored.decode()
    except UnicodeDecodeError as exc:
        raise entry_corrupt("", repr(stored)) from exc


def moved(row: Sequence[Any], namespace: str, key: str, expire_time: int | None, ttl_ms: int | None) -> Row:
    """The header of a verified row, and its checksum, with another end."""
    header = list(row[:HEADER_LENGTH])
    header[_EXPIRE_TIME], header[_TTL_MS] = expire_time, ttl_ms
    return (*header, _checksum((namespace.encode(), key.encode()), tuple(header)))


def encode_end(row: Row, namespace: str, key: str) -> Row:
    """The parameters of `update ends` for a row that was moved."""
    return (namespace.encode(), key.encode(), row[_EXPIRE_TIME], row[_TTL_MS], row[HEADER_LENGTH])


def entry_corrupt(namespace: str, key: str) -> DataLoss:
    """An entry that doesn't verify."""
    return DataLoss(
        f"the entry {key!r} of namespace {namespace!r} does not verify", metadata={"namespace": namespace, "key": key}
    )


def _checksum(at: tuple[bytes, bytes], header: Sequence[Any]) -> int:
    namespace, key = at
    version, deleted, created, updated, expire_time, ttl, schema_version, content_type, labels, value_checksum = header
    # With the lengths, and which are None, no two headers are the same bytes.
    numbers = _NUMBERS.pack(
        (deleted is None)
        | (created is None) << 1
        | (updated is None) << 2
        | (expire_time is None) << 3
        | (ttl is None) << 4,
        version,
        deleted or 0,
        created or 0,
        updated or 0,
        expire_time or 0,
        ttl or 0,
        schema_version,
        value_checksum,
        len(namespace),
        len(key),
        len(content_type),
    )
    return crc32(labels, crc32(content_type, crc32(key, crc32(namespace, crc32(numbers)))))


def _labels_bytes(labels: Mapping[str, str]) -> bytes:
    return json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":")).encode()
