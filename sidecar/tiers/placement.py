"""Where a namespace's data lives: one authority, and a cache before it. The order of every step is decided here.

Reads: cache, then the authority under single flight; what was found fills the cache under the lease of the miss.
Writes: lease, commit, then fill or apply. The authority's commit is the truth; a cache that fails is left to the
repairer, for which the authority keeps a row of every change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from sidecar.core.cache import Cache, Fill
from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.errors import OutcomeUnknown, SidecarError, StoreCorrupt, StoreUnavailable
from sidecar.core.modes import Durability, Tier
from sidecar.core.operations import Write, WriteId
from sidecar.core.ports import Ports
from sidecar.core.store import Outcome, Page, PrefixProgress, Store, SweepOrder, Swept, Touch, Touched
from sidecar.tiers.cached import CacheSide, Leases, NoCache
from sidecar.tiers.reading import Answer, Found, ReadThrough
from sidecar.tiers.stats import TierStats

T = TypeVar("T")


class Placement:
    """An authority with the cache before it."""

    def __init__(
        self,
        authority: Store,
        *,
        tier: Tier,
        ports: Ports,
        cache: Cache | None = None,
        cache_stats: TierStats | None = None,
    ) -> None:
        self.authority = authority
        self.tier = tier
        self.durability = Durability.COMMITTED if authority.capabilities.durable else Durability.VOLATILE
        self.stats = TierStats()
        self.cache = CacheSide(
            NoCache() if cache is None else cache, clock=ports.clock, stats=cache_stats or TierStats()
        )
        self.cached = cache is not None
        self._monotonic = ports.clock.monotonic
        self._through = ReadThrough(self.cache, self._ask, tier=tier, ports=ports)

    # ---- reads

    async def get(self, namespace: str, keys: Sequence[str], floors: Sequence[int], *, deadline: float | None) -> Found:
        """Copies that are at least as new as their floors, from wherever they are."""
        if not self.cached:
            return await self.get_strong(namespace, keys, deadline=deadline)
        return await self._through.get(
            namespace,
            keys,
            floors,
            now=self.authority.now(),
            stale_possible=self.stats.up is False,
            deadline=deadline,
        )

    async def get_cached(self, namespace: str, keys: Sequence[str], floors: Sequence[int]) -> Found:
        """What can be answered while the authority is away."""
        return await self._through.get_cached(namespace, keys, floors, now=self.authority.now())

    async def get_strong(self, namespace: str, keys: Sequence[str], *, deadline: float | None) -> Found:
        """What the authority says."""
        return Found([Answer(copy, self.tier) for copy in await self._ask(namespace, keys, deadline)])

    async def scan(
        self,
        namespace: str,
        prefix: str,
        *,
        after: str | None,
        limit: int,
        bytes_max: int,
        keys_only: bool,
        deadline: float | None,
    ) -> Page:
        """A page of entries, from the authority."""
        page = self.authority.scan(
            namespace, prefix, after=after, limit=limit, bytes_max=bytes_max, keys_only=keys_only, deadline=deadline
        )
        return await self._observed(page)

    async def _ask(self, namespace: str, keys: Sequence[str], deadline: float | None) -> list[Copy | None]:
        copies = await self._observed(self.authority.get(namespace, keys, deadline=deadline))
        self.stats.looked_up(sum(isinstance(copy, Entry) for copy in copies), len(copies))
        return copies

    # ---- writes

    async def commit(self, write: Write) -> Outcome:
        """Commit, then tell the cache. The entry that was written stays hot: the lease for it is taken before."""
        namespace, keys = write.namespace, [operation.key for operation in write.operations]
        leases = await self.cache.lease(namespace, keys, now=self.authority.now()) if self.cached else {}
        try:
            outcome = await self._observed(self.authority.commit(write))
        except OutcomeUnknown:
            await self.cache.invalidate(namespace, keys)
            raise
        except SidecarError:
            await self.cache.release(namespace, leases)
            raise
        if self.cached:
            await self._tell(namespace, outcome.copies, leases)
        return outcome

    async def _tell(self, namespace: str, copies: Sequence[Copy], leases: Leases) -> None:
        fills: list[Fill] = []
        others: list[Copy] = []
        for copy in copies:
            if isinstance(copy, Entry) and copy.key in leases:
                fills.append(Fill(copy.key, copy, leases.pop(copy.key)))
            else:
                others.append(copy)
        # A lease that was lost may be a reader's now, who read before our commit: what can't be filled is applied.
        if fills and not await self.cache.fill(namespace, fills, now=self.authority.now()):
            others = list(copies)
        if others:
            await self.cache.apply(namespace, others)
        await self.cache.release(namespace, leases)

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        """Move ends. A cached copy knows only the old end, so it is forgotten."""
        touched = await self._observed(self.authority.touch(namespace, touches, announce=announce))
        await self.cache.invalidate(namespace, [touch.key for touch in touches])
        return touched

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """One batch of a deletion."""
        after = await self._observed(
            self.authority.delete_prefix(namespace, prefix, limit=limit, request=request, progress=progress)
        )
        if after.tombstones:
            await self.cache.apply(namespace, after.tombstones)
        return after

    async def sweep(self, order: SweepOrder) -> Swept:
        """One batch of cleaning. Also finds out whether the authority answers when nobody asks for anything."""
        swept = await self._observed(self.authority.sweep(order))
        by_namespace: dict[str, list[Tombstone]] = {}
        for tombstone in swept.expired:
            by_namespace.setdefault(tombstone.namespace, []).append(tombstone)
        for namespace, tombstones in by_namespace.items():
            await self.cache.apply(namespace, tombstones)
        return swept

    async def _observed(self, operation: Awaitable[T]) -> T:
        start = self._monotonic()
        try:
            result = await operation
        except (StoreUnavailable, StoreCorrupt, OutcomeUnknown) as exc:
            self.stats.failed(exc)
            raise
        self.stats.succeeded(self._monotonic() - start)
        return result
