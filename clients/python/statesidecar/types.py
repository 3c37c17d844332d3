"""What goes into the client's calls and comes out of them: ordinary Python values, no protobuf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from statesidecar import errors

#: A lifetime: a timedelta or seconds.
Ttl = timedelta | float


class _WireEnum(IntEnum):
    @classmethod
    def _missing_(cls, value: object) -> _WireEnum:
        del value  # A value of a later release: not known here
        return cls(0)


class Consistency(_WireEnum):
    """How fresh a read has to be."""

    UNSPECIFIED = 0
    #: Any tier's copy may answer, if it is at least `min_version`.
    CACHED = 1
    #: The authority answers.
    STRONG = 2


class ServingMode(_WireEnum):
    """Which guarantee a reply carries."""

    UNSPECIFIED = 0
    #: All guarantees of the namespace's policy hold.
    NORMAL = 1
    #: A backend is away; the answer is right, but may be slower, or older as `stale_possible` says.
    DEGRADED = 2
    #: The authority is away and was not asked: no durability is claimed.
    PASSTHROUGH = 3


class Durability(_WireEnum):
    """What became of an acknowledged write."""

    UNSPECIFIED = 0
    #: Committed by a durable authority.
    COMMITTED = 1
    #: Committed by the hot tier: may be lost when that restarts or fails over.
    VOLATILE = 2
    #: In the daemon's journal, on its way to the authority.
    BUFFERED = 3
    #: Dropped, as the namespace's policy asks for in an outage.
    DISCARDED = 4


class Tier(_WireEnum):
    """A rank of storage."""

    UNSPECIFIED = 0
    NEAR = 1
    HOT = 2
    WARM = 3
    COLD = 4


class TierState(_WireEnum):
    """Whether a tier answers."""

    UNSPECIFIED = 0
    UP = 1
    DOWN = 2


class BreakerState(_WireEnum):
    """State of the breaker before a tier; UNSPECIFIED: it has none."""

    UNSPECIFIED = 0
    CLOSED = 1
    OPEN = 2
    HALF_OPEN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key's value with its version, times (UTC, by the authority's clock) and labels."""

    namespace: str
    key: str
    value: bytes
    version: int
    content_type: str = ""
    schema_version: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None
    #: None: it doesn't end.
    expire_time: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The value as JSON. Raises ValueError if it is none."""
        return json.loads(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetResult:
    """What a read found."""

    #: None: a miss.
    entry: Entry | None
    mode: ServingMode
    served_by: Tier
    #: The authority could not be asked, so a newer version may exist.
    stale_possible: bool
    #: Of an answer from the near cache: it was the newest state at most so many seconds ago. None: the daemon answered.
    max_age_s: float | None = None

    @property
    def found(self) -> bool:
        """Whether there is an entry."""
        return self.entry is not None

    @property
    def value(self) -> bytes | None:
        """The value, or None on a miss."""
        return None if self.entry is None else self.entry.value

    @property
    def version(self) -> int:
        """The version, or 0 on a miss: what `cas` expects of an absent key."""
        return 0 if self.entry is None else self.entry.version


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """What `set` and `cas` wrote."""

    #: 0: nothing was written (DISCARDED), or not yet (BUFFERED).
    version: int
    durability: Durability
    mode: ServingMode
    #: None: it doesn't end.
    expire_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult:
    """What `delete` deleted."""

    #: Whether there was an entry.
    found: bool
    #: Identity of the deletion. 0: there was nothing to delete.
    version: int
    durability: Durability
    mode: ServingMode


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePrefixResult:
    """What `delete_prefix` deleted."""

    deleted_count: int
    mode: ServingMode


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchResult:
    """What `touch` touched."""

    #: Whether there was an entry.
    found: bool
    #: None: it doesn't end.
    expire_time: datetime | None
    mode: ServingMode


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """What an update on the server made."""

    #: 0: nothing was written (DISCARDED), or not yet (BUFFERED).
    version: int
    #: The new value. Empty: not asked for, or nothing was written (DISCARDED, BUFFERED).
    value: bytes
    durability: Durability
    mode: ServingMode
    #: None: it doesn't end.
    expire_time: datetime | None

    def json(self) -> Any:
        """The new value as JSON. Raises ValueError if there is none."""
        return json.loads(self.value)

    @property
    def count(self) -> int:
        """The counter's new value.

        Raises Unavailable if nothing was counted (DISCARDED), ValueError if the sum is not known yet (BUFFERED).
        """
        if self.durability is Durability.DISCARDED:
            raise errors.Unavailable(errors.PASSTHROUGH, "nothing was counted: the increment was discarded")
        if self.durability is Durability.BUFFERED and not self.value:
            raise ValueError("the increment is buffered, so it counts, but the sum is not known yet")
        return int(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateUpdate:
    """What `update` made of a JSON state."""

    #: The state that is stored now.
    state: Any
    #: Its version. 0: there is none, because the function left an absent state as it was.
    version: int
    #: UNSPECIFIED: the function changed nothing, so nothing was written.
    durability: Durability
    mode: ServingMode
    #: How often the function ran.
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Percentiles over a window of a tier's latest operations, in seconds."""

    p50_s: float
    p95_s: float
    p99_s: float
    #: Operations since the start.
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStatus:
    """One tier as the daemon sees it."""

    tier: Tier
    #: The backend's URL, without its credentials.
    url: str
    state: TierState
    breaker: BreakerState
    latency: LatencySummary | None
    #: Lookups that the tier answered, 0 to 1. None: none yet.
    hit_ratio: float | None
    lookups: int
    #: The latest failure in words. Empty: none since the last success.
    last_error: str
    authority: bool
    #: 0: not known.
    bytes_held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of the daemon."""

    mode: ServingMode
    #: Hottest first.
    tiers: tuple[TierStatus, ...]
    #: Age of the oldest message not delivered yet. None: no outbox.
    outbox_lag: timedelta | None
    outbox_pending: int
    journal_depth: int
    daemon_version: str
    start_time: datetime | None
    app: str
    draining: bool
    requests_in_flight: int
    followups_pending: int
