"""Deliberately wrong protocols, made of production by one change each. A simulation that misses one proves nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sidecar.core.cache import Fill, Hit
from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import OutcomeUnknown, StoreUnavailable, VersionConflict
from sidecar.core.modes import Durability, ServingMode, Tier
from sidecar.core.operations import Put, Write
from sidecar.core.store import ChangePage, Outcome, Touch, Touched
from sidecar.engine.engine import Engine
from sidecar.engine.replies import Read, Written
from sidecar.stores.memory import MemoryCache, MemoryStore
from sidecar.stores.memory.cache import _Held, _size
from sidecar.tiers.cached import Leases
from sidecar.tiers.near import Near
from sidecar.tiers.placement import Placement
from sidecar.tiers.reading import Found, Lookup
from sidecar.tiers.repair import Repairer
from tests.sim.sidecars import Variant


class _Creating(MemoryCache):
    """A writer creates: where there is nothing, its copy is stored."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        await super().apply(namespace, copies, generation=generation)
        for copy in copies:
            at = (namespace, copy.key)
            if isinstance(copy, Entry) and at not in self._slots:
                self._store(at, _Held(Hit(copy), generation, copy.expire_time, _size(at, copy)))


class _UnguardedFill(MemoryCache):
    """A fill is stored whatever became of its placeholder."""

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        for fill in fills:
            at = (namespace, fill.key)
            end = fill.copy.expire_time if isinstance(fill.copy, Entry) else now + self._negative_ms
            self._store(at, _Held(Hit(fill.copy), generation, end, _size(at, fill.copy)))
        return len(fills)


class _VersionGuardedFill(_UnguardedFill):
    """A fill is stored unless a newer copy is there: the guard that most caches have, without a lease."""

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        older = [fill for fill in fills if not self._newer(namespace, fill)]
        return await super().fill(namespace, older, generation=generation, now=now)

    def _newer(self, namespace: str, fill: Fill) -> bool:
        slot = self._slots.get((namespace, fill.key))
        held = slot.hit.copy if isinstance(slot, _Held) else None
        return held is not None and held.version > (0 if fill.copy is None else fill.copy.version)


class _TimelessCache(MemoryCache):
    """Copies do not end with their entries."""

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        stored = await super().fill(namespace, fills, generation=generation, now=now)
        for fill in fills:
            slot = self._slots.get((namespace, fill.key))
            if isinstance(slot, _Held):
                slot.expire_time = None
        return stored


class _Silent(Placement):
    """No apply after the commit: all is left to the repairer."""

    async def _tell(self, namespace: str, copies: Sequence[Copy], leases: Leases) -> None:
        await self.cache.release(namespace, leases)


class _Floorless(Placement):
    """The caller's floor is ignored."""

    async def get(self, namespace: str, keys: Sequence[str], floors: Sequence[int], **options: Any) -> Found:
        return await super().get(namespace, keys, [0] * len(floors), **options)


class _CarelessFlights(Placement):
    """Whoever joins a read under way believes what it found, whatever the floor."""

    def __init__(self, authority: Any, **options: Any) -> None:
        super().__init__(authority, **options)
        through, load = self._through, self._through._load

        async def careless(namespace: str, missing: Any, floors: Sequence[int], *rest: Any) -> Any:
            joined = {miss.index for miss in missing if miss.flight is not None}
            lowered = [0 if index in joined else floor for index, floor in enumerate(floors)]
            return await load(namespace, missing, lowered, *rest)

        through.__dict__["_load"] = careless


class _LyingConflicts(Placement):
    """An unknown outcome is told as a conflict, as clients of key-value stores often do."""

    async def commit(self, write: Write) -> Outcome:
        try:
            return await super().commit(write)
        except OutcomeUnknown as exc:
            raise VersionConflict(key=write.operations[0].key, expected_version=0, current_version=0) from exc


class _LyingUnavailable(Placement):
    """An unknown outcome is told as UNAVAILABLE: nothing was written."""

    async def commit(self, write: Write) -> Outcome:
        try:
            return await super().commit(write)
        except OutcomeUnknown as exc:
            raise StoreUnavailable("the reply was lost") from exc


class _QuietTouch(Placement):
    """A touch moves the end in the authority only."""

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        return await self.authority.touch(namespace, touches, announce=False)


class _CachingDiscards(Placement):
    """What could not be written is at least put into the cache."""

    async def commit(self, write: Write) -> Outcome:
        try:
            return await super().commit(write)
        except StoreUnavailable:
            now = self.authority.now()
            for operation in write.operations:
                if isinstance(operation, Put):
                    lease = (await self.cache.lease(write.namespace, [operation.key], now=now)).get(operation.key, "")
                    entry = Entry(
                        namespace=write.namespace,
                        key=operation.key,
                        value=operation.value,
                        version=now * 64,
                        create_time=now,
                        update_time=now,
                    )
                    await self.cache.fill(write.namespace, [Fill(operation.key, entry, lease)], now=now)
            raise


class _Hesitant(Repairer):
    """Tells no changes; the cache hears of commits only from those who made them."""

    async def _tell(self, page: ChangePage) -> None:
        pass


class _Skipping(Repairer):
    """Goes on to the next changes, though the cache did not hear of these."""

    async def _tell(self, page: ChangePage) -> None:
        with suppress(StoreUnavailable):
            await super()._tell(page)


