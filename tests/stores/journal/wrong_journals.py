"""Deliberately wrong journals: each takes one rule away."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.failpoints import reach
from sidecar.core.journal import Base
from sidecar.stores.journal import log, memory, records, recovery, scribe, segment
from sidecar.stores.journal.contents import Contents
from sidecar.stores.journal.log import Log
from sidecar.stores.journal.records import Record, Written
from sidecar.stores.journal.scribe import Scribe, Work
from sidecar.stores.journal.segment import Frame, Header, Scan

Patch = pytest.MonkeyPatch


real_write, real_scan, real_submit = Log.write, segment.scan, Scribe.submit


def acknowledges_before_the_sync(patch: Patch) -> None:
    def write(self: Log, records: Sequence[Record], *, durable: bool) -> None:
        real_write(self, records, durable=False)

    patch.setattr(Log, "write", write)


def writes_behind_what_is_not_durable(patch: Patch) -> None:
    patch.setattr(Log, "_sync", lambda self, descriptor, segment: None)


def names_are_not_durable(patch: Patch) -> None:
    patch.setattr(log, "sync_directory", lambda directory: None)


def compacts_without_a_sync(patch: Patch) -> None:
    def compact(self: Log) -> None:
        real_write(self, [self.live[sequence] for sequence in sorted(self._segments[0].live)], durable=False)
        reach("journal.compact.copied")
        self._delete_oldest()
        reach("journal.compact.deleted")

    patch.setattr(Log, "_compact_oldest", compact)


def compacts_the_dead_to_pending(patch: Patch) -> None:
    def compact(self: Log) -> None:
        live = [self.live[sequence] for sequence in sorted(self._segments[0].live)]
        self.write([dataclasses.replace(each, grave=None) for each in live], durable=True)
        self._delete_oldest()

    patch.setattr(Log, "_compact_oldest", compact)


def compacts_to_new_sequences(patch: Patch) -> None:
    def compact(self: Log) -> None:
        live = [self.live[sequence] for sequence in sorted(self._segments[0].live)]
        self.write([dataclasses.replace(each, sequence=self.next_sequence) for each in live], durable=True)
        self._delete_oldest()

    patch.setattr(Log, "_compact_oldest", compact)


def never_compacts(patch: Patch) -> None:
    patch.setattr(Log, "_is_sparse", lambda self: False)


def deletes_what_is_dead_wherever_it_is(patch: Patch) -> None:
    def tidy(self: Log, *, idle_bytes_max: int | None = None) -> None:
        for each in [each for each in self._segments[:-1] if not each.live]:
            each.path.unlink()
            self._segments.remove(each)

    patch.setattr(Log, "tidy", tidy)


def counts_sequences_from_what_is_live(patch: Patch) -> None:
    real = recovery.recover

    def recover(*asked: Any) -> recovery.Recovered:
        found = real(*asked)
        return dataclasses.replace(found, next_sequence=max(found.live, default=0) + 1)

    patch.setattr(recovery, "recover", recover)


def headers_forget_the_sequences(patch: Patch) -> None:
    real = segment.encode_header
    patch.setattr(log, "encode_header", lambda header: real(dataclasses.replace(header, next_sequence=1)))


def cuts_off_whatever_does_not_verify(patch: Patch) -> None:
    patch.setattr(segment, "_later", lambda mark, content, position: iter(()))


def tells_every_torn_end_as_spoilt(patch: Patch) -> None:
    def scan(path: Path, header: Header, content: bytes, *, end: int | None) -> Scan:
        return real_scan(path, header, content, end=len(content) if end is None else end)

    patch.setattr(recovery, "scan", scan)


def takes_any_later_frame_for_a_proof(patch: Patch) -> None:
    real = segment._later

    def later(mark: bytes, content: bytes, position: int) -> Any:
        return (
            (found, Frame(frame.end, len(content), frame.contents)) for found, frame in real(mark, content, position)
        )

    patch.setattr(segment, "_later", later)


def counts_what_is_behind_the_end_of_a_segment(patch: Patch) -> None:
    patch.setattr(recovery, "scan", lambda path, header, content, *, end: real_scan(path, header, content, end=None))


def verifies_nothing(patch: Patch) -> None:
    patch.setattr(segment, "_checksum", lambda mark, position, length, synced, contents: 0)


def verifies_frames_anywhere(patch: Patch) -> None:
    real = segment._checksum

    def checksum(mark: bytes, position: int, length: int, synced: int, contents: bytes) -> int:
        return real(mark, 0, length, synced, contents)

    patch.setattr(segment, "_checksum", checksum)


def reads_any_version(patch: Patch) -> None:
    patch.setattr(segment, "VERSION", 99)


def does_not_cut_back(patch: Patch) -> None:
    patch.setattr(Log, "_cut_back", lambda self, descriptor, end: True)


def says_that_it_cut_back(patch: Patch) -> None:
    real = Log._cut_back

    def cut_back(self: Log, descriptor: int, end: int) -> bool:
        real(self, descriptor, end)
        return True

    patch.setattr(Log, "_cut_back", cut_back)


def forgets_what_it_owes(patch: Patch) -> None:
    real = Scribe._work_through

    def work_through(self: Scribe, batch: Sequence[Work]) -> None:
        real(self, batch)
        self._owed.clear()

    patch.setattr(Scribe, "_work_through", work_through)


def drops_records_of(kind: type[Record]) -> Callable[[Patch], None]:
    def make(patch: Patch) -> None:
        def submit(self: Scribe, record: Record, done: Callable[[Any], None]) -> None:
            if isinstance(record, kind):
                done(None)
            else:
                real_submit(self, record, done)

        patch.setattr(Scribe, "submit", submit)

    return make


def syncs_each_alone(patch: Patch) -> None:
    patch.setattr(scribe, "BATCH_BYTES_MAX", 0)


def the_dead_take_nothing(patch: Patch) -> None:
    real = Contents.buried

    def buried(self: Contents, record: records.Buried) -> None:
        real(self, record)
        self.bytes_held -= self._live[record.sequence].weight

    patch.setattr(Contents, "buried", buried)


def writes_under_way_take_nothing(patch: Patch) -> None:
    real = Contents.admit

    def admit(self: Contents, write: Any, *, bytes_max: int) -> Written:
        self._reserved = 0
        return real(self, write, bytes_max=bytes_max)

    patch.setattr(Contents, "admit", admit)


def refuses_and_keeps(patch: Patch) -> None:
    patch.setattr(Contents, "refused", Contents.kept)


def orders_the_dead_by_their_time(patch: Patch) -> None:
    real = Contents.dead
    patch.setattr(Contents, "dead", lambda self: sorted(real(self), key=lambda dead: dead.dead_time))


def ends_a_write_twice(patch: Patch) -> None:
    patch.setattr(Contents, "_check_pending", lambda self, sequence: None)


def takes_unknown_for_absent(patch: Patch) -> None:
    real = records._write

    def write(parts: tuple[bytes, ...]) -> Any:
        found = real(parts)
        return found if found.base else dataclasses.replace(found, base=Base(version=0, value=None))

    patch.setattr(records, "_write", write)


def forgets_who_has_gone(patch: Patch) -> None:
    real = Scribe._resolve

    def resolve(self: Scribe, batch: Sequence[Work]) -> None:
        cells = [[cell.cell_contents for cell in work.done.__closure__ or ()] for work in batch]
        gone = [any(getattr(cell, "cancelled", bool)() for cell in found) for found in cells]
        self._waiting -= sum(gone)
        real(self, [work for work, has_gone in zip(batch, gone, strict=True) if not has_gone])

    patch.setattr(Scribe, "_resolve", resolve)


def locks_nothing(patch: Patch) -> None:
    patch.setattr(fcntl, "flock", lambda descriptor, operation: None)


def files_are_everybodys(patch: Patch) -> None:
    real = os.open

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        return real(path, flags, 0o666, dir_fd=dir_fd)

    patch.setattr(os, "open", opened)


def writes_to_a_file_without_a_name(patch: Patch) -> None:
    real = os.fstat

    def named(descriptor: int) -> os.stat_result:
        found = list(real(descriptor)[:10])
        found[3] = 1
        return os.stat_result(found)

    patch.setattr(os, "fstat", named)


def nothing_waits_too_long(patch: Patch) -> None:
    patch.setattr(Scribe, "admit", lambda self: None)


def begins_again_where_it_failed(patch: Patch) -> None:
    """A segment that could not be begun leaves the one before in use."""
    real = Log._begin_segment

    def begin(self: Log) -> int:
        end = self._segments[-1].path if self._segments else None
        try:
            return real(self)
        except OSError:
            if end is None:
                raise
            self._descriptor = os.open(end, os.O_RDWR)
            return self._descriptor

    patch.setattr(Log, "_begin_segment", begin)


def memory_is_never_durable(patch: Patch) -> None:
    patch.setattr(memory.MemoryJournal, "_flush", lambda self, place: None)
