"""Stores that count wrongly what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sidecar.core.entry import Copy, Entry
from sidecar.core.observed import Census, Held
from sidecar.core.store import SweepOrder, Swept
from sidecar.stores.memory import MemoryStore


class CountsWhatEnded(MemoryStore):
    """What is not swept yet is still there."""

    def _ended(self, now: int) -> Iterator[Entry]:
        return super()._ended(now if self._sweeping else 0)

    _sweeping = False

    async def sweep(self, order: SweepOrder) -> Swept:
        self._sweeping = True
        try:
            return await super().sweep(order)
        finally:
            self._sweeping = False


class CountsTombstones(MemoryStore):
    """A row is a row."""

    async def census(self) -> Census:
        held = {name: Held(len(rows), 0) for name, rows in self._rows.items() if rows}
        census = await super().census()
        return replace(census, held={name: census.held.get(name, one) for name, one in held.items()})


class CountsOverwrittenTwice(MemoryStore):
    """What was replaced is not taken off."""

    def _put(self, copy: Copy) -> None:
        before = self._namespace(copy.namespace).get(copy.key)
        super()._put(copy)
        self._tally.replace(None, before)


class CountsKeysByCharacters(MemoryStore):
    """Not by what they take."""

    async def census(self) -> Census:
        census = await super().census()
        longer = {
            name: sum(len(key.encode()) - len(key) for key, copy in rows.items() if isinstance(copy, Entry))
            for name, rows in self._rows.items()
        }
        return replace(
            census, held={name: Held(one.entries, one.bytes - longer[name]) for name, one in census.held.items()}
        )


class CountsNothingAway(MemoryStore):
    """A value in cold is not told."""

    async def census(self) -> Census:
        return replace(await super().census(), away={})
