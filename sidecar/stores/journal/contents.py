"""What a journal holds, in memory: what is pending, what is dead, how many bytes of both, and what is under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter

from sidecar.core.journal import Buffered, Buffering, DeadWrite, Settlement
from sidecar.stores.journal.errors import full
from sidecar.stores.journal.records import Buried, Grave, Settled, Written, apply, encoded_parts


class Contents:
    """The live writes of a journal, and the sequences and graves that come next."""

    def __init__(self, live: Mapping[int, Written], next_sequence: int) -> None:
        self.next_sequence = next_sequence
        self.bytes_held = sum(written.weight for written in live.values())
        self._live = dict(live)
        ordered = [live[sequence] for sequence in sorted(live)]
        graves = sorted([written.grave for written in ordered if written.grave], key=attrgetter("order"))
        self._next_grave = graves[-1].order + 1 if graves else 1
        self._pending = {each.sequence: _buffered(each) for each in ordered if each.grave is None}
        dead = sorted((each.grave.order, each.sequence, each.grave) for each in ordered if each.grave is not None)
        self._dead = {sequence: _dead(live[sequence], grave) for _, sequence, grave in dead}
        self._reserved = 0
        self._burying: set[int] = set()

    def pending(self) -> Sequence[Buffered]:
        """In the order of their sequences."""
        return list(self._pending.values())

    def dead(self) -> Sequence[DeadWrite]:
        """Oldest settlement first."""
        return list(self._dead.values())

    def admit(self, write: Buffering, *, bytes_max: int) -> Written:
        """A place for a write, until it is `kept` or `refused`. Raises LimitExceeded (JOURNAL_FULL), InvalidRequest."""
        written = Written(sequence=self.next_sequence, write=write, parts=encoded_parts(write))
        taken = self.bytes_held + self._reserved
        if taken + written.weight > bytes_max:
            raise full(written.weight, taken, bytes_max)
        self.next_sequence += 1
        self._reserved += written.weight
        return written

    def kept(self, written: Written) -> Buffered:
        """An admitted write is in the journal."""
        self._reserved -= written.weight
        self.bytes_held += written.weight
        self._live[written.sequence] = written
        buffered = self._pending[written.sequence] = _buffered(written)
        return buffered

    def refused(self, written: Written) -> None:
        """An admitted write is not in the journal. Its sequence is not used again."""
        self._reserved -= written.weight

    def settle(self, sequence: int, settlement: Settlement) -> Settled:
        """A pending write is gone. Raises ValueError for one that isn't pending, and for DEAD."""
        if settlement is Settlement.DEAD:
            raise ValueError("a dead write is buried, with its reason")
        self._check_pending(sequence)
        del self._pending[sequence]
        self.bytes_held -= self._live.pop(sequence).weight
        return Settled(sequence=sequence)

    def dig(self, sequence: int, *, reason: str, message: str, now: int) -> Buried:
        """A grave for a pending write, until it is `buried` or `not_buried`. Raises ValueError if it isn't pending."""
        self._check_pending(sequence)
        grave = Grave(order=self._next_grave, reason=reason, message=message, dead_time=now)
        self._next_grave += 1
        self._burying.add(sequence)
        return Buried(sequence=sequence, grave=grave)

    def buried(self, record: Buried) -> None:
        """The write is dead."""
        self._burying.discard(record.sequence)
        before = self._live[record.sequence].weight
        apply(self._live, record)
        self.bytes_held += self._live[record.sequence].weight - before
        del self._pending[record.sequence]
        self._dead[record.sequence] = _dead(self._live[record.sequence], record.grave)

    def not_buried(self, record: Buried) -> None:
        """The write is still pending."""
        self._burying.discard(record.sequence)

    def is_dead(self, sequence: int) -> bool:
        """Whether a write is dead, and was not removed."""
        return sequence in self._dead

    def remove(self, sequence: int) -> None:
        """A dead write is gone."""
        if self._dead.pop(sequence, None) is not None:
            self.bytes_held -= self._live.pop(sequence).weight

    def _check_pending(self, sequence: int) -> None:
        if sequence not in self._pending or sequence in self._burying:
            raise ValueError(f"write {sequence} is not pending")


def _buffered(written: Written) -> Buffered:
    return Buffered(sequence=written.sequence, write=written.write)


def _dead(written: Written, grave: Grave) -> DeadWrite:
    return DeadWrite(buffered=_buffered(written), reason=grave.reason, message=grave.message, dead_time=grave.dead_time)
