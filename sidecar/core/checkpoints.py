"""What a checkpoint is: a record that says whose and when, and a document with the entries as they were.

A document is the values in the order of their keys, one after the other; then a manifest, which is JSON; then the
manifest's length in four bytes. Values come first, and whole, so that what a state grows by is what the document grows by.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct

from sidecar.core import ledger, marks
from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss

CHECKPOINT_CORRUPT = "CHECKPOINT_CORRUPT"
_LENGTH = Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A checkpoint without its entries; exactly one of `key` and `key_prefix` is not None.

    `content` names the stored document; empty: it waits under `ledger.waiting_key`. `automatic`: nobody asked for it.
    """

    checkpoint_id: str
    namespace: str
    key: str | None = None
    key_prefix: str | None = None
    label: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    parent_id: str = ""
    create_time: int
    entry_count: int
    value_bytes: int
    automatic: bool = False
    content: str = ""

    def encode(self) -> bytes:
        """As JSON."""
        told = {name: getattr(self, name) for name in self.__slots__ if name != "metadata"}
        return json.dumps(told | {"metadata": dict(self.metadata)}, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, stored: bytes) -> Record:
        """Inverse of `encode`. Raises DataLoss (CHECKPOINT_CORRUPT)."""
        try:
            return cls(**json.loads(stored))
        except (ValueError, TypeError) as exc:
            raise corrupt("its record is in no known form") from exc

    @property
    def index_key(self) -> str:
        """Its row in the index of its key or prefix."""
        return ledger.index_of(self.namespace, self.key, self.key_prefix) + ledger.inverted(self.checkpoint_id)


def document(entries: Sequence[Entry]) -> bytes:
    """The entries of a checkpoint, in key order, as bytes. A value that is in cold stays a pointer in the manifest."""
    manifest = json.dumps(
        [
            [
                entry.key,
                len(entry.value),
                entry.version,
                entry.create_time,
                entry.update_time,
                entry.expire_time,
                entry.ttl_ms,
                entry.content_type,
                entry.schema_version,
                marks.callers_labels(entry.labels),
                entry.labels.get(marks.BLOB),
            ]
            for entry in entries
        ],
        separators=(",", ":"),
    ).encode()
    return b"".join([*[entry.value for entry in entries], manifest, _LENGTH.pack(len(manifest))])


def entries_of(namespace: str, stored: bytes) -> tuple[Entry, ...]:
    """Inverse of `document`. Raises DataLoss (CHECKPOINT_CORRUPT)."""
    try:
        (length,) = _LENGTH.unpack(stored[-_LENGTH.size :])
        end = len(stored) - _LENGTH.size - length
        if end < 0:
            raise ValueError("the manifest is longer than the document")  # noqa: TRY301  # told as all that is wrong
        entries, position = [], 0
        for key, size, version, created, updated, expires, ttl, type_, schema, labels, blob in json.loads(
            stored[end : -_LENGTH.size]
        ):
            marked = labels if blob is None else labels | {marks.BLOB: blob}
            value = stored[position : position + size]
            position += size
            entries.append(Entry(namespace, key, value, version, created, updated, expires, ttl, type_, schema, marked))
        if position != end:
            raise ValueError("the values are not as long as the manifest says")  # noqa: TRY301  # told as all that is wrong
    except (ValueError, TypeError) as exc:
        raise corrupt("its document does not verify") from exc
    return tuple(entries)


def automatic(entry: Entry, *, now: int) -> tuple[Entry, ...]:
    """The ledger's rows of a checkpoint that is made in the commit that makes `entry`; it waits to be stored by change."""
    checkpoint = ledger.checkpoint_id(now, entry.version)
    pointer = marks.pointer_of(entry)
    record = Record(
        checkpoint_id=checkpoint,
        namespace=entry.namespace,
        key=entry.key,
        create_time=now,
        entry_count=1,
        value_bytes=len(entry.value) if pointer is None else pointer.size,
        automatic=True,
    )
    rows = {
        ledger.checkpoint_key(entry.namespace, checkpoint): record.encode(),
        record.index_key: b"",
        ledger.waiting_key(entry.namespace, checkpoint): document([entry]),
    }
    if pointer is not None:
        rows[ledger.hold_key(pointer.blob, checkpoint)] = b""
    return tuple(
        Entry(ledger.LEDGER, key, value, entry.version, create_time=now, update_time=now) for key, value in rows.items()
    )


def corrupt(why: str) -> DataLoss:
    """A checkpoint that can't be given back as it was."""
    return DataLoss(f"the checkpoint can't be restored: {why}", reason=CHECKPOINT_CORRUPT)
