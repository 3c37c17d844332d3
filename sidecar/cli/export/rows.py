"""One entry as one row: its columns in their order, the day it belongs to, and what it weighs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from statesidecar.v1.state_service_pb2 import CheckpointInfo
from statesidecar.v1.types_pb2 import Entry

UNDATED: Final = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, and all that read its partitions, take for null."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US: Final = 86_400_000_000
# Of a row and of a label in this process, beside their bytes: objects of Python. Measured, and rounded up.
_ROW_BYTES: Final = 1_000
_LABEL_BYTES: Final = 250


@dataclass(frozen=True, slots=True)
class Row:
    """`values` in the order of the columns: times in microseconds since 1970 (UTC), labels as sorted pairs."""

    day: str
    values: tuple[Any, ...]
    #: Bytes of keys, values, labels and other texts.
    size: int
    #: Bytes that it takes while it waits to be written.
    held: int


def entry_row(entry: Entry) -> Row:
    """An entry, on the day of its last update."""
    labels = _pairs(entry.labels)
    size, count = _entry_size(entry, labels), len(labels)
    day = _day(_microseconds(entry, "update_time"))
    return Row(day, _entry_values(entry, labels), size, size + _ROW_BYTES + count * _LABEL_BYTES)


def checkpoint_row(checkpoint: CheckpointInfo, entry: Entry) -> Row:
    """An entry of a checkpoint, on the day of the checkpoint."""
    labels, metadata = _pairs(entry.labels), _pairs(checkpoint.metadata)
    create_time = _microseconds(checkpoint, "create_time")
    told = (checkpoint.checkpoint_id, checkpoint.label, metadata, checkpoint.parent_id, create_time)
    size = _entry_size(entry, labels) + _text_bytes(told[0], told[1], told[3]) + _pairs_bytes(metadata)
    held = size + _ROW_BYTES + (len(labels) + len(metadata)) * _LABEL_BYTES
    return Row(_day(create_time), told + _entry_values(entry, labels), size, held)


def _entry_values(entry: Entry, labels: list[tuple[str, str]]) -> tuple[Any, ...]:
    return (
        entry.namespace,
        entry.key,
        entry.value,
        entry.version,
        entry.content_type,
        entry.schema_version,
        _microseconds(entry, "create_time"),
        _microseconds(entry, "update_time"),
        _microseconds(entry, "expire_time"),
        labels,
    )


def _entry_size(entry: Entry, labels: list[tuple[str, str]]) -> int:
    return len(entry.value) + _text_bytes(entry.key, entry.content_type) + _pairs_bytes(labels)


def _pairs(labels: Any) -> list[tuple[str, str]]:
    return sorted(labels.items())


def _pairs_bytes(pairs: list[tuple[str, str]]) -> int:
    return sum(_text_bytes(name, value) for name, value in pairs)


def _text_bytes(*texts: str) -> int:
    return sum(len(text) if text.isascii() else len(text.encode()) for text in texts)


def _microseconds(message: Any, field: str) -> int | None:
    return int(getattr(message, field).ToMicroseconds()) if message.HasField(field) else None


def _day(microseconds: int | None) -> str:
    return UNDATED if microseconds is None else _date(microseconds // _DAY_US)


@lru_cache(maxsize=1024)
def _date(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).date().isoformat()
