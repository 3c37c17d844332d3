"""What a checkpoint is: a record that says whose and when, and a document with the entries as they were.

A document is the values in the order of their keys, one after the other; then a manifest, which is JSON; then the
manifest's length in four bytes. Values come first, and whole, so that what a state grows by is what the document grows by.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from struct import Struct

from sidecar.core import ledger, marks
from sidecar.core.entry import SEQUENCE_MASK, Entry
from sidecar.core.errors import DataLoss

CHECKPOINT_CORRUPT = "CHECKPOINT_CORRUPT"
AUTOMATIC, ASKED_FOR = b"a", b""
"""Values of index rows."""

_LENGTH = Struct(">I")
_DIGEST_BYTES = 16
_PLACE_BITS = 16
_ASKED = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A checkpoint without its entries; exactly one of `key` and `key_prefix` is not None.

    `content` names the stored document; empty: it waits under `ledger.waiting_key`. `automatic`: nobody asked for it.
    Only while it waits, `restored` is the entry's mark of that name, and `hold` the blob that its value is in.
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
    value_bytes: int = 0
    stored_bytes: int = 0
    automatic: bool = False
    content: str = ""
    restored: str = ""
    hold: str = ""

    def encode(self) -> bytes:
        """As JSON, what is empty left out, behind its digest."""
        told = {name: value for name in self.__slots__ if (value := getattr(self, name))}
        return seal(json.dumps(told, default=dict, separators=(",", ":")).encode(), self.checkpoint_id)

    @classmethod
    def decode(cls, stored: bytes, checkpoint: str) -> Record:
        """Inverse of `encode`, of the checkpoint of that id. Raises DataLoss (CHECKPOINT_CORRUPT)."""
        try:
            return cls(**json.loads(unseal(stored, checkpoint)))
        except (ValueError, TypeError, RecursionError) as exc:
            raise corrupt("its record is in no known form") from exc

    @property
    def index_prefix(self) -> str:
        """The index of its key or prefix."""
        return ledger.index_of(self.namespace, self.key, self.key_prefix)

    @property
    def index_key(self) -> str:
        """Its row there, whose value says whether it is automatic."""
        return self.index_prefix + ledger.inverted(self.checkpoint_id)


def seal(data: bytes, at: str) -> bytes:
    """What a row holds: a digest of where it is and of what is in it, then that."""
    return _digest(data, at) + data


def unseal(stored: bytes, at: str) -> bytes:
    """Inverse of `seal`. Raises DataLoss (CHECKPOINT_CORRUPT) for any other bytes, or those of another row."""
    data = stored[_DIGEST_BYTES:]
    if stored[:_DIGEST_BYTES] != _digest(data, at):
        raise corrupt("a row of it does not verify")
    return data


def _digest(data: bytes, at: str) -> bytes:
    digest = blake2b(at.encode() + b"\0", digest_size=_DIGEST_BYTES, person=b"checkpoint")
    digest.update(data)
    return digest.digest()


def asked_id(now: int, version: int, *, after: str) -> str:
    """The id of a checkpoint that somebody asked for: of a state with this version, and later than the one before.

    Ids sort by time, those of a millisecond by the state that they are of, and one that was asked for after the
    automatic one of the same state.
    """
    made = ledger.checkpoint_id(now, (version & SEQUENCE_MASK) << _PLACE_BITS | _ASKED)
    if made > after:
        return made
    # Two of a millisecond, or a clock that was set back; no automatic one can have this id.
    last = int(after, 16)
    return f"{last + 1 if last & _ASKED else last | _ASKED:028x}"


def restore_point(now: int, version: int) -> str:
    """A restore's place among the ids: after all of states up to `version`, the greatest that was there before it."""
    return ledger.checkpoint_id(now, (version & SEQUENCE_MASK) << _PLACE_BITS | (1 << _PLACE_BITS) - 1)


def restored_mark(checkpoint: str, point: str) -> str:
    """The mark RESTORED: what an entry was restored from, and when."""
    return f"{checkpoint} {point}"


def parent_of(restored: str, older: str) -> str:
    """What a checkpoint continues: the one before it, or what its state was restored from if that was later."""
    source, _, point = restored.partition(" ")
    return source if source and older <= point else older


def document(entries: Sequence[Entry]) -> bytes:
    """The entries of a checkpoint, in key order, as bytes. A value that is in cold stays a pointer in the manifest.

    What an entry has in other schemas than its own is told after all else, where there is something: older documents end
    before it.
    """
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
                *([beyond] if (beyond := entry.labels.get(marks.SCHEMA)) else []),
            ]
            for entry in entries
        ],
        separators=(",", ":"),
    ).encode()
    return b"".join([*[entry.value for entry in entries], manifest, _LENGTH.pack(len(manifest))])


def entries_of(namespace: str, stored: bytes) -> tuple[Entry, ...]:
    """Inverse of `document`. Raises DataLoss (CHECKPOINT_CORRUPT)."""
    try:
        length = int.from_bytes(stored[-_LENGTH.size :], "big")
        end = len(stored) - _LENGTH.size - length
        if end < 0:
            raise ValueError("the manifest is longer than the document")  # noqa: TRY301  # told as all that is wrong
        entries, position = [], 0
        for key, size, version, created, updated, expires, ttl, type_, schema, labels, blob, *beyond in json.loads(
            stored[end : -_LENGTH.size]
        ):
            kept = zip((marks.BLOB, marks.SCHEMA), (blob, *beyond), strict=False)
            marked = labels | {mark: text for mark, text in kept if text is not None}
            value = stored[position : position + size]
            position += size
            entries.append(Entry(namespace, key, value, version, created, updated, expires, ttl, type_, schema, marked))
        if position != end:
            raise ValueError("the values are not as long as the manifest says")  # noqa: TRY301  # told as all that is wrong
    except (ValueError, TypeError, RecursionError) as exc:
        raise corrupt("its document does not verify") from exc
    return tuple(entries)


def automatic(entry: Entry, *, now: int, place: int, value_bytes: int) -> tuple[Entry, ...]:
    """The ledger's rows of a checkpoint that is made in the commit that makes `entry`; it waits to be stored by change.

    `place` is that of the entry in its commit, whose version it shares with the others.
    """
    assert place < _ASKED, "the ids above are of those that somebody asked for"
    checkpoint = ledger.checkpoint_id(now, (entry.version & SEQUENCE_MASK) << _PLACE_BITS | place)
    pointer = marks.pointer_of(entry)
    record = Record(
        checkpoint_id=checkpoint,
        namespace=entry.namespace,
        key=entry.key,
        create_time=now,
        entry_count=1,
        value_bytes=value_bytes if pointer is None else pointer.size,
        automatic=True,
        restored=entry.labels.get(marks.RESTORED, ""),
        hold="" if pointer is None else pointer.blob,
    )
    waiting = ledger.waiting_key(entry.namespace, checkpoint)
    rows = {
        ledger.checkpoint_key(entry.namespace, checkpoint): record.encode(),
        record.index_key: AUTOMATIC,
        waiting: seal(document([entry]), waiting),
    }
    if pointer is not None:
        rows[ledger.hold_key(pointer.blob, checkpoint)] = b""
    return tuple(
        Entry(ledger.LEDGER, key, value, entry.version, create_time=now, update_time=now) for key, value in rows.items()
    )


def corrupt(why: str) -> DataLoss:
    """A checkpoint that can't be given back as it was."""
    return DataLoss(f"the checkpoint can't be restored: {why}", reason=CHECKPOINT_CORRUPT)
