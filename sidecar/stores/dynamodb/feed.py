"""The changes in the order of their sequences, none told late.

A transaction may land after one with a higher sequence. So nothing is told beyond a sequence whose item is missing, until
it is there, or is fenced: by the writer who did not use it, or by a reader who waited for it `GAP_S` long. What is fenced
can't land any more (its writer draws another sequence), so a reader who passes over it misses nothing.

A cursor is a place: the sequence to read next, and how many rows of its item were told.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sidecar.core.entry import version_of
from sidecar.core.errors import SidecarError, store_corrupt
from sidecar.core.ports import Clock
from sidecar.core.store import ChangePage, ChangeRow
from sidecar.stores.dynamodb.client import RETRIES_MAX, Client, pause
from sidecar.stores.dynamodb.errors import CallFailed
from sidecar.stores.dynamodb.items import At, Item, Names, at, key_of
from sidecar.stores.dynamodb.loading import KEYS_MAX, load
from sidecar.stores.dynamodb.sequence import Block
from sidecar.stores.dynamodb.table import Meta, Table
from sidecar.stores.dynamodb.transactions import ACTIONS_MAX, Transactions, rows_of

GAP_S = 5.0
"""How long a missing sequence is waited for: longer than a writer takes to settle what it drew."""
LOOKBACK = 4_096
"""Sequences before the newest that may still be missing; a transaction is not that far behind others."""
WALK_MAX = 10_000
"""Sequences that one call looks at, most of them holes."""
DELETIONS_MAX = 25
"""Of a BatchWriteItem."""
_EPOCH_SHIFT, _ROW_BITS = 55, 7
_ROW_MASK = (1 << _ROW_BITS) - 1


@dataclass(frozen=True, slots=True)
class _Place:
    sequence: int
    told: int = 0

    def cursor(self, epoch: int) -> int:
        return epoch << _EPOCH_SHIFT | self.sequence << _ROW_BITS | self.told


class Feed:
    """Reads the change items, and forgets old ones."""

    def __init__(self, client: Client, names: Names, clock: Clock, table: Table, transactions: Transactions) -> None:
        self._client = client
        self._names = names
        self._clock = clock
        self._table = table
        self._transactions = transactions
        self._settled = _Place(0)
        """Every sequence before it is there, or fenced."""
        self._missing: dict[int, float] = {}
        """Since when sequences are waited for."""

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        """Rows after a cursor. Raises SidecarError."""
        meta = await self._table.meta()
        if after is None:
            settled = await self._settle(meta, fencing=False)
            newest = _Place(meta.sequence + 1).cursor(meta.epoch)
            return ChangePage(changes=(), cursor=settled.cursor(meta.epoch), ahead=newest)
        place = _Place((after & (1 << _EPOCH_SHIFT) - 1) >> _ROW_BITS, after & _ROW_MASK)
        gap = not (after >> _EPOCH_SHIFT == meta.epoch and meta.change_floor < place.sequence <= meta.sequence + 1)
        if gap:
            place = _Place(meta.change_floor + 1)
        rows: list[ChangeRow] = []
        cursors: list[int] = []
        async for sequence, found in self._items(place.sequence, min(meta.sequence, place.sequence + WALK_MAX)):
            item = found or await self._overdue(sequence)
            if item is None:
                break
            fresh = _rows(item)[place.told :]
            taken = fresh[: limit - len(rows)]
            rows += taken
            told = [_Place(sequence, place.told + count + 1) for count in range(len(taken))]
            if len(taken) == len(fresh) and told:
                told[-1] = _Place(_after(item, sequence))
            cursors += [one.cursor(meta.epoch) for one in told]
            if len(taken) < len(fresh):
                place = _Place(sequence, place.told + len(taken))
                break
            place = _Place(_after(item, sequence))
            if len(rows) == limit:
                break
        return ChangePage(changes=tuple(rows), cursor=place.cursor(meta.epoch), gap=gap, cursors=tuple(cursors))

    async def horizon(self) -> int:
        """The version up to which nothing can land any more. Raises SidecarError."""
        meta = await self._table.meta()
        await self._settle(meta, fencing=True)
        return version_of(meta.epoch, meta.sequence) if meta.sequence else 0

    async def forget(self, until: int, limit: int) -> int:
        """Delete at most `limit` change items from before an instant, oldest first; how many. Raises SidecarError."""
        meta = await self._table.meta()
        doomed: list[Item] = []
        floor = meta.swept
        async for sequence, found in self._items(meta.swept + 1, min(meta.sequence, meta.swept + WALK_MAX)):
            if len(doomed) == limit:
                break
            if sequence <= meta.change_floor and found is None:
                floor = sequence  # what a sweep that ended half-way has deleted
                continue
            item = found or await self._overdue(sequence)
            if item is None or (sequence > meta.change_floor and int(item["t"]["N"]) > until):
                break
            doomed.append(key_of(item))
            floor = _after(item, sequence) - 1
        if floor == meta.swept:
            return 0
        # The floor first: a reader must hear of a gap rather than wait for what was deleted.
        await self._table.change("SET change_floor = :floor", "change_floor < :floor", floor=floor)
        batches = [doomed[begin : begin + DELETIONS_MAX] for begin in range(0, len(doomed), DELETIONS_MAX)]
        await asyncio.gather(*[self._delete(batch) for batch in batches])
        await self._table.change("SET swept = :floor", "swept < :floor", floor=floor)
        return len(doomed)

    async def void(self, block: Block) -> None:
        """Tell readers that a block won't be used, as far as that can be done."""
        try:
            await self._transactions.fence(block)
        except (CallFailed, SidecarError):
            return  # they find out by themselves, later

    async def _settle(self, meta: Meta, *, fencing: bool) -> _Place:
        """The first place whose sequence is missing; with `fencing`, none is left."""
        begin = max(self._settled.sequence, meta.change_floor + 1, meta.sequence - LOOKBACK)
        # Only a beginning in the middle may be within an item's block: then its first sequences are not missing.
        within = begin + ACTIONS_MAX if begin == meta.sequence - LOOKBACK else 0
        place = _Place(begin)
        async for sequence, found in self._items(begin, meta.sequence):
            item = found
            if item is None and sequence >= within and fencing:
                item = await self._fence(sequence)
            if item is not None:
                place, within = _Place(_after(item, sequence)), 0
            elif sequence >= within:
                break
        if place.sequence > self._settled.sequence:
            self._settled = place
        return place

    def _items(self, begin: int, end: int) -> _Walk:
        return _Walk(self._client, self._names, begin, end)

    async def _overdue(self, sequence: int) -> Item | None:
        """What is under a missing sequence once it was waited for; None: not yet."""
        now = self._clock.monotonic()
        if len(self._missing) > LOOKBACK:
            self._missing.clear()
        if now - self._missing.setdefault(sequence, now) < GAP_S:
            return None
        del self._missing[sequence]
        return await self._fence(sequence)

    async def _fence(self, sequence: int) -> Item:
        block = Block(epoch=0, first=sequence, count=1)
        try:
            found = await self._transactions.fence(block)
        except CallFailed as failed:
            raise failed.error from failed
        return found or {"c": {"S": "[]"}, "n": {"N": "1"}, "t": {"N": str(self._clock.now())}}

    async def _delete(self, keys: list[Item]) -> None:
        left = {self._client.target.table: [{"DeleteRequest": {"Key": key}} for key in keys]}
        for attempt in range(RETRIES_MAX):
            left = (await self._client.ask("batch_write_item", RequestItems=left)).get("UnprocessedItems", {})
            if not left:
                return
            await pause(attempt)


