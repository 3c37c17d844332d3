"""Journal: the port to writes that were acknowledged while the authority was away, kept until it has them.

The rules that every journal is held to:

- A write is durable before `append` returns; one that was not acknowledged may still be found after a crash.
- Sequences rise for ever and are never used twice, also across restarts; `pending` is in their order.
- What was settled as applied or merged is gone; what was settled as dead is kept until it is removed.
- A torn or spoilt end of what was written last is cut off at `open`, with what was acknowledged before it kept; spoilt
  bytes before the end raise StoreCorrupt: nothing acknowledged is dropped in silence.
- Bounded: `append` refuses what doesn't fit (LimitExceeded, JOURNAL_FULL) and nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sidecar.core.operations import Change, Put, WriteId

REBASED = -1
"""The version of a base that an earlier write of the same journal makes: only its value is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the writer's daemon knew of the key when it took the write. `version` 0 and no value: that it was absent.

    REBASED: that a write before it in the journal would leave this value there.
    """

    version: int
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffering:
    """A write as it is handed to the journal.

    `base` None: nothing was known of the key. `hlc`: a hybrid logical time (`sidecar.core.hlc`). `time`: milliseconds of
    the authority's clock as the daemon knew it. `request` is the write's identity: the caller's, or one made for it.
    """

    namespace: str
    operation: Put | Change
    request: WriteId
    base: Base | None
    hlc: int
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffered:
    """A write in the journal."""

    sequence: int
    write: Buffering


class Settlement(StrEnum):
    """What became of a buffered write, each of exactly one."""

    APPLIED = "applied"
    MERGED = "merged"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadWrite:
    """A buffered write that could not be applied: why (a reason as in errors, and words), and when (milliseconds)."""

    buffered: Buffered
    reason: str
    message: str
    dead_time: int


class Journal(Protocol):
    """Buffered writes of one daemon. All methods but `open` need an open journal; reads are answered from memory."""

    @property
    def bytes_held(self) -> int:
        """What pending and dead writes take."""
        ...

    def pending(self) -> Sequence[Buffered]:
        """Writes that are not settled, in their order."""
        ...

    def dead(self) -> Sequence[DeadWrite]:
        """Writes that were settled as dead and not removed, oldest settlement first."""
        ...

    async def open(self) -> None:
        """Find what was left. May be called again after a failure. Raises StoreUnavailable, StoreCorrupt."""
        ...

    async def append(self, write: Buffering) -> Buffered:
        """Keep a write; durable when this returns. Raises LimitExceeded (JOURNAL_FULL), StoreUnavailable (nothing kept)."""
        ...

    async def settle(self, sequence: int, settlement: Settlement) -> None:
        """A pending write was applied or merged. A crash may forget this: it is then pending again."""
        ...

    async def bury(self, sequence: int, *, reason: str, message: str, now: int) -> None:
        """A pending write is dead; durable when this returns. Raises StoreUnavailable: it is still pending then."""
        ...

    async def remove(self, sequence: int) -> None:
        """Forget a dead write; durable when this returns. Without effect on one that is none. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, and let go. Idempotent."""
        ...
