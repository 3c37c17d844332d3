"""Wrong feeds and watchers, each with the validators that have to notice. A validator that notices none proves little."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from typing_extensions import override

from sidecar.core.entry import Entry
from sidecar.core.store import ChangePage, ChangeRow
from sidecar.engine.watching import Feed, Told, Watch, watching
from sidecar.engine.watching.feed import Place
from sidecar.engine.watching.scope import Tokens
from sidecar.engine.watching.snapshot import Snapshot
from sidecar.tiers.placement import Placement
from tests.watch.runs import RING_ROWS


class DropsOnOverflow(Feed):
    """Who is behind the ring goes on with its oldest row."""

    @override
    async def after(self, place: Place) -> ChangePage:
        if self._begin is not None and place.ring == self._ring:
            place.cursor = max(place.cursor, self._begin)
        return await super().after(place)


class TellsTwice(Feed):
    """Goes on with the row that was told last."""

    @override
    async def after(self, place: Place) -> ChangePage:
        page = await super().after(place)
        first = bisect_left(self._cursors, place.cursor)
        if page.changes or first >= len(self._cursors) or self._cursors[first] != place.cursor:
            return page
        place.cursor = self._cursors[first] - 1
        return await super().after(place)


class OrderedByVersion(Feed):
    """Takes what has a lower version than what was told before for old, as a poll of `version > last` does."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement, ring_rows=RING_ROWS)
        self._highest = 0

    @override
    def _append(self, page: ChangePage) -> None:
        kept = []
        for change, cursor in zip(page.changes, page.cursors, strict=True):
            if change.version >= self._highest:
                self._highest = change.version
                kept.append((change, cursor))
        changes, cursors = zip(*kept, strict=True) if kept else ((), ())
        super()._append(ChangePage(changes=changes, cursor=page.cursor, cursors=cursors))


class ForgetsWhatIsUnderWay(Feed):
    """Goes on after the last change that was committed, though one before it can't be told yet."""

    @override
    async def advance(self) -> bool:
        more = await super().advance()
        if self._begin is not None:
            head = await self.newest()
            self._end = head.cursor if head.ahead is None else head.ahead
        return more


class ResumesOneTooLate(Watch):
    """An event comes with the token of the next."""

    @override
    async def _told(self, chosen: Sequence[tuple[ChangeRow, int]]) -> Sequence[Told]:
        told = await super()._told(chosen)
        return [one._replace(token=told[min(at + 1, len(told) - 1)].token) for at, one in enumerate(told)]


class ResumesOneTooEarly(Tokens):
    """A token of the change before."""

    @override
    def encode(self, cursor: int, shown: Sequence[int] = ()) -> str:
        return super().encode(cursor - 1, shown)


class ForgetsWhatWasShown(Tokens):
    """A resumed watcher is told again what its snapshot showed."""

    @override
    def encode(self, cursor: int, shown: Sequence[int] = ()) -> str:
        return super().encode(cursor)


class TellsWhatWasShown(Snapshot):
    """Tells the changes during the scan, whether it showed them or not."""

    @override
    async def shown(self) -> tuple[int, ...]:
        return ()


class BeginsAfterTheScan(Snapshot):
    """Takes the cursor when the scan is over: what changed behind it is lost."""

    @override
    async def page(self) -> tuple[Entry, ...] | None:
        entries = await super().page()
        self.cursor = (await self._feed.newest()).cursor
        return entries


class TrustsTheNewest(Snapshot):
    """Thinks that all that the scan can have seen can be told already."""

    @override
    async def shown(self) -> tuple[int, ...]:
        shown = await super().shown()
        page = await self._feed.stored(self.cursor)
        limit = page.cursors[len(page.cursors) // 2] if page.cursors else 0
        return tuple(cursor for cursor in shown if cursor < limit)


class BookmarksTheEnd(Watch):
    """A bookmark of where the feed is, not the watcher."""

    @override
    async def next(self) -> Sequence[Told]:
        told = await super().next()
        if told and told[-1].kind is not None and self._snapshot is None:
            return [*told, Told(self._tokens.encode(max(self._feed._end, self._place.cursor)))]
        return told


class CutsTransactions(Watch):
    """Only the first key of a transaction."""

    @override
    async def _told(self, chosen: Sequence[tuple[ChangeRow, int]]) -> Sequence[Told]:
        told = await super()._told(chosen)
        return [one for at, one in enumerate(told) if not at or one.version != told[at - 1].version] or told


class ValuesOfNow(Watch):
    """The key's value now, under the version of the change."""

    @override
    def _put(self, token: str, key: str, version: int, entry: Entry | None) -> Told:
        return super()._put(token, key, version, entry and entry._replace(version=version))


@dataclass(frozen=True)
class Planted:
    """A defect: what stands in for what, and who has to notice."""

    wrong: type
    caught_by: frozenset[str]

    def plant(self, patch: pytest.MonkeyPatch) -> type[Feed]:
        """Put it in its place; the feed that is to be used."""
        for base in (Tokens, Snapshot, Watch):
            if issubclass(self.wrong, base):
                patch.setattr(watching, base.__name__, self.wrong)
        return self.wrong if issubclass(self.wrong, Feed) else Feed


PLANTED = [
    Planted(DropsOnOverflow, frozenset({"reliable"})),
    Planted(TellsTwice, frozenset({"unique"})),
    Planted(OrderedByVersion, frozenset({"reliable"})),
    Planted(ForgetsWhatIsUnderWay, frozenset({"reliable"})),
    Planted(ResumesOneTooLate, frozenset({"reliable", "resumable"})),
    Planted(ResumesOneTooEarly, frozenset({"unique", "resumable"})),
    Planted(ForgetsWhatWasShown, frozenset({"unique", "resumable"})),
    Planted(TellsWhatWasShown, frozenset({"unique"})),
    Planted(BeginsAfterTheScan, frozenset({"reliable"})),
    Planted(TrustsTheNewest, frozenset({"unique"})),
    Planted(BookmarksTheEnd, frozenset({"bookmarkable"})),
    Planted(CutsTransactions, frozenset({"atomic"})),
    Planted(ValuesOfNow, frozenset({"exact"})),
]
