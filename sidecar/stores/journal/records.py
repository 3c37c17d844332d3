"""What a journal keeps, as records, and their bytes: a head, a little JSON, and values as they are.

A write that is copied while it is dead carries its grave with it, so that one record says all of it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from sidecar.core.errors import InvalidRequest
from sidecar.core.journal import Base, Buffering
from sidecar.core.merge import dump_json, parse_json
from sidecar.core.operations import Append, Change, Increment, MergePatch, Put, WriteId

_HEAD = struct.Struct(">BQII")
"""Kind, sequence, length of the grave, length of the JSON. What follows the JSON is in `_LENGTHS` of it."""
_WRITTEN, _SETTLED, _BURIED, _REMOVED = 1, 2, 3, 4
_LENGTHS = "lengths"
_SPARE_LEVELS = 100
"""A patch is read again at another depth of the stack than it was written at."""

RECORD_BYTES = _HEAD.size + 24
"""What a record takes besides its parts, with the frame around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grave:
    """Why a write is dead. `order` rises with each burial, whatever the clock says."""

    order: int
    reason: str
    message: str
    dead_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A write was kept; dead from the beginning with a grave. `parts`: what `encoded_parts` made of it."""

    sequence: int
    write: Buffering
    parts: tuple[bytes, ...]
    grave: Grave | None = None

    @property
    def weight(self) -> int:
        """Bytes that it takes."""
        grave = 0 if self.grave is None else len(_grave_bytes(self.grave))
        return RECORD_BYTES + grave + sum(map(len, self.parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A pending write was applied or merged."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """A pending write is dead."""

    sequence: int
    grave: Grave


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A dead write is forgotten."""

    sequence: int


Record = Written | Settled | Buried | Removed


class UnknownRecord(Exception):
    """A record that verifies, and that this release can't read."""


def apply(live: MutableMapping[int, Written], record: Record) -> None:
    """What is live after a record. One about a write that isn't there says nothing."""
    match record:
        case Written():
            live[record.sequence] = record
        case Buried():
            if record.sequence in live:
                live[record.sequence] = replace(live[record.sequence], grave=record.grave)
        case Settled() | Removed():
            live.pop(record.sequence, None)
        case _:
            assert_never(record)


def encoded_parts(write: Buffering) -> tuple[bytes, ...]:
    """A write's bytes: JSON, fingerprint, value or change, base value. Raises InvalidRequest for a change too deep."""
    blobs = (write.request.fingerprint, _body(write.operation), (write.base and write.base.value) or b"")
    fields: dict[str, Any] = {
        "namespace": write.namespace,
        "operation": _operation_record(write.operation),
        "request_id": write.request.request_id,
        "base": None if write.base is None else [write.base.version, write.base.value is not None],
        "hlc": write.hlc,
        "time": write.time,
        _LENGTHS: [len(blob) for blob in blobs],
    }
    return (_dump(fields), *blobs)


def encode(record: Record) -> bytes:
    """A record's bytes."""
    match record:
        case Written(sequence=sequence, parts=parts, grave=grave):
            told = b"" if grave is None else _grave_bytes(grave)
            return b"".join((_HEAD.pack(_WRITTEN, sequence, len(told), len(parts[0])), told, *parts))
        case Buried(sequence=sequence, grave=grave):
            told = _grave_bytes(grave)
            return _HEAD.pack(_BURIED, sequence, len(told), 0) + told
        case Settled(sequence=sequence):
            return _HEAD.pack(_SETTLED, sequence, 0, 0)
        case Removed(sequence=sequence):
            return _HEAD.pack(_REMOVED, sequence, 0, 0)
        case _:
            assert_never(record)


def decode(content: bytes) -> Record:
    """Inverse of `encode`. Raises UnknownRecord."""
    try:
        kind, sequence, grave_length, fields_length = _HEAD.unpack_from(content)
        told = content[_HEAD.size : _HEAD.size + grave_length]
        rest = content[_HEAD.size + grave_length :]
        if kind == _WRITTEN:
            grave = _grave(told) if told else None
            parts = _parts(rest, fields_length)
            return Written(sequence=sequence, write=_write(parts), parts=parts, grave=grave)
        if kind == _BURIED:
            return Buried(sequence=sequence, grave=_grave(told))
        if kind == _SETTLED:
            return Settled(sequence=sequence)
        if kind == _REMOVED:
            return Removed(sequence=sequence)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, struct.error) as exc:
        raise UnknownRecord(f"{type(exc).__name__}: {exc}") from exc
    raise UnknownRecord(f"kind {kind}")