class _ForgottenCursor(Repairer):
    """Who takes over the turn begins at the newest change."""

    _ours = False

    async def _turn(self, *, young_above: int | None = None) -> int | None:
        cursor = await super()._turn(young_above=young_above)
        taken, self._ours = cursor is not None and not self._ours, cursor is not None
        return (await self._placement.changes(after=None, limit=1)).cursor if taken else cursor


class _Forgiving(Placement):
    """A retry that wrote nothing is told, though an attempt before it may have written."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        attempt = self.guard._attempt

        async def lying(name: str, operation: Callable[[], Awaitable[Any]], began_s: float) -> Any:
            try:
                return await attempt(name, operation, began_s)
            except OutcomeUnknown as exc:
                raise StoreUnavailable("it did not answer") from exc

        self.guard._attempt = lying  # type: ignore[method-assign]  # the mutation


class _Trusting(Repairer):
    """The cache is believed whatever happened to it: no generations."""

    async def _turn(self, *, young_above: int | None = None) -> int | None:
        generation = self._cache.generation or 1
        backend = self._cache.backend
        turn = await self._heard(
            "claim_repair", lambda: backend.claim_repair(self._owner, generation=generation, begin=0, now=0)
        )
        self._cache.generation = generation
        return None if turn is None else turn.cursor

    async def _new_generation(self) -> int:
        newest = await self._placement.changes(after=None, limit=1)
        await self._cache.backend.renew_repair(self._owner, generation=self._generation, cursor=newest.cursor, now=0)
        return self._generation


class _Credulous(Near):
    """The channel is trusted though nothing was heard on it for long."""

    @property
    def trusted(self) -> bool:
        return True

    def broke(self) -> None:
        pass


class _Secretive(Near):
    """Changes are not announced."""

    def changed(self, namespace: str, keys: Sequence[str]) -> None:
        self.forget(namespace, keys)


class _Nearsighted(Near):
    """The caller's floor is ignored."""

    def look_up(
        self, namespace: str, keys: Sequence[str], floors: Sequence[int], *, now: int, counted: bool = True
    ) -> list[Entry | None]:
        return super().look_up(namespace, keys, [0] * len(keys), now=now, counted=counted)


class _Forgetful(MemoryStore):
    """Versions begin anew with each life of a key."""

    async def commit(self, write: Write) -> Outcome:
        fresh = all(self._rows.get(write.namespace, {}).get(operation.key) is None for operation in write.operations)
        if fresh:
            self._sequence = 0
        return await super().commit(write)


def _acknowledges(engine: Engine) -> Engine:
    """A discarded write is acknowledged as if it had been committed."""
    write = engine.writes.write

    async def lying(*arguments: Any, **options: Any) -> Written:
        written = await write(*arguments, **options)
        if written.durability is Durability.DISCARDED:
            return replace(written, durability=Durability.COMMITTED, mode=ServingMode.NORMAL, version=1)
        return written

    engine.writes.write = lying  # type: ignore[method-assign]  # the mutation
    return engine


def _outage_as_miss(engine: Engine) -> Engine:
    """An outage is told as a miss: "no such session"."""
    get = engine.reads.get

    async def lying(*arguments: Any, **options: Any) -> Read:
        try:
            read = await get(*arguments, **options)
        except StoreUnavailable:
            read = Read(tuple(_miss() for _ in arguments[1]))
        lookups = tuple(_miss() if found.mode is ServingMode.PASSTHROUGH else found for found in read.lookups)
        return replace(read, lookups=lookups)

    engine.reads.get = lying  # type: ignore[method-assign]  # the mutation
    return engine


def _miss() -> Lookup:
    return Lookup(None, Tier.WARM)


MUTANTS: dict[str, Variant] = {
    "a writer creates cache entries": Variant(cache=_Creating),
    "fills are unguarded": Variant(cache=_UnguardedFill),
    "fills are guarded by version, without lease": Variant(cache=_VersionGuardedFill),
    "generations are ignored": Variant(repairer=_Trusting),
    "copies outlive their entries": Variant(cache=_TimelessCache),
    "no apply after commit, and no repairer": Variant(placement=_Silent, repairer=_Hesitant),
    "no repairer, and writers die": Variant(repairer=_Hesitant),
    "the repairer skips what the cache did not hear": Variant(repairer=_Skipping),
    "a turn that is taken over begins at the newest change": Variant(repairer=_ForgottenCursor),
    "the near tier trusts a channel that is silent": Variant(near=_Credulous),
    "changes are not announced to near tiers": Variant(near=_Secretive),
    "the near tier ignores floors": Variant(near=_Nearsighted),
    "floors are ignored": Variant(placement=_Floorless),
    "joined reads skip the floor": Variant(placement=_CarelessFlights),
    "unknown is told as conflict": Variant(placement=_LyingConflicts),
    "unknown is told as unavailable": Variant(placement=_LyingUnavailable),
    "an unknown attempt is forgotten over its retry": Variant(placement=_Forgiving),
    "a touch does not invalidate": Variant(placement=_QuietTouch),
    "discarded writes are cached": Variant(placement=_CachingDiscards),
    "discarded writes are acknowledged": Variant(engine=_acknowledges),
    "an outage is told as a miss": Variant(engine=_outage_as_miss),
    "retries drop the request id": Variant(keep_request_id=False),
    "versions restart with a key's life": Variant(store=_Forgetful),
}
