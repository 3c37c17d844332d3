"""What the rows of a store in memory amount to: kept up to date with each change, so that telling it scans nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import DataLoss
from sidecar.core.ledger import LEDGER
from sidecar.core.marks import BLOB, pointer_of
from sidecar.core.observed import Census, Held

ROW_OVERHEAD_BYTES = 700
END_BUCKET_MS = 1_000

_Counts = dict[str, list[int]]
"""Entries and bytes by namespace."""


class Tally:
    """Entries and the bytes of their keys and values."""

    def __init__(self) -> None:
        self._held: _Counts = {}
        self._away: _Counts = {}

    def replace(self, before: Copy | None, after: Copy | None) -> None:
        """A state takes the place of another."""
        if isinstance(before, Entry):
            _count(self._held, self._away, before, -1)
        if isinstance(after, Entry):
            _count(self._held, self._away, after, 1)

    def census(self, ended: Iterable[Entry]) -> Census:
        """What is held, without entries that have ended and are not swept yet, and without our own rows."""
        held, away = ({name: count.copy() for name, count in counts.items()} for counts in (self._held, self._away))
        for entry in ended:
            _count(held, away, entry, -1)
        held.pop(LEDGER, None)
        return Census(held=_told(held), away=_told(away))


def _told(counts: _Counts) -> dict[str, Held]:
    return {name: Held(entries, size) for name, (entries, size) in counts.items() if entries}


def _count(held: _Counts, away: _Counts, entry: Entry, sign: int) -> None:
    key = entry.key
    _add(held, entry.namespace, sign, (len(key) if key.isascii() else len(key.encode())) + len(entry.value))
    if entry.labels and BLOB in entry.labels:
        with contextlib.suppress(DataLoss):  # for whoever reads it to hear of
            pointer = pointer_of(entry)
            assert pointer is not None
            _add(away, entry.namespace, sign, pointer.size)


def _add(counts: _Counts, namespace: str, sign: int, size: int) -> None:
    count = counts.get(namespace)
    if count is None:
        count = counts[namespace] = [0, 0]
    count[0] += sign
    count[1] += sign * size


def size_of(copy: Copy | None) -> int:
    """What a row takes in this process."""
    if copy is None:
        return 0
    value = len(copy.value) if isinstance(copy, Entry) else 0
    return ROW_OVERHEAD_BYTES + 4 * len(copy.key) + value


def end_bucket(copy: Copy | None) -> int | None:
    """Where the index of ends has an entry; None: it has no end."""
    return end_bucket_at(copy.expire_time) if isinstance(copy, Entry) and copy.expire_time is not None else None


def end_bucket_at(time: int) -> int:
    """Where it has those that end at this instant."""
    return time // END_BUCKET_MS
