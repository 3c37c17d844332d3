"""Get, BatchGet, List. A miss is an answer; an outage is never told as a miss, nor a miss as an outage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sidecar.core import paging
from sidecar.core.entry import epoch_of
from sidecar.core.errors import FailedPrecondition, InvalidRequest, SidecarError, StoreUnavailable
from sidecar.core.expiry import needs_touch
from sidecar.core.limits import Limits, check_keys, check_page_size, check_prefix, check_version
from sidecar.core.modes import ServingMode, Tier
from sidecar.engine.buffering import Buffer
from sidecar.engine.followups import FillCache, Followup, Rehydrate, RepairCache, TouchEntry
from sidecar.engine.namespaces import Namespace, Namespaces
from sidecar.engine.replay import Replay
from sidecar.engine.replies import Listed, Read
from sidecar.engine.schemas.views import Views
from sidecar.tiers.placement import Placement
from sidecar.tiers.reading import Early, Found, Lookup
from sidecar.tiers.shown import size_of

NOTHING = Lookup(None, Tier.NONE, stale_possible=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a reader wants: each key at least as new as its floor, by the deadline."""

    keys: Sequence[str]
    floors: Sequence[int]
    strong: bool
    deadline: float | None
    bytes_max: int
    early: Early | None = None

    def only(self, indexes: Sequence[int]) -> _Asked:
        """These of the keys."""
        keys, floors = [self.keys[at] for at in indexes], [self.floors[at] for at in indexes]
        return replace(self, keys=keys, floors=floors, early=None)


