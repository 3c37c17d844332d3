"""Wrong caches: `MemoryCache` with one rule of the lease protocol broken each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sidecar.core.cache import Fill, Hit, Miss
from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.stores.memory import MemoryCache
from tests.support.clock import START_MS


class FillUnguarded(MemoryCache):
    """Whoever has read puts it there: 88 to 95 stale of 2,600 in the measurement that this protocol comes from."""

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        held = [await self._forced(namespace, fill, generation, now) for fill in fills]
        return sum(held)

    async def _forced(self, namespace: str, fill: Fill, generation: int, now: int) -> int:
        await self.invalidate(namespace, [fill.key])
        (answer,) = await self.get(namespace, [fill.key], generation=generation, now=now)
        assert isinstance(answer, Miss)
        return await super().fill(namespace, [replace(fill, lease=answer.lease or "")], generation=generation, now=now)


class FillGuardedByVersionOnly(FillUnguarded):
    """A fill lands unless something newer is held: 27 stale of 9,708, since what was evicted guards nothing."""

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        stored = 0
        for fill in fills:
            slot: Any = self._slots.get((namespace, fill.key))
            held = slot.hit.copy if hasattr(slot, "hit") else None
            version = 0 if fill.copy is None else fill.copy.version
            if held is None or held.version < version:
                stored += await self._forced(namespace, fill, generation, now)
        return stored


class FillUnderAnyLease(FillUnguarded):
    """There is a placeholder, whosever it is."""

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        own = [
            replace(fill, lease=getattr(self._slots.get((namespace, fill.key)), "lease", fill.lease)) for fill in fills
        ]
        return await MemoryCache.fill(self, namespace, own, generation=generation, now=now)


class LeaseOfAnyGeneration(MemoryCache):
    """A placeholder that a rollback brought back still lets its reader fill."""

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        for fill in fills:
            slot: Any = self._slots.get((namespace, fill.key))
            if hasattr(slot, "lease"):
                slot.generation = generation
        return await super().fill(namespace, fills, generation=generation, now=now)


class FillAfterItsDeadline(MemoryCache):
    """A fill does not look at the time."""

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        return await super().fill(namespace, fills, generation=generation, now=START_MS)


class LeaseWithoutDeadline(MemoryCache):
    """A reader that died keeps its key out of the cache for ever."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"lease_ms": 1 << 50})


class LeaseForEveryAsker(MemoryCache):
    """Each miss takes the place of the lease before: nobody waits, and all load."""

    def _get(self, at: tuple[str, str], generation: int, now: int) -> Hit | Miss:
        answer = super()._get(at, generation, now)
        if answer == Miss(None):
            self._drop(at)
            return super()._get(at, generation, now)
        return answer


class NoLeaseAtAll(MemoryCache):
    """Nobody may fill."""

    def _get(self, at: tuple[str, str], generation: int, now: int) -> Hit | Miss:
        answer = super()._get(at, generation, now)
        return Miss(None) if isinstance(answer, Miss) else answer


class WriterCreates(MemoryCache):
    """A writer leaves what it wrote where there was nothing: 6 stale of 7,906."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        for copy in copies:
            if (namespace, copy.key) not in self._slots and isinstance(copy, Entry):
                answer = self._get((namespace, copy.key), generation, START_MS)
                assert isinstance(answer, Miss)
                await self.fill(
                    namespace, [Fill(copy.key, copy, answer.lease or "")], generation=generation, now=START_MS
                )
        await super().apply(namespace, copies, generation=generation)


class WriterFillsALease(MemoryCache):
    """A writer takes the place of a reader's placeholder."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        for copy in copies:
            lease = getattr(self._slots.get((namespace, copy.key)), "lease", None)
            if lease and isinstance(copy, Entry):
                await self.fill(namespace, [Fill(copy.key, copy, lease)], generation=generation, now=START_MS)
        await super().apply(namespace, copies, generation=generation)


class WriterLeavesPlaceholders(MemoryCache):
    """A write does not break the leases that are out."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        rest = [copy for copy in copies if not hasattr(self._slots.get((namespace, copy.key)), "lease")]
        await super().apply(namespace, rest, generation=generation)


class WriterLeavesCachedMisses(MemoryCache):
    """A key that was created stays absent for those who read the cache."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        slots: dict[Any, Any] = dict(self._slots)
        rest = [copy for copy in copies if getattr(slots.get((namespace, copy.key)), "hit", 0) != Hit(None)]
        await super().apply(namespace, rest, generation=generation)


