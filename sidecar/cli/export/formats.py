"""Rows as Parquet or as lines of JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from sidecar.cli.export.rows import Row

GROUP_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of a row group before it is encoded, unless one row has more: what a reader needs at once."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_TIME = pa.timestamp("us", tz="UTC")
_LABELS = pa.map_(pa.string(), pa.string())
_ENTRY: Final = (
    ("namespace", pa.string()),
    ("key", pa.string()),
    ("value", pa.binary()),
    ("version", pa.int64()),
    ("content_type", pa.string()),
    ("schema_version", pa.int64()),  # uint32 is not known to every reader
    ("create_time", _TIME),
    ("update_time", _TIME),
    ("expire_time", _TIME),
    ("labels", _LABELS),
)
_CHECKPOINT: Final = (
    ("checkpoint_id", pa.string()),
    ("label", pa.string()),
    ("metadata", _LABELS),
    ("parent_id", pa.string()),
    ("checkpoint_create_time", _TIME),
)
SCHEMAS: Final = {"entries": pa.schema(_ENTRY), "checkpoints": pa.schema(_CHECKPOINT + _ENTRY)}
"""The columns, by what is exported."""

# Values are what is large and different: neither a dictionary of them nor their least and greatest helps a reader.
_REPEATED: Final = ("namespace", "content_type", "checkpoint_id", "label", "parent_id")
_MEASURED: Final = ("key", "version", "create_time", "update_time", "expire_time", "checkpoint_create_time")

Write = Callable[[Any, Sequence[Row]], None]
"""Writes rows into an open file."""
_Tell = Callable[[dict[str, Any], str, Any], None]


def writer(format: str, what: str) -> Write:
    """How rows are written in a format, `parquet` or `jsonl`."""
    schema = SCHEMAS[what]
    return _parquet(schema) if format == "parquet" else _jsonl(schema)


def _parquet(schema: pa.Schema) -> Write:
    repeated = [name for name in _REPEATED if name in schema.names]
    measured = [name for name in _MEASURED if name in schema.names]

    def write(sink: Any, rows: Sequence[Row]) -> None:
        options = {"compression": "zstd", "use_dictionary": repeated, "write_statistics": measured}
        with parquet.ParquetWriter(sink, schema, **options) as opened:
            for group in _groups(rows):
                columns = zip(*(row.values for row in group), strict=True)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
                opened.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=len(group))

    return write


def _groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        if group and size + row.size > GROUP_BYTES_MAX:
            yield group
            group, size = [], 0
        group.append(row)
        size += row.size
    yield group


def _jsonl(schema: pa.Schema) -> Write:
    kinds: dict[Any, _Tell] = {pa.binary(): _bytes, _TIME: _time, _LABELS: _mapping}
    columns = [(field.name, kinds.get(field.type, _as_it_is)) for field in schema]

    def write(sink: Any, rows: Sequence[Row]) -> None:
        for row in rows:
            told: dict[str, Any] = {}
            for (name, tell), value in zip(columns, row.values, strict=True):
                tell(told, name, value)
            sink.write(json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    return write


def _bytes(told: dict[str, Any], name: str, value: bytes) -> None:
    try:
        told[name] = value.decode()
    except UnicodeDecodeError:
        told[f"{name}_base64"] = base64.b64encode(value).decode()


def _time(told: dict[str, Any], name: str, value: int | None) -> None:
    told[name] = value if value is None else (_EPOCH + timedelta(microseconds=value)).isoformat(timespec="microseconds")


def _mapping(told: dict[str, Any], name: str, value: list[tuple[str, str]]) -> None:
    told[name] = dict(value)


def _as_it_is(told: dict[str, Any], name: str, value: Any) -> None:
    told[name] = value
