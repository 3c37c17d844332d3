"""The segments of a journal on disk: written at their end, deleted and compacted from their beginning. Blocks.

The rules that make every crash safe:

- What is acknowledged is written only when all before it is durable (`segment.py` says why), and is itself durable
  before `write` returns.
- Segments go from the oldest on, each durably before the next: what settled a write never goes before the write.
- What is still live in the oldest one is copied to the end, durably, before it goes. Found twice, it says the same twice.
- After a failure the end is cut back to what is known to be durable. Where that can't be shown, the segment is left for
  good, and the next one's header says from where on nothing of it counts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.core.failpoints import reach
from sidecar.core.sealing import Codec
from sidecar.stores.disk import sync_directory
from sidecar.stores.journal import recovery
from sidecar.stores.journal.records import Buried, Record, Settled, Written, apply, encode
from sidecar.stores.journal.sealing import sealed
from sidecar.stores.journal.segment import (
    HEADER_BYTES,
    MARK_BYTES,
    Header,
    encode_frame,
    encode_header,
    segment_path,
)

_log = logging.getLogger(__name__)

IDLE_SHARE = 8
"""Of a segment's bytes, the part that may lie there without one live record before another is begun."""


class NotCutBack(Exception):
    """A write failed, and what was written of it may be found again; the cause is the failure."""


@dataclass(slots=True, eq=False)
class Segment:
    """A file of the log. Up to `end` it counts; `live`: the sequences whose newest copy is in it."""

    path: Path
    header: Header
    end: int
    live: set[int] = field(default_factory=set)