class _Walk:
    """Sequences from `begin` to `end` with their items, None where one is missing; block by block."""

    def __init__(self, client: Client, names: Names, begin: int, end: int) -> None:
        self._client = client
        self._names = names
        self._next = begin
        self._end = end
        self._loaded_to = begin - 1
        self._loaded: dict[At, Item] = {}

    def __aiter__(self) -> _Walk:
        return self

    async def __anext__(self) -> tuple[int, Item | None]:
        if self._next > self._end:
            raise StopAsyncIteration
        if self._next > self._loaded_to:
            self._loaded_to = min(self._next + KEYS_MAX - 1, self._end)
            keys = [self._names.change(number) for number in range(self._next, self._loaded_to + 1)]
            self._loaded = await load(self._client, keys, values=True)
        sequence = self._next
        item = self._loaded.get(at(self._names.change(sequence)))
        self._next = sequence + 1 if item is None else _after(item, sequence)
        return sequence, item


def _after(item: Item, sequence: int) -> int:
    """The sequence that follows an item's block."""
    try:
        return sequence + int(item["n"]["N"])
    except (KeyError, ValueError) as exc:
        raise store_corrupt("a change item is not in a known form") from exc


def _rows(item: Item) -> list[ChangeRow]:
    try:
        return rows_of(item)
    except (KeyError, ValueError, TypeError) as exc:
        raise store_corrupt("a change item is not in a known form") from exc
