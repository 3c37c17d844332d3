"""MemoryJournal: the same promises without a disk, for the simulation and tests, with crashes that lose what they may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from sidecar.core.errors import SidecarError
from sidecar.core.journal import Buffered, Buffering, DeadWrite, Settlement
from sidecar.stores.journal.contents import Contents
from sidecar.stores.journal.errors import not_open
from sidecar.stores.journal.records import Record, Removed, Written, apply


class MemoryJournal:
    """A journal on a disk that is only imagined.

    `sync` is awaited where files would be made durable: it may let others run, or raise StoreUnavailable, and then
    nothing is kept. `crashed` is what another process would find after this one died now. Needs no event loop.
    """

    def __init__(self, *, bytes_max: int, sync: Callable[[], Awaitable[None]] | None = None) -> None:
        self._bytes_max = bytes_max
        self._sync = sync
        self._durable: dict[int, Written] = {}
        self._tail: dict[int, Record] = {}
        """Records that a crash may still lose, by their place."""
        self._place = 0
        self._next_sequence = 1
        self._contents = Contents({}, 1)
        self._is_open = False

    @property
    def bytes_held(self) -> int:
        """What pending and dead writes take."""
        return self._contents.bytes_held

    def pending(self) -> Sequence[Buffered]:
        """Writes that are not settled, in their order."""
        return self._contents.pending()

    def dead(self) -> Sequence[DeadWrite]:
        """Writes that were settled as dead and not removed, oldest settlement first."""
        return self._contents.dead()

    def crashed(self, *, kept: int = 0) -> MemoryJournal:
        """A journal, not open, with what is durable now and the first `kept` of the records that may still be lost."""
        other = MemoryJournal(bytes_max=self._bytes_max, sync=self._sync)
        other._durable = dict(self._durable)
        for record in islice(self._tail.values(), kept):
            apply(other._durable, record)
        other._next_sequence = self._contents.next_sequence if self._is_open else self._next_sequence
        return other

    async def open(self) -> None:
        """Find what was left."""
        if not self._is_open:
            self._contents = Contents(self._durable, self._next_sequence)
            self._is_open = True

    async def append(self, write: Buffering) -> Buffered:
        """Keep a write; durable when this returns. Raises LimitExceeded (JOURNAL_FULL), and what `sync` raises."""
        self._check_open()
        contents = self._contents
        written = contents.admit(write, bytes_max=self._bytes_max)
        try:
            await self._make_durable(written)
        except SidecarError:
            contents.refused(written)
            raise
        except BaseException:
            # The caller has gone; the write is under way all the same.
            contents.kept(written)
            raise
        return contents.kept(written)

    async def settle(self, sequence: int, settlement: Settlement) -> None:
        """A pending write was applied or merged. A crash may forget this. Raises ValueError if it isn't pending."""
        self._check_open()
        self._add(self._contents.settle(sequence, settlement))

    async def bury(self, sequence: int, *, reason: str, message: str, now: int) -> None:
        """A pending write is dead; durable when this returns. Raises ValueError if it isn't pending."""
        self._check_open()
        contents = self._contents
        record = contents.dig(sequence, reason=reason, message=message, now=now)
        try:
            await self._make_durable(record)
        except SidecarError:
            contents.not_buried(record)
            raise
        except BaseException:
            contents.buried(record)
            raise
        contents.buried(record)

    async def remove(self, sequence: int) -> None:
        """Forget a dead write; durable when this returns. Without effect on one that is none."""
        self._check_open()
        if self._contents.is_dead(sequence):
            await self._make_durable(Removed(sequence=sequence))
            self._contents.remove(sequence)

    async def close(self) -> None:
        """Let go. Idempotent; what was kept is found by the next `open`."""
        if self._is_open:
            self._is_open = False
            self._next_sequence = self._contents.next_sequence
            self._flush(self._place)

    def _check_open(self) -> None:
        if not self._is_open:
            raise not_open()

    def _add(self, record: Record) -> int:
        self._place += 1
        self._tail[self._place] = record
        return self._place

    async def _make_durable(self, record: Record) -> None:
        place = self._add(record)
        try:
            if self._sync is not None:
                await self._sync()
        except SidecarError:
            # Unless somebody else's has made it durable in the meantime.
            if self._tail.pop(place, None) is not None:
                raise
        self._flush(place)

    def _flush(self, place: int) -> None:
        """What was written up to a place is durable."""
        for found in [each for each in self._tail if each <= place]:
            apply(self._durable, self._tail.pop(found))
