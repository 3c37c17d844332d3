"""Where a namespace's data lives: one authority, and a cache before it. The order of every step is decided here.

Reads: cache, then the authority under single flight; what was found fills the cache under the lease of the miss.
Writes: lease, commit, then fill or apply, then announce to the near tiers. The authority's commit is the truth; a cache that fails is left to the
repairer, for which the authority keeps a row of every change.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.cache import Cache, Fill
from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.errors import OutcomeUnknown, SidecarError
from sidecar.core.failpoints import reach
from sidecar.core.modes import Durability, Tier
from sidecar.core.operations import Write, WriteId
from sidecar.core.ports import Ports
from sidecar.core.store import ChangePage, Outcome, Page, PrefixProgress, Store, SweepOrder, Swept, Touch, Touched
from sidecar.tiers.cached import CacheSide, Leases, NoCache
from sidecar.tiers.guard import Guard
from sidecar.tiers.near import Near
from sidecar.tiers.reading import Found, Lookup, ReadThrough

SLOW_S = {Tier.HOT: 0.25, Tier.WARM: 1.0}
"""An answer that takes longer counts as a failure of its tier."""
PROBE_NAMESPACE, PROBE_KEY = "default", "state-sidecar/probe"
"""A key that is read to find out whether the authority is back; nobody has to have it."""


class Placement:
    """An authority with the cache before it, and the near tier before both."""

    def __init__(
        self,
        authority: Store,
        *,
        tier: Tier,
        ports: Ports,
        cache: Cache | None = None,
        cache_guard: Guard | None = None,
        near: Near | None = None,
    ) -> None:
        self.authority = authority
        self.tier = tier
        self.durability = Durability.COMMITTED if authority.capabilities.durable else Durability.VOLATILE
        self.guard = Guard(f"the {tier.name.lower()} tier", ports=ports, probe=self._probe, slow_s=SLOW_S[tier])
        self.stats = self.guard.stats
        side = NoCache() if cache is None else cache
        self.cache = CacheSide(
            side, cache_guard or Guard("the hot tier", ports=ports, probe=side.identity, slow_s=SLOW_S[Tier.HOT])
        )
        self.cached = cache is not None
        self.near = near
        self._through = ReadThrough(self.cache, self._ask, tier=tier, ports=ports)

    @property
    def away(self) -> bool:
        """Whether the authority did not answer when it was asked last."""
        return self.stats.up is False

    # ---- reads

    async def get(self, namespace: str, keys: Sequence[str], floors: Sequence[int], *, deadline: float | None) -> Found:
        """Copies that are at least as new as their floors, from wherever they are."""
        if not self.cached:
            return await self.get_strong(namespace, keys, deadline=deadline)
        now, stale_possible = self.authority.now(), self.away
        near = self.near
        if near is None or not near.serves(namespace):
            return await self._through.get(
                namespace, keys, floors, now=now, stale_possible=stale_possible, deadline=deadline
            )
        held = near.look_up(namespace, keys, floors, now=now) if near.trusted else [None] * len(keys)
        rest = [index for index, entry in enumerate(held) if entry is None]
        reading = near.reading(namespace, [keys[index] for index in rest])
        found = Found([])
        if rest:
            found = await self._through.get(
                namespace,
                [keys[index] for index in rest],
                [floors[index] for index in rest],
                now=now,
                stale_possible=stale_possible,
                deadline=deadline,
            )
            near.keep(reading, [lookup.copy for lookup in found.lookups if not lookup.stale_possible])
        return _with_near(held, found, stale_possible=stale_possible)

    async def get_cached(self, namespace: str, keys: Sequence[str], floors: Sequence[int]) -> Found:
        """What can be answered while the authority is away: shared copies, else our own."""
        now = self.authority.now()
        found = await self._through.get_cached(namespace, keys, floors, now=now)
        if self.near is None or not self.near.serves(namespace):
            return found
        held = self.near.look_up(namespace, keys, floors, now=now)
        return Found(
            [
                Lookup(entry, Tier.NEAR, stale_possible=True) if lookup.tier is Tier.NONE and entry else lookup
                for entry, lookup in zip(held, found.lookups, strict=True)
            ]
        )

    async def get_strong(self, namespace: str, keys: Sequence[str], *, deadline: float | None) -> Found:
        """What the authority says."""
        return Found([Lookup(copy, self.tier) for copy in await self._ask(namespace, keys, deadline)])

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
        return await self.guard.call(
            lambda: self.authority.scan(
                namespace, prefix, after=after, limit=limit, bytes_max=bytes_max, keys_only=keys_only, deadline=deadline
            ),
            again=True,
            deadline=deadline,
        )

    async def _ask(self, namespace: str, keys: Sequence[str], deadline: float | None) -> list[Copy | None]:
        copies = await self.guard.call(
            lambda: self.authority.get(namespace, keys, deadline=deadline), again=True, deadline=deadline
        )
        self.stats.looked_up(sum(isinstance(copy, Entry) for copy in copies), len(copies))
        return copies

    async def _probe(self) -> None:
        """Ask the authority something small."""
        await self.authority.get(PROBE_NAMESPACE, [PROBE_KEY])

    # ---- writes

    async def commit(self, write: Write) -> Outcome:
        """Commit, then tell the cache. The entry that was written stays hot: the lease for it is taken before."""
        namespace, keys = write.namespace, [operation.key for operation in write.operations]
        leases = await self.cache.lease(namespace, keys, now=self.authority.now()) if self.cached else {}
        try:
            reach("write.commit.before")
            outcome = await self.guard.call(
                lambda: self.authority.commit(write), again=write.request is not None, deadline=write.deadline
            )
        except OutcomeUnknown:
            await self._forget(namespace, keys)
            raise
        except SidecarError:
            await self.cache.release(namespace, leases)
            raise
        reach("write.commit.after")
        if self.cached:
            await self._tell(namespace, outcome.copies, leases)
            reach("write.cache.told")
            self._announce(namespace, [copy.key for copy in outcome.copies])
        return outcome

    def _announce(self, namespace: str, keys: Sequence[str]) -> None:
        if self.near is not None and keys:
            self.near.changed(namespace, keys)

    async def _forget(self, namespace: str, keys: Sequence[str]) -> None:
        await self.cache.invalidate(namespace, keys)
        self._announce(namespace, keys)

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
        touched = await self.guard.call(lambda: self.authority.touch(namespace, touches, announce=announce))
        reach("touch.commit.after")
        await self._forget(namespace, [touch.key for touch in touches])
        return touched

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """One batch of a deletion."""
        after = await self.guard.call(
            lambda: self.authority.delete_prefix(namespace, prefix, limit=limit, request=request, progress=progress)
        )
        reach("delete_prefix.batch.after")
        if after.tombstones:
            await self._apply(namespace, after.tombstones)
        return after

    async def sweep(self, order: SweepOrder) -> Swept:
        """One batch of cleaning. Also finds out whether the authority answers when nobody asks for anything."""
        swept = await self.guard.call(lambda: self.authority.sweep(order))
        reach("sweep.commit.after")
        by_namespace: dict[str, list[Tombstone]] = {}
        for tombstone in swept.expired:
            by_namespace.setdefault(tombstone.namespace, []).append(tombstone)
        for namespace, tombstones in by_namespace.items():
            await self._apply(namespace, tombstones)
        return swept

    async def _apply(self, namespace: str, copies: Sequence[Copy]) -> None:
        await self.cache.apply(namespace, copies)
        self._announce(namespace, [copy.key for copy in copies])

    # ---- for the repairer

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        """Change rows of the authority."""
        return await self.guard.call(lambda: self.authority.changes(after=after, limit=limit))

    async def cache_generation(self, identity: str) -> int:
        """The generation of the cache called `identity`, by the authority."""
        return await self.guard.call(lambda: self.authority.cache_generation(identity))


def _with_near(held: Sequence[Entry | None], found: Found, *, stale_possible: bool) -> Found:
    """The answers in the order that was asked in: from near, and from where the others were found."""
    others = iter(found.lookups)
    answers = [
        next(others) if entry is None else Lookup(entry, Tier.NEAR, stale_possible=stale_possible) for entry in held
    ]
    return Found(answers, fills=found.fills, repairs=found.repairs)
