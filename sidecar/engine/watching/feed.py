"""The change rows of one authority, read once for all who watch it.

One reader (`advance`, called by whoever owns tasks) keeps the newest rows in a ring while there are watchers. A watcher
has a place, which is a cursor, and asks for what follows: from the ring, or, if it is behind that, from the store. Nothing
is queued for it, so a slow watcher costs nobody anything.

A ring is begun anew when nobody was watching, and when the store can't tell some changes any more. Whoever is not known
to be on the ring as it is now asks the store first, which knows whether anything is missing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

from sidecar.core.errors import OutOfRange, SidecarError
from sidecar.core.ports import Signal
from sidecar.core.store import ChangePage, ChangeRow
from sidecar.tiers.placement import Placement

RING_ROWS = 10_000
READ_ROWS = 1_000
"""Rows of one read."""


@dataclass(slots=True)
class Place:
    """Where a watcher is: it was told everything up to `cursor`. `ring`: the one it is known to be on; 0: none."""

    cursor: int
    ring: int = 0


class Feed:
    """What `watchers` follow. `moved` happens when there may be more, or something is wrong; then there is a new one."""

    def __init__(self, placement: Placement, *, ring_rows: int = RING_ROWS) -> None:
        self.placement = placement
        self.watchers = 0
        self.wanted: Callable[[], None] = lambda: None
        """Called when the first watcher has come."""
        self.moved: Signal = placement.ports.signal()
        self._ring_rows = ring_rows
        self._ring = 1
        self._begin: int | None = None
        """The cursor before the ring's first row; None: there is no ring."""
        self._end = 0
        self._rows: list[ChangeRow] = []
        self._cursors: list[int] = []
        self._failure: SidecarError | None = None

    def enter(self) -> None:
        """One watcher more. Whoever entered must leave."""
        self.watchers += 1
        if self.watchers == 1:
            self._failure = None
            self.wanted()

    def leave(self) -> None:
        """One watcher less."""
        self.watchers -= 1
        if not self.watchers:
            self._drop_ring()

    async def newest(self) -> ChangePage:
        """No changes, but the cursor of now: what is committed from now on comes after it."""
        return await self.placement.changes(after=None, limit=1)

    async def after(self, place: Place) -> ChangePage:
        """The next changes after a place; none: wait for `moved` as it was before the call.

        Raises OutOfRange if some are not known any more, and what the authority raises.
        """
        if place.ring == self._ring and self._begin is not None and place.cursor >= self._begin:
            if self._failure is not None:
                raise copy(self._failure) from self._failure
            first = bisect_right(self._cursors, place.cursor)
            cursors = tuple(self._cursors[first : first + READ_ROWS])
            rows = tuple(self._rows[first : first + READ_ROWS])
            # A cursor of now may be ahead of what the reader has read.
            end = max(self._end, place.cursor) if first + READ_ROWS >= len(self._cursors) else cursors[-1]
            return ChangePage(changes=rows, cursor=end, cursors=cursors)
        ring = self._ring
        page = await self.stored(place.cursor)
        place.ring = ring
        return page

    async def stored(self, cursor: int) -> ChangePage:
        """The next changes after a cursor, from the store. Raises as `after` does."""
        page = await self.placement.changes(after=cursor, limit=READ_ROWS)
        if page.gap:
            raise out_of_range()
        return page

    # ---- for the reader

    async def advance(self) -> bool:
        """Read what comes next into the ring; whether there may be more. Its errors are those of all watchers, too."""
        ring, begin, end = self._ring, self._begin, self._end
        try:
            page = await (self.newest() if begin is None else self.placement.changes(after=end, limit=READ_ROWS))
        except SidecarError as exc:
            self.fail(exc)
            raise
        if ring != self._ring or not self.watchers:
            return bool(self.watchers)  # the ring was dropped meanwhile
        failed, self._failure = self._failure is not None, None
        if begin is None:
            self._begin = self._end = page.cursor
        elif page.gap:
            self._drop_ring()
        else:
            self._append(page)
        if failed or page.gap or page.cursor != end:
            self._wake()
        return begin is None or page.gap or len(page.changes) == READ_ROWS

    def fail(self, error: SidecarError) -> None:
        """The ring can't go on: whoever is at its end hears of it."""
        self._failure = error
        self._wake()

    def _append(self, page: ChangePage) -> None:
        self._rows += page.changes
        self._cursors += page.cursors
        self._end = page.cursor
        if len(self._rows) > 2 * self._ring_rows:  # seldom, because it moves all that is kept
            surplus = len(self._rows) - self._ring_rows
            self._begin = self._cursors[surplus - 1]
            del self._rows[:surplus], self._cursors[:surplus]

    def _drop_ring(self) -> None:
        self._ring += 1
        self._begin = None
        self._rows.clear()
        self._cursors.clear()

    def _wake(self) -> None:
        moved, self.moved = self.moved, self.placement.ports.signal()
        moved.set()


def out_of_range() -> OutOfRange:
    """The error of a place after which some changes are forgotten."""
    return OutOfRange(
        "changes after this token are not known any more: watch again with a snapshot, and without the token"
    )
