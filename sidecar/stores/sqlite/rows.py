"""Entries and tombstones as rows. A row is trusted only after its checksums verify; what fails is DataLoss, never bytes.

A header is the columns from `version` to `value_checksum` in the schema's order. Its checksum is over their `repr`,
which for integers, bytes and None is exact and the same in every release of Python.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.errors import DataLoss

HEADER_LENGTH = 10
_EXPIRE_TIME, _TTL_MS = 4, 5
_EMPTY = crc32(b"")

Row = tuple[Any, ...]


def encode(copy: Copy) -> Row:
    """The parameters of `store entry`."""
    at = (copy.namespace.encode(), copy.key.encode())
    if isinstance(copy, Tombstone):
        value = b""
        header: Row = (copy.version, copy.delete_time, None, None, None, None, b"", 0, b"", _EMPTY)
    else:
        value = copy.value
        header = (
            copy.version,
            None,
            copy.create_time,
            copy.update_time,
            copy.expire_time,
            copy.ttl_ms,
            copy.content_type.encode(),
            copy.schema_version,
            _labels_bytes(copy.labels) if copy.labels else b"",
            crc32(value),
        )
    return (*at, *header, _checksum(at, header), value)


def decode(namespace: str, key: str, row: Sequence[Any]) -> Copy:
    """The copy in a row of `load entry`, or of `load header` (its value is then empty). Raises DataLoss."""
    header = tuple(row[:HEADER_LENGTH])
    if row[HEADER_LENGTH] != _checksum((namespace.encode(), key.encode()), header):
        raise entry_corrupt(namespace, key)
    value = b""
    if len(row) > HEADER_LENGTH + 1:
        value = row[HEADER_LENGTH + 1]
        if type(value) is not bytes or crc32(value) != header[-1]:
            raise entry_corrupt(namespace, key)
    version, delete_time, create_time, update_time, expire_time, ttl_ms, content_type, schema_version, labels, _ = (
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


def decode_key(namespace: str, key: Any) -> str:
    """The text of a stored key."""
    try:
        return str(key, "utf-8")
    except (TypeError, UnicodeDecodeError) as exc:
        raise entry_corrupt(namespace, repr(key)) from exc


def moved(row: Sequence[Any], namespace: str, key: str, expire_time: int | None, ttl_ms: int | None) -> Row:
    """A verified row of `load header` with another end."""
    header = list(row[:HEADER_LENGTH])
    header[_EXPIRE_TIME], header[_TTL_MS] = expire_time, ttl_ms
    return (*header, _checksum((namespace.encode(), key.encode()), tuple(header)))


def encode_end(row: Row, namespace: str, key: str) -> Row:
    """The parameters of `store end` for a row that was moved."""
    return (row[_EXPIRE_TIME], row[_TTL_MS], row[HEADER_LENGTH], namespace.encode(), key.encode())


def entry_corrupt(namespace: str, key: str) -> DataLoss:
    """An entry that doesn't verify."""
    return DataLoss(
        f"the entry {key!r} of namespace {namespace!r} does not verify", metadata={"namespace": namespace, "key": key}
    )


def _checksum(at: tuple[bytes, bytes], header: Row) -> int:
    return crc32(repr((at, header)).encode())


def _labels_bytes(labels: Any) -> bytes:
    return json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":")).encode()
