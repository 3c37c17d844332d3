"""What the engine answers: the result, the guarantee it carries, and the followups it owes."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.core.entry import Copy, Entry
from sidecar.core.modes import Durability, ServingMode
from sidecar.core.operations import OperationResult
from sidecar.engine.followups import Followup
from sidecar.tiers.reading import Lookup


@dataclass(frozen=True, slots=True)
class Read:
    """Keys that were read, in order."""

    lookups: tuple[Lookup, ...]
    followups: tuple[Followup, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page of entries; `next_page_token` empty: the last."""

    entries: tuple[Entry, ...]
    next_page_token: str
    mode: ServingMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a write did, an `OperationResult` for each operation; version 0: nothing was changed.

    `copies` are the states that it left; none of a write that was repeated.
    """

    version: int
    durability: Durability
    mode: ServingMode
    results: tuple[OperationResult, ...]
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchedKey:
    """What a touch did."""

    found: bool
    expire_time: int | None
    mode: ServingMode


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixDeleted:
    """What a deletion by prefix did."""

    deleted_count: int
    mode: ServingMode
