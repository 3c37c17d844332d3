"""The second way by which a cache hears of commits: the change rows. For writers that died, or whose cache was away.

A repairer tells the cache only that a version exists: older copies, placeholders and cached misses go, the next reader
loads the new state under a lease. It therefore never needs to read what it tells, and can't bring anything back.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from sidecar.core.cache import CacheUnavailable
from sidecar.core.entry import Tombstone
from sidecar.core.errors import StoreUnavailable
from sidecar.core.store import ChangeKind, ChangeRow
from sidecar.tiers.placement import Placement

CHANGES_PER_ROUND = 1_000

T = TypeVar("T")


class Repairer:
    """Follows the change rows of a placement's authority into its cache."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        # From the oldest change that is kept: the writer that died before telling the cache may have been our own pod's.
        self._cursor = 0
        self._begun = False

    async def check_generation(self) -> None:
        """Forget everything cached if the cache may have gone back in time. Raises what the authority raises, and
        StoreUnavailable while the cache is away.
        """
        cache = self._placement.cache
        identity = await self._heard(cache.backend.identity())
        cache.generation = await self._placement.authority.cache_generation(identity)

    async def round(self) -> bool:
        """Tell the cache the next changes; whether there may be more. Raises as `check_generation`, and tells them again
        then: a change that the cache did not hear is not passed over.
        """
        authority, cache = self._placement.authority, self._placement.cache
        page = await authority.changes(after=self._cursor, limit=CHANGES_PER_ROUND)
        if page.gap and self._begun:
            # Changes that nobody can tell any more: every copy may be stale, so none is believed.
            cache.generation = await authority.cache_generation(f"gap before change {page.cursor}")
            await self.check_generation()
        now = authority.now()
        by_namespace: dict[str, list[ChangeRow]] = {}
        for change in page.changes:
            by_namespace.setdefault(change.namespace, []).append(change)
        for namespace, changes in by_namespace.items():
            told = [
                Tombstone(namespace=namespace, key=change.key, version=change.version, delete_time=now)
                for change in changes
            ]
            await self._heard(cache.backend.apply(namespace, told, generation=cache.generation))
            if touched := [change.key for change in changes if change.kind is ChangeKind.TOUCH]:
                await self._heard(cache.backend.invalidate(namespace, touched))
        self._cursor, self._begun = page.cursor, True
        return len(page.changes) == CHANGES_PER_ROUND

    async def _heard(self, told: Awaitable[T]) -> T:
        try:
            return await told
        except CacheUnavailable as exc:
            self._placement.cache.stats.failed(exc)
            raise StoreUnavailable(f"the cache did not hear: {exc}") from exc
