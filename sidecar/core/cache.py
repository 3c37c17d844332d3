"""Cache: the port to a backend that may forget but may not lie. Leases are why a late fill can't bring back the past.

- `get` answers a hit, or a miss; one asker of a missing key gets a lease, which leaves a placeholder with a deadline.
- `fill` stores only if that very placeholder is still there.
- `apply`, by writers after their commit and by the repairer: an older entry is replaced, a placeholder or a cached
  miss is dropped, and where there is nothing it does nothing. A writer never creates.
- Entries of another generation are misses, and its leases void: a cache that went back in time may hold both.

A version guard alone was measured to go stale under eviction, and so did leases with writers that create entries; this
protocol did not. (Leases: Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sidecar.core.entry import Copy

REPAIR_TURN_MS = 3_000
"""How long a repairer that died or lost its authority keeps others waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCapabilities:
    """What a cache claims."""

    shared: bool
    """Other daemons see the same cache: it can be written behind this daemon's back."""


class Hit(NamedTuple):
    """A copy, or a cached miss (`copy` None)."""

    copy: Copy | None


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing there. `lease`: the token to fill with; None: another asker has it."""

    lease: str | None


@dataclass(frozen=True, slots=True)
class Fill:
    """A state read from the authority (None: absent) under a lease."""

    key: str
    copy: Copy | None
    lease: str


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to tell a cache what its authority changed after the change at `cursor`; None: the cache doesn't know."""

    cursor: int | None


class CacheUnavailable(Exception):  # never leaves the tiers: a cache that is away is a miss
    """The cache does not answer."""


class Cache(Protocol):
    """An adapter to one backend. `now` is the authority's clock in milliseconds; all raise CacheUnavailable."""

    @property
    def capabilities(self) -> CacheCapabilities:
        """What this cache claims."""
        ...

    async def identity(self) -> str:
        """Changes whenever the cache may have lost writes: a restart, a failover, a flush."""
        ...

    async def get(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[Hit | Miss]:
        """A hit or a miss for each key, in order. An expired entry is a miss."""
        ...

    async def lease(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[str | None]:
        """For writers, before their commit: a lease for each key that has no copy; a cached miss gives way to it."""
        ...

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        """Store what still has its placeholder; the number stored."""
        ...

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        """Tell committed states."""
        ...

    async def invalidate(self, namespace: str, keys: Sequence[str]) -> None:
        """Forget keys, their placeholders included."""
        ...

    async def release(self, namespace: str, leases: Sequence[tuple[str, str]]) -> None:
        """Give back (key, lease) pairs that won't be filled."""
        ...

    async def claim_repair(self, owner: str, *, generation: int, begin: int | None, now: int) -> Turn | None:
        """For repairers: the turn, None while another has it. It lasts REPAIR_TURN_MS, and its owner may claim it again.

        A cursor that is not known becomes `begin`; None leaves it so, and gives no turn (but says so by a Turn without).
        """
        ...

    async def renew_repair(self, owner: str, *, generation: int, cursor: int, now: int) -> bool:
        """Keep the cursor up to which all was told, and the turn; False: the turn is another's, or was forgotten."""
        ...

    async def close(self) -> None:
        """Let go. Idempotent."""
        ...
