"""Sealing: the port to encryption at rest. What is sealed is bound to its place: elsewhere it does not open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss

if TYPE_CHECKING:
    from sidecar.core.operations import Check

MAGIC = b"\x93SS\x01"
"""What every sealed value begins with: no UTF-8 text and no JSON does."""


def place(kind: str, *parts: str | int) -> bytes:
    """What a sealed value is bound to: what it is, and whose. With the lengths, no two places are the same bytes."""
    encoded = [part.to_bytes(8, "big") if isinstance(part, int) else part.encode() for part in (kind, *parts)]
    return b"".join([len(part).to_bytes(4, "big") + part for part in encoded])


def value_place(namespace: str, key: str, schema_version: int) -> bytes:
    """Where an entry's value is."""
    return place("value", namespace, key, schema_version)


def place_of(entry: Entry) -> bytes:
    """The same, of an entry."""
    return value_place(entry.namespace, entry.key, entry.schema_version)


def told_place(namespace: str, request_id: str) -> bytes:
    """Where a value is that a write answers, and answers again when its request id is repeated."""
    return place("told", namespace, request_id)


def blob_place(namespace: str, key: str, schema_version: int) -> bytes:
    """Where a value is that is in the cold tier."""
    return place("blob", namespace, key, schema_version)


def content_place(content_id: str) -> bytes:
    """Where a checkpoint's content is that is in the cold tier."""
    return place("content", content_id)


class Codec(Protocol):
    """Seals and opens at once, without I/O: for what is computed in the middle of a commit."""

    def seal(self, data: bytes, at: bytes) -> bytes:
        """Encrypted with the namespace's data key."""
        ...

    def open(self, sealed: bytes, at: bytes, *, namespace: str, key: str = "") -> bytes:
        """As `Sealer.open`; raises KeyAway where the data key has to be asked for first."""
        ...

    def plain_size(self, sealed: bytes) -> int:
        """How many bytes were sealed."""
        ...


class Sealer(Protocol):
    """Seals and opens. The app is bound besides `at`, by the sealer itself. Safe to call from many tasks at once."""

    async def codec(self, namespace: str) -> Codec:
        """With a data key for that namespace at hand. Raises StoreUnavailable where none is and none can be had."""
        ...

    async def fetch(self, namespace: str, sealed: bytes) -> None:
        """Have at hand the data key that this was sealed with in a namespace, if it can be.

        Raises FailedPrecondition (ENCRYPTION_KEY_MISSING) where what it is wrapped in is not configured here,
        StoreUnavailable where the key service is away, DataLoss where it is no such key.
        """
        ...

    async def seal(self, namespace: str, data: bytes, at: bytes) -> bytes:
        """As the codec; large data beside the event loop."""
        ...

    async def open(self, sealed: bytes, at: bytes, *, namespace: str, key: str = "") -> bytes:
        """What was sealed at that place; `namespace` and `key` name it in errors. Large data beside the event loop.

        Raises DataLoss (ENTRY_CORRUPT) for anything else, and what `fetch` raises.
        """
        ...

    def is_current(self, sealed: bytes) -> bool:
        """Whether the key that new values are sealed under is what this one was. False for what is not sealed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResealedPage:
    """What became of a page of rows. `away`: those whose values are in cold; `after`: the last key, None: no more."""

    scanned: int
    resealed: int
    failed: tuple[tuple[str, str], ...] = ()
    """Keys of those that don't open, and why."""
    away: tuple[Entry, ...] = ()
    after: str | None = None


@runtime_checkable
class Resealing(Protocol):
    """A store whose values are sealed, and can be sealed anew."""

    @property
    def sealer(self) -> Sealer:
        """What seals them."""
        ...

    async def reseal(
        self, namespace: str, *, after: str | None, limit: int, bytes_max: int, fence: Check | None
    ) -> ResealedPage:
        """Seal a page of rows with the key of now, under their versions, what is sealed with it already left as it is.

        `fence` is carried by each commit; None: only count. Raises VersionConflict when the fence is lost.
        """
        ...


def refused(namespace: str, key: str, why: str) -> DataLoss:
    """The error of bytes that do not open."""
    return DataLoss(f"a sealed value does not open: {why}", metadata={"namespace": namespace, "key": key})
