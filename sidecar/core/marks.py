"""Marks: what the daemon keeps with an entry for itself, among its labels, under names that no caller can give.

So they live in every store and cache as labels do, change in the same commit as the value, and are taken off before a
caller sees the entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.entry import NO_LABELS, Entry
from sidecar.core.errors import DataLoss

MARK = "\x1f"
"""What every mark's name begins with; `check_labels` refuses it to callers."""
UPDATES = MARK + "updates"
"""How many changes the entry has seen, in namespaces with automatic checkpoints: decimal."""
RESTORED = MARK + "restored"
"""The checkpoint that the entry was restored from, and when: `<checkpoint id> <restore point>` (`core/checkpoints.py`)."""
BLOB = MARK + "blob"
"""Where the value is, if not in the row: a `Pointer`'s text."""
BLOB_STORED = f'{json.dumps(BLOB)}:"'.encode()
"""What comes before a pointer in labels that are stored as JSON. A caller's label can't hold it: quotes in it are escaped."""
WOKEN = MARK + "woken"
"""When the value came back from the archive: milliseconds."""
SCHEMA = MARK + "schema"
"""What the value has in newer schemas than the one it is stored in, and that one has no word for (`core/schema.py`)."""
CARRIED = (UPDATES, RESTORED, SCHEMA)
"""What a new value inherits from the one before."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """A value in cold. `archived`: it left for being idle, and comes back when it is read; else it is large, and stays.

    `digest` is the SHA-256 of the object, in hex: it is believed only if it matches. `size` is that of the value.
    """

    blob: str
    size: int
    digest: str
    archived: bool

    @property
    def text(self) -> str:
        """Its form as a mark."""
        return f"{'archived' if self.archived else 'large'} {self.size} {self.digest} {self.blob}"

    @classmethod
    def parse(cls, text: str) -> Pointer:
        """Inverse of `text`. Raises DataLoss."""
        try:
            kind, size, digest, blob = text.split(" ")
            return cls(blob, int(size), digest, {"archived": True, "large": False}[kind])
        except (ValueError, KeyError) as exc:
            raise DataLoss("the place of an entry's value does not verify") from exc


def pointer_of(entry: Entry) -> Pointer | None:
    """Where the value is; None: in the entry. Raises DataLoss."""
    text = entry.labels.get(BLOB) if entry.labels else None
    return None if text is None else Pointer.parse(text)


def with_value(entry: Entry, value: bytes) -> Entry:
    """The entry with its value in it, as if it had never been away."""
    return entry._replace(value=value, labels=without(entry.labels, BLOB))


def updates_of(entry: Entry | None) -> int:
    """How many changes it has seen; 0 where nobody counted."""
    return 0 if entry is None else int(entry.labels.get(UPDATES, "0"))


def carried(entry: Entry | None) -> Mapping[str, str]:
    """The marks that a new value of the key inherits."""
    if entry is None or not entry.labels:
        return NO_LABELS
    return {name: entry.labels[name] for name in CARRIED if name in entry.labels}


def is_plain(entry: Entry, schema: int) -> bool:
    """Whether its value is all of it, in this schema."""
    return entry.schema_version == schema and not entry.labels.get(SCHEMA)


def without(labels: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Labels less one."""
    return {key: value for key, value in labels.items() if key != name}


def callers_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Labels without the marks."""
    return {name: value for name, value in labels.items() if not name.startswith(MARK)}
