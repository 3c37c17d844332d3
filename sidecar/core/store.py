"""Store: the port to a backend that may be an authority, whose commit is the truth.

The rules that `tests/contract` holds every store to:

- A commit is linearizable per key, and all or nothing; row, request id with its outcome, and change row land together.
- Versions come from one sequence of the store, drawn while the rows are held, and are never handed out twice.
- A repeated request id answers what it did the first time; with another fingerprint it is REQUEST_ID_REUSED.
- An expired entry is absent for every operation, by the store's own clock.
- An error says what happened: refused (a `Decision`), nothing written (`Unavailable`, `LimitExceeded`,
  `DeadlineExceeded`), or `OutcomeUnknown`. A failing backend is never told as a conflict, nor as a miss.
- Values and keys are exact bytes: nothing is trimmed, folded or normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.errors import InvalidRequest
from sidecar.core.operations import OperationResult, Write, WriteId


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCapabilities:
    """What a store claims; the engine reads it, and the contract suite checks it."""

    durable: bool
    """A commit survives a crash of the process, and as far as the backend goes, of the machine."""
    shared: bool
    """Other daemons may use the same backend at the same time."""
    scan: bool = True
    """Keys can be listed in order, and deleted by prefix."""
    transactions: bool = True
    """A write may name many keys."""
    operations_max: int | None = None
    """The most operations of a write, where the backend has a bound of its own."""
    changes: bool = True
    """Committed changes are told in commit order, each once."""
    value_bytes_max: int | None = None
    """The largest value the backend takes, where it has a bound of its own."""
    quiet: bool = True
    """A commit can store rows that nobody is told of: checkpoints made by it, and values that move to cold and back."""
    snapshots: bool = True
    """A page of a scan shows one moment; else each of its entries one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a commit did: its version (0: nothing changed), a result per operation, and the states to tell caches."""

    version: int
    results: tuple[OperationResult, ...]
    copies: tuple[Copy, ...] = ()
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """Move a key's end to `ttl_ms` from now (None: the ttl it was last given); `extend_only` never to an earlier one."""

    key: str
    ttl_ms: int | None = None
    extend_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """Whether there was an entry, and its end now."""

    found: bool
    expire_time: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Entries in key order, and whether more follow the last of them."""

    entries: tuple[Entry, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixProgress:
    """How far a deletion by prefix has come. Only keys with a version of at most `horizon` are deleted."""

    horizon: int
    deleted_count: int
    done: bool
    tombstones: tuple[Tombstone, ...] = ()


class ChangeKind(StrEnum):
    """What a change row tells."""

    PUT = "put"
    DELETE = "delete"
    EXPIRE = "expire"
    TOUCH = "touch"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """A committed change of a key."""

    namespace: str
    key: str
    version: int
    kind: ChangeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePage:
    """Changes in commit order, and the cursor after them; `gap`: some before were swept and can't be told any more."""

    changes: tuple[ChangeRow, ...]
    cursor: int
    gap: bool = False
    cursors: tuple[int, ...] = ()
    """The cursor after each of the changes: they rise, and what follows a cursor is the same whoever asks."""
    ahead: int | None = None
    """Of a page without changes, for `after` None: what is committed by now comes at or before this cursor, though some
    of it can't be told yet. None: all of it came before `cursor`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOrder:
    """What to clean: at most `limit` rows of each kind, older than the retentions (milliseconds)."""

    limit: int
    tombstone_retention_ms: int
    request_retention_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep cleaned, and the tombstones of expired entries."""

    expired: tuple[Tombstone, ...] = ()
    tombstones: int = 0
    requests: int = 0
    changes: int = 0

    def reached(self, limit: int) -> bool:
        """Whether a bound was reached, so that more may be left."""
        return max(len(self.expired), self.tombstones, self.requests, self.changes) >= limit


class Store(Protocol):
    """An adapter to one backend. `deadline` is a monotonic instant in seconds, None: the store's own budget."""

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store claims."""
        ...

    def now(self) -> int:
        """The authority's clock as this process knows it, in milliseconds; no I/O."""
        ...

    async def open(self) -> None:
        """Prepare the backend; may be called again after a failure. Raises StoreUnavailable or DataLoss."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, and let go. Idempotent."""
        ...

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        """The committed state of each key, in order: an entry that has not ended, a tombstone, or None."""
        ...

    async def commit(self, write: Write) -> Outcome:
        """Apply a write. Raises a Decision, or an error that says whether anything was written."""
        ...

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        """Move ends without changing versions; never revives an ended entry. `announce` leaves change rows."""
        ...

    async def scan(
        self,
        namespace: str,
        prefix: str,
        *,
        after: str | None,
        limit: int,
        bytes_max: int,
        keys_only: bool,
        deadline: float | None = None,
    ) -> Page:
        """Entries in key order after `after`: at most `limit`, and `bytes_max` of values but at least one entry."""
        ...

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """Delete at most `limit` keys, atomically with the progress under `request`; call again until done."""
        ...

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        """Change rows after a cursor, oldest first; None: none yet, only the cursor of the newest."""
        ...

    async def sweep(self, order: SweepOrder) -> Swept:
        """Turn expired entries into tombstones and forget old tombstones, request ids and change rows."""
        ...

    async def cache_generation(self, cache_identity: str) -> int:
        """The generation of cached entries; it rises when the cache is not the one that was seen before."""
        ...


@runtime_checkable
class Hinting(Protocol):
    """A store whose daemons can tell each other, at once, that something was committed. Hints may be lost: who waits for
    one polls besides.
    """

    @property
    def listening(self) -> bool:
        """Whether others' hints are heard just now, as far as is known."""
        ...

    def hint(self) -> None:
        """Something was committed that other daemons wait for. Costs nothing now, never fails, and is told at most some
        times a second, together.
        """
        ...

    def on_hint(self, heard: Callable[[], None]) -> None:
        """Call this, from the event loop, when another daemon committed something; until the store is closed."""
        ...


def request_id_reused(request: WriteId) -> InvalidRequest:
    """The refusal of a request id that stands for another request."""
    return InvalidRequest(
        "request_id was used for another request; take a fresh one for each write",
        reason="REQUEST_ID_REUSED",
        field="request_id",
        metadata={"request_id": request.request_id},
    )
