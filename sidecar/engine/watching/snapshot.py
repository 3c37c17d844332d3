"""What is there when a watcher begins, in key order, and which later changes it has thereby been told of.

The entries are read page by page while others write, so a page may show a change that was committed after the scan began.
Such a change is not to be told again. Only an entry that was changed lately can be one, so of those the versions are
remembered; and once every change that the scan can have seen can be read, each that it has shown is noted by its cursor.
"""

from __future__ import annotations

from sidecar.core import paging
from sidecar.core.entry import Entry, live
from sidecar.core.errors import LimitExceeded, StoreUnavailable
from sidecar.engine.watching.feed import Feed
from sidecar.engine.watching.scope import Scope
from sidecar.tiers.shown import size_of

PAGE_ENTRIES, PAGE_KEYS = 100, 1_000
PAGE_BYTES = 1 << 20
LATELY_MS = 60_000
"""A commit takes less than this from the moment of its `update_time` until it can be seen."""
REMEMBERED_MAX = 500_000
"""Versions that all snapshots under way remember together; each takes some hundred bytes."""
SETTLING_S = 15.0
SETTLING_PAUSE_S = 0.05


class Memory:
    """How many versions may be remembered, by all snapshots of a daemon together."""

    def __init__(self, versions_max: int = REMEMBERED_MAX) -> None:
        self.left = versions_max

    def take(self, count: int) -> None:
        """Room for some more. Raises LimitExceeded."""
        if count > self.left:
            raise LimitExceeded(
                "too many keys were changed within the last minute to take a snapshot of them now; watch fewer at once",
                retry_after_s=LATELY_MS / 1000,
            )
        self.left -= count


class Snapshot:
    """One snapshot of a scope. Begin it, ask for pages until None, then for the changes that it has shown."""

    def __init__(self, feed: Feed, scope: Scope, memory: Memory, *, values: bool) -> None:
        self._feed = feed
        self._placement = feed.placement
        self._scope = scope
        self._memory = memory
        self._values = values
        self._after: str | None = None
        self._ended = False
        self._lately = 0
        self._versions: dict[str, int] = {}
        self.cursor = 0
        """What follows it and was not shown is to be told."""

    async def begin(self) -> None:
        """Note where the changes are now."""
        self._lately = self._placement.authority.now() - LATELY_MS
        self.cursor = (await self._feed.newest()).cursor

    async def page(self) -> tuple[Entry, ...] | None:
        """The next entries, with their values if those were asked for; None: that was all."""
        if self._ended:
            return None
        entries = await (self._scan() if self._scope.key is None else self._get(self._scope.key))
        fresh = [entry for entry in entries if entry.update_time >= self._lately]
        self._memory.take(len(fresh))
        self._versions.update((entry.key, entry.version) for entry in fresh)
        return entries

    async def _get(self, key: str) -> tuple[Entry, ...]:
        self._ended = True
        [copy] = await self._placement.rows(self._scope.namespace, [key])
        entry = live(copy, self._placement.authority.now())
        return () if entry is None else await self._resolved((entry,))

    async def _scan(self) -> tuple[Entry, ...]:
        page = await self._placement.scan(
            self._scope.namespace,
            self._scope.prefix,
            after=self._after,
            limit=PAGE_ENTRIES if self._values else PAGE_KEYS,
            bytes_max=PAGE_BYTES,
            keys_only=not self._values,
            deadline=None,
        )
        rows = tuple(paging.fitting(page.entries, size_of, PAGE_BYTES)) if self._values else page.entries
        self._ended = not page.more and len(rows) == len(page.entries)
        if rows:
            self._after = rows[-1].key
        return await self._resolved(rows)

    async def _resolved(self, rows: tuple[Entry, ...]) -> tuple[Entry, ...]:
        return await self._placement.resolve(self._scope.namespace, rows) if self._values else rows

    async def shown(self) -> tuple[int, ...]:
        """The cursors, rising, of the changes after `cursor` that the entries were the result of, or newer than.

        Raises OutOfRange if the scan took longer than changes are kept.
        """
        head = await self._feed.newest()
        # Whatever the scan saw was committed by now; some of it may not be told yet, because of what is under way.
        ahead = head.cursor if head.ahead is None else head.ahead
        end_s = self._placement.ports.clock.monotonic() + SETTLING_S
        shown: list[int] = []
        at, settled = self.cursor, head.cursor >= ahead
        while at < ahead:
            settled = settled or (await self._feed.newest()).cursor >= ahead
            page = await self._feed.stored(at)
            for change, cursor in zip(page.changes, page.cursors, strict=True):
                if self._scope.tells(change) and self._versions.get(change.key, 0) >= change.version:
                    shown.append(cursor)
            if page.cursor == at:
                if settled:
                    break
                if self._placement.ports.clock.monotonic() > end_s:
                    raise StoreUnavailable("a commit that began before the snapshot's end has not come to its own")
                await self._placement.ports.sleep(SETTLING_PAUSE_S)
            at = page.cursor
        return tuple(shown)

    def close(self) -> None:
        """Forget what was remembered."""
        self._memory.left += len(self._versions)
        self._versions.clear()