class OlderReplacesNewer(MemoryCache):
    """The last to tell wins."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        for copy in copies:
            slot: Any = self._slots.get((namespace, copy.key))
            if hasattr(slot, "hit") and isinstance(slot.hit.copy, Entry):
                slot.hit = Hit(slot.hit.copy._replace(version=0))
        await super().apply(namespace, copies, generation=generation)


class TombstonesNotTold(MemoryCache):
    """A deletion leaves the copies where they are."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        rest = [copy for copy in copies if not isinstance(copy, Tombstone)]
        await super().apply(namespace, rest, generation=generation)


class OldTombstoneDeletes(MemoryCache):
    """A deletion that is told late takes the entry that was created since."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        await self.invalidate(namespace, [copy.key for copy in copies if isinstance(copy, Tombstone)])
        await super().apply(namespace, copies, generation=generation)


class GenerationIgnored(MemoryCache):
    """What a cache held before it lost its memory is as good as ever."""

    async def get(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[Hit | Miss]:
        return await super().get(namespace, keys, generation=1, now=now)

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        return await super().fill(namespace, fills, generation=1, now=now)


class ApplyKeepsOtherGenerations(MemoryCache):
    """What is told does not touch copies of another generation."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        rest = [
            copy
            for copy in copies
            if getattr(self._slots.get((namespace, copy.key)), "generation", generation) == generation
        ]
        await super().apply(namespace, rest, generation=generation)


class ExpiredIsAHit(MemoryCache):
    """A copy is served until the backend gets round to removing it."""

    async def get(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[Hit | Miss]:
        return await super().get(namespace, keys, generation=generation, now=START_MS)


class EndOfOldValueKept(MemoryCache):
    """A replaced value keeps the expiry of the one before, as with a second command for it."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        ends = {at: getattr(slot, "expire_time", None) for at, slot in self._slots.items()}
        await super().apply(namespace, copies, generation=generation)
        for copy in copies:
            slot: Any = self._slots.get((namespace, copy.key))
            if hasattr(slot, "expire_time") and ends[namespace, copy.key] is not None:
                slot.expire_time = ends[namespace, copy.key]


class InvalidationKeepsLeases(MemoryCache):
    """Only copies are forgotten."""

    async def invalidate(self, namespace: str, keys: Sequence[str]) -> None:
        await super().invalidate(
            namespace, [key for key in keys if not hasattr(self._slots.get((namespace, key)), "lease")]
        )


class ReleaseOfAnyLease(MemoryCache):
    """Whoever gives back a lease frees the key."""

    async def release(self, namespace: str, leases: Sequence[tuple[str, str]]) -> None:
        await self.invalidate(namespace, [key for key, _ in leases])


class ReleaseDoesNothing(MemoryCache):
    """A lease that won't be used blocks the next reader until its deadline."""

    async def release(self, namespace: str, leases: Sequence[tuple[str, str]]) -> None:
        return


class Unbounded(MemoryCache):
    """It grows as it likes."""

    def __init__(self, *, bytes_max: int, **options: Any) -> None:
        super().__init__(bytes_max=bytes_max << 20, **options)


class PlaceholdersAreFree(MemoryCache):
    """Only values count."""

    def _store(self, at: tuple[str, str], slot: Any) -> None:
        super()._store(at, slot)
        if hasattr(slot, "lease"):
            self.bytes_held -= 700

    def _drop(self, at: tuple[str, str]) -> None:
        if hasattr(self._slots.get(at), "lease"):
            self.bytes_held += 700
        super()._drop(at)


class FirstInFirstOut(MemoryCache):
    """What is used all the time goes first."""

    def _get(self, at: tuple[str, str], generation: int, now: int) -> Hit | Miss:
        order = list(self._slots)
        answer = super()._get(at, generation, now)
        if isinstance(answer, Hit):
            for other in order[order.index(at) + 1 :]:
                self._slots.move_to_end(other)
        return answer


class NamespacesShared(MemoryCache):
    """Keys are cached without their namespace."""

    def _get(self, at: tuple[str, str], generation: int, now: int) -> Hit | Miss:
        return super()._get(("contract", at[1]), generation, now)


class MissCachedForEver(MemoryCache):
    """A cached miss has no end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"negative_ms": 1 << 50})
