"""The cache before an authority. Whatever fails here is left to the repairer, or to the deadline of a lease."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sidecar.core.cache import Cache, CacheCapabilities, CacheUnavailable, Fill, Hit, Miss, Turn
from sidecar.core.entry import Copy
from sidecar.core.errors import LimitExceeded, StoreUnavailable
from sidecar.tiers.guard import Guard

Leases = dict[str, str]
"""The lease that is held for each key."""

T = TypeVar("T")


class CacheSide:
    """A cache that is never an error: away, it misses without leases and hears nothing.

    The same while its `generation` isn't known (None): what a shared cache holds may be of another time. What nobody else
    can write is ours from the beginning.
    """

    def __init__(self, cache: Cache, guard: Guard) -> None:
        self.backend = cache
        self.guard = guard
        self.stats = guard.stats
        self.generation: int | None = None if cache.capabilities.shared else 0

    async def look_up(self, namespace: str, keys: Sequence[str], *, now: int) -> Sequence[Hit | Miss]:
        """A hit or a miss for each key."""
        generation = self.generation
        if generation is None:
            return [Miss(None)] * len(keys)
        found = await self._asked("get", lambda: self.backend.get(namespace, keys, generation=generation, now=now))
        return [Miss(None)] * len(keys) if found is None else found

    async def lease(self, namespace: str, keys: Sequence[str], *, now: int) -> Leases:
        """For a writer: the right to fill those keys that have no copy, and are nobody else's to fill."""
        generation = self.generation
        if generation is None:
            return {}
        leases = await self._asked("lease", lambda: self.backend.lease(namespace, keys, generation=generation, now=now))
        if leases is None:
            return {}
        return {key: lease for key, lease in zip(keys, leases, strict=True) if lease is not None}

    async def fill(self, namespace: str, fills: Sequence[Fill], *, now: int) -> bool:
        """Store under leases; whether all of them still held."""
        generation = self.generation
        if generation is None:
            return False
        filled = await self._asked("fill", lambda: self.backend.fill(namespace, fills, generation=generation, now=now))
        if filled is not None:
            self.stats.fills_refused += len(fills) - filled
        return filled == len(fills)

    async def apply(self, namespace: str, copies: Sequence[Copy]) -> None:
        """Tell committed states. Where the generation isn't known, nobody else's copies of them are left either."""
        generation = self.generation
        if generation is None:
            await self.invalidate(namespace, [copy.key for copy in copies])
        else:
            await self._asked("apply", lambda: self.backend.apply(namespace, copies, generation=generation))

    async def invalidate(self, namespace: str, keys: Sequence[str]) -> None:
        """Forget copies."""
        await self._asked("invalidate", lambda: self.backend.invalidate(namespace, keys))

    async def release(self, namespace: str, leases: Leases) -> None:
        """Give leases back."""
        if leases:
            await self._asked("release", lambda: self.backend.release(namespace, sorted(leases.items())))

    async def _asked(self, name: str, operation: Callable[[], Awaitable[T]]) -> T | None:
        """None: it was not heard."""
        try:
            return await self.guard.call(name, operation)
        except (CacheUnavailable, StoreUnavailable, LimitExceeded):
            return None


class NoCache:
    """The cache of an authority that needs none."""

    capabilities = CacheCapabilities(shared=False)

    async def identity(self) -> str:
        """Always the same."""
        return ""

    async def get(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[Hit | Miss]:  # noqa: ARG002
        """Misses that are nobody's to fill."""
        return [Miss(None)] * len(keys)

    async def lease(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[str | None]:  # noqa: ARG002
        """None."""
        return [None] * len(keys)

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:  # noqa: ARG002
        """Nothing."""
        return 0

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        """Nothing."""

    async def invalidate(self, namespace: str, keys: Sequence[str]) -> None:
        """Nothing."""

    async def release(self, namespace: str, leases: Sequence[tuple[str, str]]) -> None:
        """Nothing."""

    async def claim_repair(self, owner: str, *, generation: int, begin: int | None, now: int) -> Turn | None:  # noqa: ARG002
        """None: there is nothing to repair."""
        return None

    async def renew_repair(self, owner: str, *, generation: int, cursor: int, now: int) -> bool:  # noqa: ARG002
        """No turn was given."""
        return False

    async def close(self) -> None:
        """Nothing."""
