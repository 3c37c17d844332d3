"""What a key can be: an entry, or the tombstone of a deleted one. Instants are milliseconds since 1970 (UTC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

EPOCH_SHIFT = 48
SEQUENCE_MASK = (1 << EPOCH_SHIFT) - 1


def version_of(epoch: int, sequence: int) -> int:
    """`epoch << 48 | sequence`: unique for ever, and greater for a later state of the same key."""
    assert 0 < sequence <= SEQUENCE_MASK, sequence
    return epoch << EPOCH_SHIFT | sequence


def epoch_of(version: int) -> int:
    """The epoch that a version was handed out in."""
    return version >> EPOCH_SHIFT


NO_LABELS: Mapping[str, str] = {}


class Entry(NamedTuple):
    """A key's value with its version and times; `ttl_ms` is what it was given, None: it does not end.

    A tuple, because a batch of a hundred reads makes a hundred, and a frozen dataclass takes five times as long to make.
    """

    namespace: str
    key: str
    value: bytes
    version: int
    create_time: int
    update_time: int
    expire_time: int | None = None
    ttl_ms: int | None = None
    content_type: str = ""
    schema_version: int = 0
    labels: Mapping[str, str] = NO_LABELS

    def expired(self, now: int) -> bool:
        """Whether it has ended: at its expire time it is gone."""
        return self.expire_time is not None and self.expire_time <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """What a deletion or an expiry leaves for a while, so that every cache hears of it."""

    namespace: str
    key: str
    version: int
    delete_time: int


Copy = Entry | Tombstone
"""A committed state of a key. `None` beside it means: never seen, or long gone."""


def live(copy: Copy | None, now: int) -> Entry | None:
    """The entry that a reader may see at `now`."""
    return copy if isinstance(copy, Entry) and not copy.expired(now) else None