def _grave_bytes(grave: Grave) -> bytes:
    return _dump([grave.order, grave.reason, grave.message, grave.dead_time])


def _grave(content: bytes) -> Grave:
    order, reason, message, dead_time = json.loads(content)
    return Grave(order=order, reason=reason, message=message, dead_time=dead_time)


def _parts(content: bytes, fields_length: int) -> tuple[bytes, ...]:
    parts = [content[:fields_length]]
    position = fields_length
    for length in json.loads(parts[0])[_LENGTHS]:
        parts.append(content[position : position + length])
        position += length
    if position != len(content):
        raise ValueError(f"{len(content)} bytes, not {position}")
    return tuple(parts)


def _write(parts: tuple[bytes, ...]) -> Buffering:
    described, fingerprint, body, base_value = parts
    fields = json.loads(described)
    base = fields["base"]
    return Buffering(
        namespace=fields["namespace"],
        operation=_operation(fields["operation"], body),
        request=WriteId(request_id=fields["request_id"], fingerprint=fingerprint),
        base=None if base is None else Base(version=base[0], value=base_value if base[1] else None),
        hlc=fields["hlc"],
        time=fields["time"],
    )


def _body(operation: Put | Change) -> bytes:
    if isinstance(operation, Put):
        return operation.value
    match operation.change:
        case MergePatch(patch=patch):
            return _deep_json(patch)
        case Append(items=items):
            return _deep_json(list(items))
        case Increment():
            return b""
        case _:
            assert_never(operation.change)


def _operation_record(operation: Put | Change) -> dict[str, Any]:
    if isinstance(operation, Put):
        return {
            "put": operation.key,
            "content_type": operation.content_type,
            "schema_version": operation.schema_version,
            "labels": dict(operation.labels),
            "ttl_ms": operation.ttl_ms,
            "expected_version": operation.expected_version,
        }
    record = {"change": operation.key, "create": operation.create, "ttl_ms": operation.ttl_ms}
    return record | {"return_value": operation.return_value} | _change_record(operation.change)


def _change_record(change: MergePatch | Append | Increment) -> dict[str, Any]:
    match change:
        case MergePatch():
            return {"by": "patch"}
        case Append(max_items=max_items):
            return {"by": "append", "max_items": max_items}
        case Increment(delta=delta, minimum=minimum, maximum=maximum):
            return {"by": "increment", "delta": delta, "minimum": minimum, "maximum": maximum}
        case _:
            assert_never(change)


def _operation(record: Mapping[str, Any], body: bytes) -> Put | Change:
    if "put" in record:
        return Put(
            key=record["put"],
            value=body,
            content_type=record["content_type"],
            schema_version=record["schema_version"],
            labels=record["labels"],
            ttl_ms=record["ttl_ms"],
            expected_version=record["expected_version"],
        )
    return Change(
        key=record["change"],
        change=_change(record, body),
        create=record["create"],
        ttl_ms=record["ttl_ms"],
        return_value=record["return_value"],
    )


def _change(record: Mapping[str, Any], body: bytes) -> MergePatch | Append | Increment:
    match record["by"]:
        case "patch":
            return MergePatch(patch=parse_json(body))
        case "append":
            return Append(items=tuple(parse_json(body)), max_items=record["max_items"])
        case "increment":
            return Increment(delta=record["delta"], minimum=record["minimum"], maximum=record["maximum"])
        case by:
            raise ValueError(f"a change by {by!r}")


def _deep_json(value: Any) -> bytes:
    nested = value
    for _ in range(_SPARE_LEVELS):
        nested = [nested]
    try:
        return dump_json(nested)[_SPARE_LEVELS:-_SPARE_LEVELS]
    except RecursionError as exc:
        raise InvalidRequest("the change is nested too deeply", reason="JSON_INVALID", field="operation") from exc


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
