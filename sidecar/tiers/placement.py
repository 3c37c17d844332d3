"""Where a namespace's data lives: one authority, and a cache before it. The order of every step is decided here.

Reads: cache, then the authority under single flight; what was found fills the cache under the lease of the miss.
Writes: lease, commit, then fill or apply, then announce to the near tiers. The authority's commit is the truth; a cache that fails is left to the
repairer, for which the authority keeps a row of every change.

Values may be in a cold tier besides (`cold.py`): readers and writers here have them in full. `rows` and `scan` answer
rows as they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sidecar.core.blobs import Blobs
from sidecar.core.cache import Cache, Fill
from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.errors import OutcomeUnknown, SidecarError
from sidecar.core.failpoints import reach
from sidecar.core.modes import Durability, Tier
from sidecar.core.operations import Check, Write, WriteId
from sidecar.core.policy import LARGE_VALUE_BYTES
from sidecar.core.ports import Ports
from sidecar.core.store import ChangePage, Outcome, Page, PrefixProgress, Store, SweepOrder, Swept, Touch, Touched
from sidecar.tiers.blobs import blob_ledger
from sidecar.tiers.cached import CacheSide, Leases, NoCache
from sidecar.tiers.cold import Cold, is_archived
from sidecar.tiers.guard import Guard
from sidecar.tiers.ledger import Ledger
from sidecar.tiers.near import Near
from sidecar.tiers.news import News
from sidecar.tiers.reading import Early, Found, Lookup, ReadThrough, with_near, with_own
from sidecar.tiers.shown import Waking, shown, shown_entries, whole

SLOW_S = {Tier.HOT: 0.25, Tier.WARM: 1.0}
"""An answer that takes longer counts as a failure of its tier."""
PROBE_NAMESPACE, PROBE_KEY = "default", "state-sidecar/probe"


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
        cold: Blobs | None = None,
        large_bytes: Callable[[str], int | None] = lambda _: LARGE_VALUE_BYTES,
    ) -> None:
        """`large_bytes` says of a namespace above which size a value goes to `cold`; None: never for its size."""
        self.authority = authority
        self.tier = tier
        self.ports = ports
        self.durability = Durability.COMMITTED if authority.capabilities.durable else Durability.VOLATILE
        self.guard = Guard(tier, ports=ports, probe=self._probe, slow_s=SLOW_S[tier])
        self.stats = self.guard.stats
        side = NoCache() if cache is None else cache
        before = cache_guard or Guard(Tier.HOT, ports=ports, probe=side.identity, slow_s=SLOW_S[Tier.HOT])
        self.cache = CacheSide(side, before)
        self.cached = cache is not None
        self.near = near
        self._through = ReadThrough(self.cache, self._ask, tier=tier, ports=ports)
        self.ledger = Ledger(authority, self.guard)
        self.blobs = None if cold is None else blob_ledger(self.ledger, cold, ports)
        self.cold = None
        """The values that are in `blobs`; None, as that: there is no cold tier."""
        self._waking = Waking(ports.clock)
        self.news = News(authority)
        if self.blobs is not None:
            self.cold = Cold(
                self.blobs,
                read=self.rows,
                commit=self._commit,
                relocate=self.relocate,
                large_bytes=large_bytes,
                ports=ports,
            )

    @property
    def away(self) -> bool:
        """Whether the authority did not answer when it was asked last."""
        return self.stats.up is False

    @property
    def guards(self) -> tuple[Guard, ...]:
        """Those of all its tiers."""
        tiers = (self.guard, self.cache.guard)
        return tiers if self.blobs is None else (*tiers, self.blobs.guard)

    # ---- reads

    async def get(
        self,
        namespace: str,
        keys: Sequence[str],
        floors: Sequence[int],
        *,
        deadline: float | None,
        partial: bool = False,
        bytes_max: int | None = None,
        early: Early | None = None,
    ) -> Found:
        """Copies that are at least as new as their floors, from wherever they are. `early` is told what a cache has.

        `partial`: a value that is in the cold tier while that is away has no tier; else it raises ColdUnavailable. Above
        `bytes_max` of several values, if some are in the cold tier, it is RESPONSE_TOO_LARGE, before any is loaded.
        """
        if early is not None and self.cold is not None:
            early = whole(early)
        found = await self._get(namespace, keys, floors, deadline=deadline, early=early)
        return await self._shown(namespace, found, partial=partial, bytes_max=bytes_max)

    async def _get(
        self, namespace: str, keys: Sequence[str], floors: Sequence[int], *, deadline: float | None, early: Early | None
    ) -> Found:
        """As `get`, with pointers."""
        if not self.cached:
            return Found([Lookup(copy, self.tier) for copy in await self._ask(namespace, keys, deadline)])
        now, stale_possible = self.authority.now(), self.away
        near = self.near
        if near is None or not near.serves(namespace):
            return await self._through.get(
                namespace, keys, floors, now=now, stale_possible=stale_possible, deadline=deadline, early=early
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
            near.keep(
                reading,
                [lookup.copy for lookup in found.lookups if not lookup.stale_possible and not is_archived(lookup.copy)],
            )
        return with_near(held, found, stale_possible=stale_possible)

    async def get_cached(
        self, namespace: str, keys: Sequence[str], floors: Sequence[int], *, bytes_max: int | None = None
    ) -> Found:
        """What can be answered while the authority is away: shared copies, else our own."""
        now = self.authority.now()
        found = await self._through.get_cached(namespace, keys, floors, now=now)
        if self.near is not None and self.near.serves(namespace):
            held = self.near.look_up(namespace, keys, floors, now=now, counted=False)
            found = with_own(held, found)
        return await self._shown(namespace, found, partial=True, bytes_max=bytes_max)

    async def get_strong(
        self, namespace: str, keys: Sequence[str], *, deadline: float | None, bytes_max: int | None = None
    ) -> Found:
        """What the authority says."""
        found = Found([Lookup(copy, self.tier) for copy in await self._ask(namespace, keys, deadline)])
        return await self._shown(namespace, found, partial=False, bytes_max=bytes_max)

    async def rows(self, namespace: str, keys: Sequence[str]) -> list[Copy | None]:
        """The authority's rows as they are: a value that is in the cold tier is a pointer."""
        return await self._ask(namespace, keys, None)

    async def resolve(self, namespace: str, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Rows with their values in them. One whose blob was collected, because its key was changed meanwhile, is as the
        key is now, and left out if that is gone: for rows that were read just now, not for old ones.

        Raises DataLoss (ENTRY_CORRUPT), ColdUnavailable, and what the authority raises.
        """
        assert all(entry.namespace == namespace for entry in entries), "they are of that namespace"
        return tuple(entries) if self.cold is None else await shown_entries(self.cold, entries)

    async def _shown(self, namespace: str, found: Found, *, partial: bool, bytes_max: int | None) -> Found:
        if self.cold is None:
            return found
        try:
            answer = await shown(self.cold, self._waking, found, partial=partial, bytes_max=bytes_max)
        except SidecarError:
            await self.cache.release(namespace, {fill.key: fill.lease for fill in found.fills})
            raise
        if answer.outdated:
            await self.forget(namespace, answer.outdated)
        return answer.found

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
        """A page of rows, from the authority: a value that is in the cold tier is a pointer, for `resolve`."""
        return await self.guard.call(
            "scan",
            lambda: self.authority.scan(
                namespace, prefix, after=after, limit=limit, bytes_max=bytes_max, keys_only=keys_only, deadline=deadline
            ),
            again=True,
            deadline=deadline,
        )

    async def _ask(self, namespace: str, keys: Sequence[str], deadline: float | None) -> list[Copy | None]:
        copies = await self.guard.call(
            "get", lambda: self.authority.get(namespace, keys, deadline=deadline), again=True, deadline=deadline
        )
        self.stats.looked_up(sum(isinstance(copy, Entry) for copy in copies), len(copies))
        return copies

    async def _probe(self) -> None:
        """Find out whether the authority is back, by a key that nobody has to have."""
        await self.authority.get(PROBE_NAMESPACE, [PROBE_KEY])

    # ---- writes

    async def commit(self, write: Write) -> Outcome:
        """Commit, large values to the cold tier; then tell the cache. Raises ColdUnavailable: nothing was written."""
        return await (self._commit(write) if self.cold is None else self.cold.commit(write))

    async def wake(self, entry: Entry) -> None:
        """Have the authority keep an archived value again, that was read."""
        if self.cold is not None:
            try:
                await self.cold.wake(entry)
            finally:
                self._waking.done(entry)

    async def relocate(self, write: Write) -> Outcome:
        """Commit what changes nothing for anybody: no cache is told."""
        return await self.guard.call("relocate", lambda: self.authority.commit(write))

    async def _commit(self, write: Write) -> Outcome:
        """The entry that was written stays hot: the lease for it is taken before."""
        namespace = write.namespace
        keys = [op.key for op in write.operations if not (type(op) is Check and op.ledger)]
        leases = await self.cache.lease(namespace, keys, now=self.authority.now()) if self.cached else {}
        try:
            reach("write.commit.before")
            outcome = await self.guard.call(
                "commit", lambda: self.authority.commit(write), again=write.request is not None, deadline=write.deadline
            )
        except OutcomeUnknown:
            await self.forget(namespace, keys)
            raise
        except SidecarError:
            await self.cache.release(namespace, leases)
            raise
        reach("write.commit.after")
        if outcome.version:
            self.news.committed()
        if self.cached:
            await self._tell(namespace, outcome.copies, leases)
            reach("write.cache.told")
            self._announce(namespace, [copy.key for copy in outcome.copies])
        return outcome

    def _announce(self, namespace: str, keys: Sequence[str]) -> None:
        if self.near is not None and keys:
            self.near.changed(namespace, keys)

    async def forget(self, namespace: str, keys: Sequence[str]) -> None:
        """Have the caches forget what they hold of keys."""
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
        touched = await self.guard.call("touch", lambda: self.authority.touch(namespace, touches, announce=announce))
        reach("touch.commit.after")
        await self.forget(namespace, [touch.key for touch in touches])
        return touched

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """One batch of a deletion."""
        after = await self.guard.call(
            "delete_prefix",
            lambda: self.authority.delete_prefix(namespace, prefix, limit=limit, request=request, progress=progress),
        )
        reach("delete_prefix.batch.after")
        if after.tombstones:
            self.news.committed()
            await self._apply(namespace, after.tombstones)
        return after

    async def sweep(self, order: SweepOrder) -> Swept:
        """One batch of cleaning. Also finds out whether the authority answers when nobody asks for anything."""
        swept = await self.guard.call("sweep", lambda: self.authority.sweep(order))
        reach("sweep.commit.after")
        if swept.expired:
            self.news.committed()
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
        return await self.guard.call("changes", lambda: self.authority.changes(after=after, limit=limit))

    async def cache_generation(self, identity: str) -> int:
        """The generation of the cache called `identity`, by the authority."""
        return await self.guard.call("cache_generation", lambda: self.authority.cache_generation(identity))
