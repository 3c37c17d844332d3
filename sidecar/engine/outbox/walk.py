"""The walk through the messages that wait: from key to key, page by page, and at the end again from the beginning.

Nobody keeps a place beyond the walk: a message that was delivered has no row any more, and one that was committed behind
the walk is met when it comes round. The walk stands between two keys, never within the rows of one: so what it meets of a
key begins with the first message that was not delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss
from sidecar.core.ledger import MESSAGES, SEPARATOR
from sidecar.core.outbox import messages_of
from sidecar.core.store import Page
from sidecar.tiers.ledger import Ledger

PAGE = 100
APPROACH = 4
"""Where a key is ahead that has many rows and is passed by, a page has so many more than were before it the last time; and
twice as many with each page that does not reach it.
"""
MANY = 8
MANY_KEYS_MAX = 1_000
"""Keys with many rows that are remembered; the others cost a page each."""
AFTER_ALL = "~"
"""Greater than every character of what follows in a row's key."""


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of one key, in order. `cut`: more may follow; `broken`: why they can't be read."""

    namespace: str
    order: str
    rows: Sequence[Entry]
    cut: bool = False
    broken: str = ""


def of_order(namespace: str, order: str) -> str:
    """The prefix of a key's messages."""
    return f"{messages_of(namespace)}{order}/"


def place_of(row: str) -> tuple[str, str]:
    """The namespace and the order of a message's row."""
    namespace, _, rest = row.removeprefix(MESSAGES).partition(SEPARATOR)
    return namespace, rest.partition("/")[0]


class Walk:
    """A place in the messages under some prefixes of the ledger. `passes_by` says of which keys it need not read all."""

    def __init__(self, ledger: Ledger, prefixes: Sequence[str], passes_by: Callable[[str, str], bool]) -> None:
        self.under_way = False
        self._passes_by = passes_by
        self._ledger = ledger
        self._snapshots = ledger.authority.capabilities.snapshots
        self._prefixes = prefixes
        self._index = 0
        self._after: str | None = None
        self._limit = 0
        self._rows = 0
        """Read since the latest key with many rows."""
        self._large: list[tuple[str, int]] = []
        """Prefixes of keys with many rows that the latest walk has passed by, in order, and how many rows were before."""
        self._passed: list[tuple[str, int]] = []
        """Those of this one."""

    def begin(self) -> None:
        """Go from the beginning, unless it is under way."""
        if not self.under_way:
            self.under_way = bool(self._prefixes)
            self._index, self._after = 0, None
            self._large, self._passed = sorted(self._passed), []
            self._rows = self._limit = 0

    async def step(self, *, keys_only: bool = False) -> list[Run]:
        """The keys of a page, each with what is seen of it. Raises what the authority raises."""
        prefix = self._prefixes[self._index]
        try:
            page = await self._page(prefix, self._after, limit=self._next_limit(prefix), keys_only=keys_only)
        except DataLoss:
            return await self._broken(prefix)
        runs = self._advance(_runs(page), more=page.more)
        self._remember(runs)
        return runs

    async def order(self, namespace: str, order: str, *, after: str | None = None) -> Run:
        """The first messages of a key, or those after a row of it."""
        try:
            page = await self._page(of_order(namespace, order), after, limit=PAGE, keys_only=False)
        except DataLoss as exc:
            return Run(namespace, order, (), broken=exc.message)
        return Run(namespace, order, page.entries, cut=page.more)

    def leave_lane(self, namespace: str, order: str) -> None:
        """Go on behind the lane of an order, if that is where we are."""
        self._go_behind(messages_of(namespace, order[0]))

    def leave_namespace(self, namespace: str) -> None:
        """Go on behind a namespace, if that is where we are."""
        self._go_behind(messages_of(namespace))

    def _go_behind(self, prefix: str) -> None:
        if self._after is not None and self._after.startswith(prefix):
            self._after = prefix + AFTER_ALL

    def _advance(self, runs: list[Run], *, more: bool) -> list[Run]:
        if not more:
            self._index, self._after = self._index + 1, None
            self.under_way = self._index < len(self._prefixes)
            return runs
        if not runs:
            return []  # all of it is newer than what was seen before: it is read again
        last = runs[-1]
        if len(runs) > 1 and not self._passes_by(last.namespace, last.order):
            runs.pop()  # some of it may be on the next page, which begins with it
        else:
            runs[-1] = replace(last, cut=True)
        self._after = of_order(runs[-1].namespace, runs[-1].order) + AFTER_ALL
        return runs

    def _next_limit(self, prefix: str) -> int:
        """Of a page: small where much of it would be of a key that is passed by."""
        place = max(self._after or prefix, prefix)
        while self._large and self._large[0][0] < place:
            del self._large[0]
            self._limit = 0
        if not self._large:
            return PAGE
        self._limit = min(2 * self._limit or self._large[0][1] * 5 // 4 + APPROACH, PAGE)
        return self._limit

    def _remember(self, runs: Sequence[Run]) -> None:
        for run in runs:
            large = run.cut or len(run.rows) >= MANY
            if large and len(self._passed) < MANY_KEYS_MAX and self._passes_by(run.namespace, run.order):
                self._passed.append((of_order(run.namespace, run.order), self._rows))
                self._rows = 0
            else:
                self._rows += len(run.rows)

    async def _page(self, prefix: str, after: str | None, *, limit: int, keys_only: bool) -> Page:
        if self._snapshots or keys_only:
            return await self._ledger.scan(prefix, after=after, limit=limit, keys_only=keys_only)
        # A page of this store shows no one moment: a message may be seen whose elder came behind the reading. What was
        # seen before the second reading began has no elder that is unseen by it.
        seen = await self._ledger.scan(prefix, after=after, limit=limit, keys_only=True)
        newest: dict[tuple[str, str], str] = {}
        for row in seen.entries:
            newest[place_of(row.key)] = row.key
        page = await self._ledger.scan(prefix, after=after, limit=limit)
        kept = tuple(row for row in page.entries if row.key <= newest.get(place_of(row.key), ""))
        return Page(entries=kept, more=page.more or seen.more)

    async def _broken(self, prefix: str) -> list[Run]:
        """A page with a row that does not verify: its keys one by one."""
        try:
            page = await self._ledger.scan(prefix, after=self._after, limit=PAGE, keys_only=True)
        except DataLoss:
            # Not even its name can be read: what is behind it waits until the store is mended.
            self.under_way = False
            raise
        return [await self.order(run.namespace, run.order) for run in self._advance(_runs(page), more=page.more)]


def _runs(page: Page) -> list[Run]:
    return [Run(*place, tuple(rows)) for place, rows in groupby(page.entries, key=lambda row: place_of(row.key))]
