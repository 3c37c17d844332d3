"""Get, BatchGet, List. A miss is an answer; an outage is never told as a miss, nor a miss as an outage."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core import paging
from sidecar.core.entry import epoch_of
from sidecar.core.errors import FailedPrecondition, InvalidRequest, StoreUnavailable
from sidecar.core.expiry import needs_touch
from sidecar.core.limits import Limits, check_keys, check_prefix, check_version
from sidecar.core.modes import ServingMode, Tier
from sidecar.engine.followups import FillCache, Followup, RepairCache, TouchEntry
from sidecar.engine.namespaces import Namespace, Namespaces
from sidecar.engine.replies import Listed, Read
from sidecar.tiers.placement import Placement
from sidecar.tiers.reading import Found, Lookup

NOTHING = Lookup(None, Tier.NONE, stale_possible=True)


class Reads:
    """The reading side of the engine."""

    def __init__(self, namespaces: Namespaces, limits: Limits) -> None:
        self._namespaces = namespaces
        self._limits = limits

    async def get(
        self, namespace: str, keys: Sequence[str], *, floors: Sequence[int], strong: bool, deadline: float | None
    ) -> Read:
        """Read keys, each from the hottest tier that has a copy of at least its floor; `strong` from the authority.

        Raises InvalidRequest, FailedPrecondition (EPOCH_CHANGED), StoreUnavailable, DataLoss, DeadlineExceeded.
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
        try:
            if strong:
                found = await placement.get_strong(namespace, keys, deadline=deadline)
            else:
                found = await placement.get(namespace, keys, floors, deadline=deadline)
        except StoreUnavailable:
            if strong or not space.passes_through:
                raise
            found = await placement.get_cached(namespace, keys, floors)
        if floored:
            _check_epochs(found.lookups, floors)
        return self._read(space, placement, found, keys)

    def _read(self, space: Namespace, placement: Placement, found: Found, keys: Sequence[str]) -> Read:
        followups: list[Followup] = []
        if found.fills:
            followups.append(FillCache(placement, space.name, found.fills))
        if found.repairs:
            followups.append(RepairCache(placement, space.name, found.repairs))
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
    ) -> Listed:
        """A page of entries in key order, from the authority: a listing that misses what it can't see would be a lie."""
        space = self._namespaces.of(namespace)
        check_prefix(prefix, self._limits)
        if not 0 <= page_size <= self._limits.page_size_max:
            raise InvalidRequest(
                f"page_size {page_size} is not 0 (the default) to {self._limits.page_size_max}",
                reason="PAGE_SIZE_INVALID",
                field="page_size",
            )
        after = paging.after_key(page_token, namespace, prefix) if page_token else None
        page = await space.authority().scan(
            namespace,
            prefix,
            after=after,
            limit=page_size or self._limits.page_size_default,
            bytes_max=self._limits.page_bytes_max,
            keys_only=keys_only,
            deadline=deadline,
        )
        token = paging.page_token(namespace, prefix, page.entries[-1].key) if page.more else ""
        return Listed(entries=page.entries, next_page_token=token, mode=ServingMode.NORMAL)


def _check_epochs(lookups: Sequence[Lookup], floors: Sequence[int]) -> None:
    for lookup, floor in zip(lookups, floors, strict=True):
        if lookup.copy is not None and epoch_of(lookup.copy.version) < epoch_of(floor):
            raise FailedPrecondition(
                "min_version is of a newer epoch than the store's: the store has gone back in time, forget the version",
                reason="EPOCH_CHANGED",
                metadata={"min_version": str(floor), "current_version": str(lookup.copy.version)},
            )
