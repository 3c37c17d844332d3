"""A store whose changes become known later than they are committed, and in another order than that of their versions.

As those of a database do that several daemons write to: a change takes its place when its transaction ends, and is not
told while an earlier one may still come. Each key's changes are in the order of its versions.
"""

from __future__ import annotations

import random
from collections import deque

from typing_extensions import override

from sidecar.core.entry import Copy
from sidecar.core.store import ChangeKind, ChangePage, ChangeRow
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock


class ShuffledStore(MemoryStore):
    """Changes wait in a tail of at most `tail_max`, and take their places there by chance."""

    def __init__(self, clock: ManualClock, chance: random.Random, *, tail_max: int = 12) -> None:
        super().__init__(clock=clock)
        self._chance = chance
        self._tail: deque[ChangeRow] = deque()
        self._tail_max = tail_max
        self._placed = 0
        """Of the tail, how many have their places for good, because somebody was told how far they reach."""

    @override
    def _announce(self, copy: Copy, kind: ChangeKind) -> None:
        row = ChangeRow(namespace=copy.namespace, key=copy.key, version=copy.version, kind=kind)
        own = max((at + 1 for at, other in enumerate(self._tail) if other.key == row.key), default=0)
        self._tail.insert(self._chance.randint(max(own, self._placed), len(self._tail)), row)
        while len(self._tail) > self._tail_max or (self._tail and self._chance.random() < 0.3):
            self._tell()

    def settle(self) -> None:
        """Whatever was committed can be told."""
        while self._tail:
            self._tell()

    def _tell(self) -> None:
        self._change_count += 1
        self._changes.append(self._tail.popleft())
        self._placed = max(self._placed - 1, 0)

    @override
    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        page = await super().changes(after=after, limit=limit)
        if after is not None:
            return page
        if self._tail and self._chance.random() < 0.5:
            self._tell()  # transactions end, also while nobody writes
        self._placed = len(self._tail)
        return ChangePage(changes=(), cursor=page.cursor, ahead=self._change_count + self._placed)
