"""One watcher: what it is told next, and the token after each response.

It pulls: whoever writes to the caller asks for the `next` responses, writes them, and waits for `more` when there are none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import NamedTuple

from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss
from sidecar.core.ports import Clock
from sidecar.core.store import ChangeKind, ChangeRow
from sidecar.engine.watching.feed import Feed, Place
from sidecar.engine.watching.scope import Scope, Tokens
from sidecar.engine.watching.snapshot import Snapshot
from sidecar.tiers.shown import size_of

EVENTS_MAX = 100
"""Events that are worked out before they are written."""
VALUES_BYTES = 1 << 20
"""Values of those, together, but at least one."""
BOOKMARK_S = 0.9
"""After so long without a response a bookmark is due, so that one comes at least each second."""


Show = Callable[[Entry], Awaitable[Entry]]


class Told(NamedTuple):
    """One response. `kind` None: a bookmark. `entry`: only with the value; else `key` and `version` are all there is."""

    token: str
    kind: ChangeKind | None = None
    key: str = ""
    version: int = 0
    entry: Entry | None = None
    superseded: bool = False
    complete: bool = False


class Watch:
    """Follows a scope from a place. Close it."""

    def __init__(
        self,
        feed: Feed,
        scope: Scope,
        tokens: Tokens,
        *,
        cursor: int,
        shown: tuple[int, ...] = (),
        snapshot: Snapshot | None = None,
        values: bool,
        show: Show | None = None,
    ) -> None:
        """`show` brings a value to the watcher's schema; None: as it is."""
        self._feed = feed
        self._scope = scope
        self._tokens = tokens
        self._place = Place(cursor)
        self._snapshot = snapshot
        self._values = values
        self._show = show
        self._at_once = EVENTS_MAX if not values else 1
        self._moved = feed.moved
        self._clock: Clock = feed.placement.ports.clock
        self._told_s = float("-inf")
        self._note_shown(shown)

    @property
    def idle_s(self) -> float:
        """In how many seconds a bookmark is due."""
        return max(self._told_s + BOOKMARK_S - self._clock.monotonic(), 0.0)

    async def next(self) -> Sequence[Told]:
        """The next responses, in order; none: ask again when there is `more`, or a bookmark is due.

        Raises OutOfRange, DataLoss, FailedPrecondition (SCHEMA_TOO_NEW, SCHEMA_STEP_FAILED), and what the authority raises.
        """
        if self._snapshot is not None:
            told = await self._from_snapshot(self._snapshot)
        else:
            told = await self._changes()
        if not told and not self.idle_s:
            told = [Told(self._token())]
        if told:
            self._told_s = self._clock.monotonic()
        return told if self._show is None else [await self._shown_by(self._show, one) for one in told]

    async def _shown_by(self, show: Show, told: Told) -> Told:
        return told if told.entry is None else told._replace(entry=await show(told.entry))

    async def more(self) -> None:
        """Until there may be more than the last `next` has seen."""
        await self._moved.wait()

    def close(self) -> None:
        """It watches no longer."""
        if self._snapshot is not None:
            self._snapshot.close()
        self._feed.leave()

    # ---- a snapshot first

    async def _from_snapshot(self, snapshot: Snapshot) -> Sequence[Told]:
        while (entries := await snapshot.page()) is not None:
            if entries:
                return [self._put("", entry.key, entry.version, entry) for entry in entries]
        self._place = Place(snapshot.cursor)
        self._note_shown(await snapshot.shown())
        snapshot.close()
        self._snapshot = None
        return [Told(self._token(), complete=True)]

    def _note_shown(self, cursors: tuple[int, ...]) -> None:
        self._shown, self._shown_set = cursors, frozenset(cursors)

    # ---- then the changes

    async def _changes(self) -> Sequence[Told]:
        self._moved = self._feed.moved
        page = await self._feed.after(self._place)
        tells, shown = self._scope.tells, self._shown_set
        wanted = (
            (change, cursor)
            for change, cursor in zip(page.changes, page.cursors, strict=True)
            if tells(change) and cursor not in shown
        )
        # One more than can be told: then this page has more, and the place is not at its end yet.
        chosen = list(islice(wanted, self._at_once + 1))
        told = await self._told(chosen[: self._at_once])
        self._place.cursor = page.cursor if len(told) == len(chosen) else chosen[len(told) - 1][1]
        if shown and self._place.cursor >= self._shown[-1]:
            self._note_shown(())
        return told

    async def _told(self, chosen: Sequence[tuple[ChangeRow, int]]) -> Sequence[Told]:
        """All of them; with values as many as fit, at least one."""
        if not self._values or not chosen:
            return [Told(self._token(cursor), change.kind, change.key, change.version) for change, cursor in chosen]
        states = await self._states(chosen)
        told: list[Told] = []
        size = 0
        for change, cursor in chosen:
            token = self._token(cursor)
            if change.kind is not ChangeKind.PUT:
                told.append(Told(token, change.kind, change.key, change.version))
                continue
            if change.key not in states:
                break  # it could not be read together with those before
            entry = states[change.key]
            if entry is not None and entry.version == change.version:
                size += size_of(entry)
                if told and size > VALUES_BYTES:
                    break
                [entry] = await self._feed.placement.resolve(self._scope.namespace, [entry]) or [None]
            told.append(self._put(token, change.key, change.version, entry))
        fitting = VALUES_BYTES * len(told) // size if size else EVENTS_MAX
        self._at_once = max(1, min(EVENTS_MAX, 2 * self._at_once, fitting))
        return told

    async def _states(self, chosen: Sequence[tuple[ChangeRow, int]]) -> dict[str, Entry | None]:
        """What their keys hold now, rows as they are kept. Where one does not verify, only of the first key."""
        keys = list(dict.fromkeys(change.key for change, _ in chosen if change.kind is ChangeKind.PUT))
        if not keys:
            return {}
        try:
            copies = await self._feed.placement.rows(self._scope.namespace, keys)
        except DataLoss:
            if len(keys) == 1:
                raise
            keys = keys[:1]
            copies = await self._feed.placement.rows(self._scope.namespace, keys)
        return {key: copy if isinstance(copy, Entry) else None for key, copy in zip(keys, copies, strict=True)}

    def _put(self, token: str, key: str, version: int, entry: Entry | None) -> Told:
        """A PUT. Without its value, where values were asked for, it is superseded: the key has changed since."""
        if not self._values:
            return Told(token, ChangeKind.PUT, key, version)
        if entry is None or entry.version != version:
            return Told(token, ChangeKind.PUT, key, version, superseded=True)
        return Told(token, ChangeKind.PUT, key, version, entry)

    def _token(self, cursor: int | None = None) -> str:
        return self._tokens.encode(self._place.cursor if cursor is None else cursor, self._shown)
