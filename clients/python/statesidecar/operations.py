"""The operations of a transaction. `set`, `cas` and the others are these, alone.

`outbox` are messages that go out if the operation changed something. `schema_version` is the schema of a value, or that a
change is meant for; 0: not said, and of a change the newest that the daemon knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from statesidecar.outbox import OutboxMessage
from statesidecar.types import DeleteResult, Durability, ServingMode, Ttl, UpdateResult, WriteResult


@dataclass(frozen=True, slots=True)
class SetOp:
    """Writes a key, whatever was there."""

    key: str
    value: bytes | str
    content_type: str = ""
    schema_version: int = 0
    labels: Mapping[str, str] | None = None
    ttl: Ttl | None = None
    outbox: Sequence[OutboxMessage] = ()


@dataclass(frozen=True, slots=True)
class CasOp:
    """Writes a key if its version is still the expected one; 0: it must not exist."""

    key: str
    value: bytes | str
    expected_version: int
    content_type: str = ""
    schema_version: int = 0
    labels: Mapping[str, str] | None = None
    ttl: Ttl | None = None
    outbox: Sequence[OutboxMessage] = ()


@dataclass(frozen=True, slots=True)
class DeleteOp:
    """Deletes a key, if its version is the expected one where one is given."""

    key: str
    expected_version: int | None = None
    outbox: Sequence[OutboxMessage] = ()


@dataclass(frozen=True, slots=True)
class MergePatchOp:
    """Applies an RFC 7396 merge patch to a JSON value."""

    key: str
    patch: Any
    create: bool = True
    ttl: Ttl | None = None
    return_value: bool = True
    outbox: Sequence[OutboxMessage] = ()
    schema_version: int = 0


@dataclass(frozen=True, slots=True)
class AppendOp:
    """Appends JSON values to an array, which keeps its last `max_items` (0: all)."""

    key: str
    items: Sequence[Any]
    max_items: int = 0
    create: bool = True
    ttl: Ttl | None = None
    return_value: bool = True
    outbox: Sequence[OutboxMessage] = ()
    schema_version: int = 0


@dataclass(frozen=True, slots=True)
class IncrementOp:
    """Adds to a counter, within bounds where they are given."""

    key: str
    delta: int = 1
    minimum: int | None = None
    maximum: int | None = None
    create: bool = True
    ttl: Ttl | None = None
    return_value: bool = True
    outbox: Sequence[OutboxMessage] = ()
    schema_version: int = 0


@dataclass(frozen=True, slots=True)
class CheckOp:
    """Only a condition: the key has this version; 0: it does not exist."""

    key: str
    expected_version: int


UpdateOp = MergePatchOp | AppendOp | IncrementOp
Operation = SetOp | CasOp | DeleteOp | UpdateOp | CheckOp
#: As the operation; None for a check, which held.
OperationResult = WriteResult | DeleteResult | UpdateResult | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactResult:
    """What a transaction committed."""

    #: One for each operation, in order.
    results: tuple[OperationResult, ...]
    #: The version that every changed key has now. 0: nothing was changed.
    version: int
    durability: Durability
    mode: ServingMode