class Reads:
    """The reading side of the engine."""

    def __init__(
        self,
        namespaces: Namespaces,
        limits: Limits,
        buffer: Buffer | None = None,
        replay: Replay | None = None,
        *,
        views: Views,
    ) -> None:
        self._namespaces = namespaces
        self._limits = limits
        self._buffer = buffer
        self._replay = replay
        self._views = views

    async def get(
        self,
        namespace: str,
        keys: Sequence[str],
        *,
        floors: Sequence[int],
        strong: bool,
        deadline: float | None,
        max_schema_version: int = 0,
        early: Early | None = None,
    ) -> Read:
        """Read keys, each from the hottest tier that has a copy of at least its floor; `strong` from the authority.

        Values are brought to `max_schema_version`, or an older schema; 0: to the newest that is known.
        `early` may be told some answers before the others are there.

        Raises InvalidRequest, FailedPrecondition (EPOCH_CHANGED, SCHEMA_TOO_NEW, SCHEMA_STEP_FAILED), StoreUnavailable,
        DataLoss, DeadlineExceeded.
        """
        space = self._namespaces.of(namespace)
        if not 0 < len(keys) <= self._limits.batch_keys_max:
            raise InvalidRequest(
                f"{len(keys)} keys, 1 to {self._limits.batch_keys_max} are allowed",
                reason="TOO_MANY_KEYS",
                field="keys",
            )
        check_keys(keys, self._limits)
        floored = any(floors)
        if floored:
            check_version(min(floors), field="min_version")
        placement = space.placement
        if placement is None:
            if strong or not space.passes_through:
                space.authority()
            return Read((NOTHING,) * len(keys))
        if space.schemas is not None or max_schema_version:
            early = None  # its value may have to be another
        asked = _Asked(
            keys, floors, strong=strong, deadline=deadline, bytes_max=self._limits.message_bytes_max, early=early
        )
        if space.buffers and self._buffer is not None:
            found = await self._found_beside(self._buffer, space, placement, asked)
        else:
            found = await _found(space, placement, asked)
        if floored:
            _check_epochs(found.lookups, floors)
        read = self._read(space, placement, found, keys)
        if space.schemas is None and not max_schema_version:
            return read
        try:
            lookups = await self._views.lookups(space, read.lookups, max_schema_version)
        except SidecarError:
            await placement.cache.release(space.name, {fill.key: fill.lease for fill in found.fills})
            raise
        return Read(lookups, (*read.followups, *self._views.owed(space, placement, read.lookups)))

    async def _found_beside(self, buffer: Buffer, space: Namespace, placement: Placement, asked: _Asked) -> Found:
        """As `_found`, with the writes that wait in the journal: a strong reader has them settled first."""
        if buffer.pending.holds(space.name) and asked.strong and self._replay is not None:
            await self._replay.drained(space.name, asked.keys)
        if asked.strong or not buffer.pending.holds(space.name):
            found = await _found(space, placement, asked)
            buffer.learn([lookup.copy for lookup in found.lookups if lookup.copy is not None])
            return found
        now = placement.authority.now()
        seen = [buffer.see(space.name, key, now) for key in asked.keys]
        rest = [index for index, lookup in enumerate(seen) if lookup is None]
        found = await _found(space, placement, asked.only(rest)) if rest else Found([])
        others = iter(found.lookups)
        lookups = [next(others) if lookup is None else lookup for lookup in seen]
        return Found(lookups, fills=found.fills, repairs=found.repairs, woken=found.woken)

    def _read(self, space: Namespace, placement: Placement, found: Found, keys: Sequence[str]) -> Read:
        followups: list[Followup] = []
        if found.fills:
            followups.append(FillCache(placement, space.name, found.fills))
        if found.repairs:
            followups.append(RepairCache(placement, space.name, found.repairs))
        followups += [Rehydrate(placement, entry) for entry in found.woken]
        lookups = tuple(found.lookups)
        if space.policy.sliding:
            now = placement.authority.now()
            for lookup, key in zip(lookups, keys, strict=True):
                if lookup.entry is not None and needs_touch(lookup.entry, now):
                    followups.append(TouchEntry(placement, space.name, key))
        return Read(lookups, tuple(followups))

    async def list(
        self,
        namespace: str,
        prefix: str,
        *,
        page_size: int,
        page_token: str,
        keys_only: bool,
        deadline: float | None,
        max_schema_version: int = 0,
    ) -> Listed:
        """A page of entries in key order, from the authority: a listing that misses what it can't see would be a lie.

        Schemas as in `get`; entries without their values are told in the schema that they are stored in.
        """
        space = self._namespaces.of(namespace)
        check_prefix(prefix, self._limits)
        check_page_size(page_size, self._limits)
        after = paging.after_key(page_token, namespace, prefix) if page_token else None
        placement, bytes_max = space.authority(), self._limits.page_bytes_max
        page = await placement.scan(
            namespace,
            prefix,
            after=after,
            limit=page_size or self._limits.page_size_default,
            bytes_max=bytes_max,
            keys_only=keys_only,
            deadline=deadline,
        )
        rows = page.entries if keys_only else tuple(paging.fitting(page.entries, size_of, bytes_max))
        more = page.more or len(rows) < len(page.entries)
        token = paging.page_token(namespace, prefix, rows[-1].key) if more else ""
        entries = rows if keys_only else await placement.resolve(namespace, rows)
        if not keys_only and (space.schemas is not None or max_schema_version):
            shown = [await self._views.shown(space, entry, max_schema_version) for entry in entries]
            entries = tuple(paging.fitting(shown, size_of, bytes_max))
            if len(entries) < len(shown):  # in another schema they take more room
                token = paging.page_token(namespace, prefix, entries[-1].key)
        return Listed(entries=entries, next_page_token=token, mode=ServingMode.NORMAL)


async def _found(space: Namespace, placement: Placement, asked: _Asked) -> Found:
    try:
        if asked.strong:
            return await placement.get_strong(
                space.name, asked.keys, deadline=asked.deadline, bytes_max=asked.bytes_max
            )
        return await placement.get(
            space.name,
            asked.keys,
            asked.floors,
            deadline=asked.deadline,
            partial=space.passes_through,
            bytes_max=asked.bytes_max,
            early=asked.early,
        )
    except StoreUnavailable:
        if asked.strong or not space.passes_through:
            raise
        return await placement.get_cached(space.name, asked.keys, asked.floors, bytes_max=asked.bytes_max)


def _check_epochs(lookups: Sequence[Lookup], floors: Sequence[int]) -> None:
    epoch = epoch_of(max(floors))
    if all(copy is None or epoch_of(copy.version) >= epoch for copy, _, _ in lookups):
        return
    for lookup, floor in zip(lookups, floors, strict=True):
        if lookup.copy is not None and epoch_of(lookup.copy.version) < epoch_of(floor):
            raise FailedPrecondition(
                "min_version is of a newer epoch than the store's: the store has gone back in time, forget the version",
                reason="EPOCH_CHANGED",
                metadata={"min_version": str(floor), "current_version": str(lookup.copy.version)},
            )