class Log:
    """Records in their order, and which of them are live. For one thread."""

    def __init__(self, directory: Path, *, segment_bytes: int) -> None:
        self.codec: Codec | None = None
        """Set before `open`: records are sealed."""
        self.live: dict[int, Written] = {}
        self.next_sequence = 1
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._segments: list[Segment] = []
        self._where: dict[int, Segment] = {}
        self._live_bytes = 0
        self._descriptor: int | None = None
        self._synced = 0
        self._untidy = False

    def open(self) -> None:
        """Find what was left, durably, with a torn end cut off. Raises OSError, StoreCorrupt."""
        self.close()
        found = recovery.recover(self._directory, self.codec)
        self.live, self.next_sequence = found.live, found.next_sequence
        self._segments = [Segment(each.path, each.header, each.end) for each in found.segments]
        self._where = {}
        self._live_bytes = sum(record.weight for record in self.live.values())
        for sequence, index in found.where.items():
            self._place(sequence, self._segments[index])
        if self._segments:
            self._descriptor = os.open(self._segments[-1].path, os.O_RDWR)
            self._synced = self._segments[-1].end
        else:
            self._begin_segment()
        self.tidy(idle_bytes_max=HEADER_BYTES)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def write(self, records: Sequence[Record], *, durable: bool) -> None:
        """All or none of the records, durable if that is asked for. Raises OSError, or NotCutBack."""
        descriptor = self._ready()
        segment = self._segments[-1]
        if durable and segment.end > self._synced:
            self._sync(descriptor, segment)
        start = segment.end
        content, end = self._frames(segment, records)
        try:
            _reach(records, Written, "journal.append.before_write")
            _write_whole(descriptor, content, start)
            if durable:
                _reach(records, Written, "journal.append.before_sync")
                _reach(records, Buried, "journal.bury.before_sync")
                os.fdatasync(descriptor)
        except Exception as exc:
            if not self._cut_back(descriptor, start):
                raise NotCutBack from exc
            raise
        segment.end = end
        if durable:
            self._synced = end
            _reach(records, Written, "journal.append.after_sync")
            _reach(records, Buried, "journal.bury.after_sync")
        for record in records:
            self._apply(record, segment)

    def forget(self, record: Settled) -> None:
        """A record that could not be written yet, of a kind that a crash may forget: what it settled needs no keeping."""
        self._apply(record, self._segments[-1])

    def sync(self) -> None:
        """Make all that was written durable. Raises OSError."""
        if self._descriptor is not None and self._segments[-1].end > self._synced:
            self._sync(self._descriptor, self._segments[-1])

    def tidy(self, *, idle_bytes_max: int | None = None) -> None:
        """Delete what is dead, and move what keeps much dead. A failure is logged, and this tried again later.

        `idle_bytes_max`: what may lie there without one live record before a new segment is begun.
        """
        idle = self._segment_bytes // IDLE_SHARE if idle_bytes_max is None else idle_bytes_max
        try:
            while len(self._segments) > 1 and not self._segments[0].live:
                self._delete_oldest()
            if len(self._segments) == 1 and not self.live and self._segments[0].end > max(idle, HEADER_BYTES):
                self._begin_segment()
                self._delete_oldest()
            elif len(self._segments) > 1 and self._is_sparse():
                self._compact_oldest()
        except (OSError, NotCutBack) as exc:
            if not self._untidy:
                _log.warning("the journal can't be compacted", extra={"error": str(exc.__cause__ or exc)})
            self._untidy = True
        else:
            self._untidy = False

    def _is_sparse(self) -> bool:
        """Whether more than half is dead, not counting what the newest segments may hold."""
        total = sum(segment.end for segment in self._segments)
        return total > 2 * (self._live_bytes + self._segment_bytes)

    def _delete_oldest(self) -> None:
        self._segments[0].path.unlink(missing_ok=True)
        # Before a later one goes, and still to do if it fails: the segment stays in the list.
        sync_directory(self._directory)
        del self._segments[0]

    def _compact_oldest(self) -> None:
        oldest = self._segments[0]
        self.write([self.live[sequence] for sequence in sorted(oldest.live)], durable=True)
        reach("journal.compact.copied")
        self._delete_oldest()
        reach("journal.compact.deleted")

    def _ready(self) -> int:
        """The descriptor to write with, of a new segment where the last one is full or was left."""
        if self._descriptor is not None:
            if not os.fstat(self._descriptor).st_nlink:
                # What is written to a file without a name is gone with the process.
                raise FileNotFoundError(
                    2, "the journal's file was removed; start the daemon again", str(self._directory)
                )
            if self._segments[-1].end < self._segment_bytes:
                return self._descriptor
        return self._begin_segment()

    def _begin_segment(self) -> int:
        """A new segment at the end; the one before is complete. It gets its name only with its header durable in it."""
        self.sync()
        self.close()
        before = self._segments[-1] if self._segments else None
        header = Header(
            mark=os.urandom(MARK_BYTES),
            ordinal=before.header.ordinal + 1 if before else 1,
            next_sequence=self.next_sequence,
            previous_end=before.end if before else 0,
        )
        path, unnamed = segment_path(self._directory, header.ordinal), self._directory / recovery.UNNAMED
        descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            _write_whole(descriptor, encode_header(header), 0)
            os.fdatasync(descriptor)
            unnamed.rename(path)
            sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            raise
        reach("journal.segment.created")
        self._segments.append(Segment(path, header, HEADER_BYTES))
        self._descriptor, self._synced = descriptor, HEADER_BYTES
        return descriptor

    def _sync(self, descriptor: int, segment: Segment) -> None:
        try:
            os.fdatasync(descriptor)
        except OSError:
            # What was not acknowledged is cut off: what it settled may be found pending, and is replayed again.
            segment.end = self._synced
            self._cut_back(descriptor, segment.end)
            raise
        self._synced = segment.end

    def _cut_back(self, descriptor: int, end: int) -> bool:
        """After a failure: whether nothing from `end` on can be found again. If not, the segment is left for good."""
        try:
            os.ftruncate(descriptor, end)
            os.fdatasync(descriptor)
        except OSError as exc:
            _log.warning("the journal's file could not be cut back", extra={"error": str(exc)})
            self._segments[-1].end = self._synced
            self.close()
            return False
        self._synced = end
        return True

    def _frames(self, segment: Segment, records: Sequence[Record]) -> tuple[bytes, int]:
        """The records' bytes, and where they end."""
        position, frames = segment.end, []
        for record in records:
            frame = encode_frame(segment.header, position, self._synced, sealed(self.codec, encode(record)))
            frames.append(frame)
            position += len(frame)
        return b"".join(frames), position

    def _apply(self, record: Record, segment: Segment) -> None:
        before = self.live.get(record.sequence)
        apply(self.live, record)
        after = self.live.get(record.sequence)
        self._live_bytes += (after.weight if after else 0) - (before.weight if before else 0)
        if isinstance(record, Written):
            self.next_sequence = max(self.next_sequence, record.sequence + 1)
            self._place(record.sequence, segment)
        elif after is None:
            self._leave(record.sequence)

    def _place(self, sequence: int, segment: Segment) -> None:
        self._leave(sequence)
        segment.live.add(sequence)
        self._where[sequence] = segment

    def _leave(self, sequence: int) -> None:
        segment = self._where.pop(sequence, None)
        if segment is not None:
            segment.live.discard(sequence)


def _reach(records: Sequence[Record], kind: type[Record], name: str) -> None:
    if any(isinstance(record, kind) for record in records):
        reach(name)


def _write_whole(descriptor: int, content: bytes, position: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, position)
        rest = rest[written:]
        position += written
