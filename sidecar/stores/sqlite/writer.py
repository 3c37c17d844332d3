"""The one thread that writes: it takes all that is queued and commits it together (group commit), each work with its own
fate.

Works are handed over once an iteration of the event loop, not one by one: all callers who were waiting for the last
commit write again in one iteration, and then share the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

from sidecar.core.errors import DeadlineExceeded, LimitExceeded, OutcomeUnknown, SidecarError
from sidecar.core.histograms import Histogram
from sidecar.core.operations import Write
from sidecar.core.ports import Clock
from sidecar.stores.sqlite.connection import BUSY_TIMEOUT_MS, RETRY_S, Connector, again
from sidecar.stores.sqlite.errors import commit_error, is_full, loses_connection
from sidecar.stores.sqlite.highwater import HighwaterFile
from sidecar.stores.sqlite.meta import Meta
from sidecar.stores.sqlite.preparation import remember
from sidecar.stores.sqlite.transaction import Transaction
from sidecar.stores.sqlite.works import Task, Work, answer, settle, size_of

_log = logging.getLogger(__name__)

BATCH_BYTES_MAX = 8 << 20
"""Values in one transaction: what a large one costs in memory and WAL; a single larger value goes alone."""
QUEUE_BYTES_MAX = 256 << 20
"""Values waiting."""
WAL_BYTES_MAX = 64 << 20
COMMITS_PER_WAL_CHECK = 64
CHECKPOINT_WAIT_MS = 100


class _BatchFailed(Exception):
    """A batch was rolled back; each of its works may be tried alone."""


class Writer:
    """Accepts works on the event loop, bounded by `queue_max`, and does them in its thread, up to `batch_max` together.

    `commits` and `works` count transactions that changed something, and what was answered; `batches` has how many works
    those transactions had.
    """

    def __init__(
        self,
        connector: Connector,
        clock: Clock,
        highwater: HighwaterFile,
        *,
        queue_max: int,
        batch_max: int,
        batches: Histogram,
    ) -> None:
        self.commits = 0
        self.works = 0
        self._batches = batches
        self._connector = connector
        self._clock = clock
        self._highwater = highwater
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._inbox: SimpleQueue[list[Work] | None] = SimpleQueue()
        self._staged: list[Work] = []
        self._waiting = 0
        self._waiting_bytes = 0
        self._room_time = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="sqlite-writer")

    # On the event loop.

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, what: Write | Task) -> asyncio.Future[Any]:
        """The answer of a work, later. Cancelling the future doesn't stop it. Raises LimitExceeded."""
        size = size_of(what)
        if self._waiting >= self._queue_max or (self._waiting and self._waiting_bytes + size > QUEUE_BYTES_MAX):
            raise LimitExceeded(f"{self._waiting} writes are waiting for the database; nothing was written")
        self._waiting += 1
        self._waiting_bytes += size
        loop = asyncio.get_running_loop()
        work = Work(what, size, loop.create_future())
        if not self._staged:
            self._loop = loop
            loop.call_soon(self._hand_over)
        self._staged.append(work)
        return work.future

    def stop(self) -> None:
        """Finish what was accepted, then end."""
        self._hand_over()
        self._inbox.put(None)

    def join(self) -> None:
        """Until the thread has ended."""
        self._thread.join()

    def _hand_over(self) -> None:
        if self._staged:
            self._inbox.put(self._staged)
            self._staged = []

    def _resolve(self, batch: Sequence[Work]) -> None:
        for work in batch:
            self._waiting -= 1
            self._waiting_bytes -= work.size
            settle(work.future, work.answer)

    # In the thread.

    def _run(self) -> None:
        backlog: deque[Work] = deque()
        stopping = False
        while not (stopping and not backlog):
            stopping = self._receive(backlog) or stopping
            if backlog:
                batch = self._take(backlog)
                try:
                    self._work_through(batch)
                except Exception:  # noqa: BLE001  # a thread that ended would leave every caller waiting
                    _log.exception("the writer failed", extra={"works": len(batch)})
                    _leave_open(batch)
                self.works += len(batch)
                self._deliver(batch)
        self._end()

    def _receive(self, backlog: deque[Work]) -> bool:
        """All that was handed over, waiting for it if there is nothing to do; whether to stop."""
        with contextlib.suppress(Empty):
            while True:
                works = self._inbox.get(block=not backlog)
                if works is None:
                    return True
                backlog.extend(works)
        return False

    def _take(self, backlog: deque[Work]) -> list[Work]:
        batch = [backlog.popleft()]
        size = batch[0].size
        while backlog and len(batch) < self._batch_max and size + backlog[0].size <= BATCH_BYTES_MAX:
            size += backlog[0].size
            batch.append(backlog.popleft())
        return batch

    def _deliver(self, batch: Sequence[Work]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._resolve, batch)

    def _work_through(self, batch: Sequence[Work], *, again_alone: bool = True) -> None:
        """Set every answer."""
        try:
            self._attempt(batch)
        except _BatchFailed as failed:
            cause = failed.__cause__
            assert isinstance(cause, Exception)
            full = is_full(cause)
            if again_alone and full:
                self._make_room()
            if again_alone and (full or len(batch) > 1):
                # One work may be what the others failed for: too large for what is left of the disk, or on a bad page.
                for work in batch:
                    self._work_through([work], again_alone=False)
            else:
                for work in batch:
                    work.answer = again(cause)

    def _attempt(self, batch: Sequence[Work]) -> None:
        """One transaction. Raises _BatchFailed if nothing was written, and its works may fare better alone."""
        try:
            transaction = Transaction(self._connector.connection(), self._clock, self._highwater)
        except (sqlite3.Error, SidecarError) as exc:
            self._roll_back(exc)
            for work in batch:
                work.answer = again(exc)
            return
        try:
            answer(transaction, batch)
            transaction.flush()
        except Exception as exc:  # whatever it was, it is the answer of the work that it came from
            self._roll_back(exc)
            raise _BatchFailed from exc
        try:
            transaction.commit()
        except sqlite3.Error as exc:
            self._commit_failed(exc, batch)
        else:
            self._count(transaction, len(batch))

    def _commit_failed(self, exc: sqlite3.Error, batch: Sequence[Work]) -> None:
        self._roll_back(exc)
        error = commit_error(exc)
        if not isinstance(error, OutcomeUnknown):
            raise _BatchFailed from exc
        _log.error("a commit's outcome is unknown", extra={"works": len(batch), "sqlite": error.metadata["sqlite"]})
        for work in batch:
            # A refusal may rest on what another work of the batch wrote: it is as unknown.
            if not isinstance(work.answer, DeadlineExceeded):
                work.answer = again(error)

    def _roll_back(self, exc: Exception) -> None:
        connection = self._connector.current
        try:
            if connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connector.drop()  # closing rolls back
        if loses_connection(exc):
            self._connector.drop()

    def _count(self, transaction: Transaction, works: int) -> None:
        if transaction.wrote:
            self.commits += 1
            self._batches.record(works)
            if self.commits % COMMITS_PER_WAL_CHECK == 0:
                self._bound_wal()

    def _bound_wal(self) -> None:
        """Readers that always overlap keep SQLite from beginning the WAL anew: past a size, wait for them shortly."""
        if self._connector.wal_bytes() > WAL_BYTES_MAX:
            self._checkpoint()

    def _make_room(self) -> None:
        """What the WAL holds may be all that is missing. Not for each write of a long outage."""
        if self._connector.current is not None and self._clock.monotonic() >= self._room_time:
            self._room_time = self._clock.monotonic() + RETRY_S
            self._checkpoint()

    def _checkpoint(self) -> None:
        connection = self._connector.current
        assert connection is not None
        try:
            connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as exc:
            # The WAL keeps what it has; only its size is affected, and the next check tries again.
            _log.warning("the WAL could not be checkpointed", extra={"error": str(exc)})
        finally:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")

    def _end(self) -> None:
        """Leave word of the last version handed out, for a copy of the database that is put back later."""
        connection = self._connector.current
        if connection is not None:
            try:
                connection.execute("BEGIN IMMEDIATE")
                remember(Meta.load(connection), self._highwater)
                connection.execute("ROLLBACK")
            except (sqlite3.Error, OSError, SidecarError) as exc:
                _log.warning("the highwater mark was not written at the end", extra={"error": str(exc)})
        self._connector.drop()


def _leave_open(batch: Sequence[Work]) -> None:
    """The answers after a defect of this module: whatever was done, the thread goes on."""
    for work in batch:
        work.answer = OutcomeUnknown("the writer failed while it worked: repeat the call with the same request id")
