"""The second way by which a cache hears of commits: the change rows. For writers that died, or whose cache was away.

A repairer tells the cache only that a version exists: older copies, placeholders and cached misses go, the next reader
loads the new state under a lease. It therefore never needs to read what it tells, and can't bring anything back.
"""

from __future__ import annotations

from sidecar.core.entry import Tombstone
from sidecar.core.store import ChangeKind, ChangeRow
from sidecar.tiers.placement import Placement

CHANGES_PER_ROUND = 1_000


class Repairer:
    """Follows the change rows of a placement's authority into its cache."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        # From the oldest change that is kept: the writer that died before telling the cache may have been our own pod's.
        self._cursor = 0
        self._begun = False

    async def check_generation(self) -> None:
        """Forget everything cached if the cache may have gone back in time. Raises what the authority raises."""
        cache = self._placement.cache
        cache.generation = await self._placement.authority.cache_generation(await cache.backend.identity())

    async def round(self) -> bool:
        """Tell the cache the next changes; whether there may be more. Raises what the authority raises."""
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
            await cache.apply(
                namespace,
                [
                    Tombstone(namespace=namespace, key=change.key, version=change.version, delete_time=now)
                    for change in changes
                ],
            )
            if touched := [change.key for change in changes if change.kind is ChangeKind.TOUCH]:
                await cache.invalidate(namespace, touched)
        self._cursor, self._begun = page.cursor, True
        return len(page.changes) == CHANGES_PER_ROUND
