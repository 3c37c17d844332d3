"""The one thread that touches the journal's files: what waits together is written and made durable together.

Records are handed over once an iteration of the event loop, so that all who were waiting for the last one share the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from sidecar.core.errors import LimitExceeded, OutcomeUnknown, SidecarError
from sidecar.stores.journal.errors import unavailable
from sidecar.stores.journal.log import Log, NotCutBack
from sidecar.stores.journal.records import Record, Settled, Written

_log = logging.getLogger(__name__)

BATCH_BYTES_MAX = 8 << 20
"""Written together; a single larger record goes alone."""
SMALL_BYTES = 256
"""What a record without values is taken to weigh."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(slots=True, eq=False)
class Work:
    """A record, and who hears on the event loop what became of it: None, or the error."""

    record: Record
    done: Callable[[SidecarError | None], None]
    error: SidecarError | None = None

    @property
    def size(self) -> int:
        """About the bytes that it takes."""
        return self.record.weight if isinstance(self.record, Written) else SMALL_BYTES


class Scribe:
    """Accepts records on the event loop, `queue_max` at once, and writes them in its thread, in their order."""

    def __init__(self, log: Log, *, queue_max: int) -> None:
        self._disk = log
        self._queue_max = queue_max
        self._inbox: SimpleQueue[list[Work] | None] = SimpleQueue()
        self._staged: list[Work] = []
        self._waiting = 0
        self._owed: list[Settled] = []
        self._failing = False
        self._loop = asyncio.get_running_loop()
        # Who ends without closing loses nothing that was acknowledged, and need not wait for this.
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    # On the event loop.

    def admit(self) -> None:
        """Raises LimitExceeded when too many wait."""
        if self._waiting >= self._queue_max:
            raise LimitExceeded(f"{self._waiting} writes are waiting for the journal; nothing was kept")

    def submit(self, record: Record, done: Callable[[SidecarError | None], None]) -> None:
        """Write a record, durably unless it is of the kind that a crash may forget."""
        self._waiting += 1
        if not self._staged:
            self._loop.call_soon(self._hand_over)
        self._staged.append(Work(record, done))

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
        self._waiting -= len(batch)
        for work in batch:
            work.done(work.error)

    # In the thread.

    def _run(self) -> None:
        backlog: deque[Work] = deque()
        stopping = False
        while not (stopping and not backlog):
            stopping = self._receive(backlog) or stopping
            if backlog:
                batch = _take(backlog)
                self._work_through(batch)
                with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                    self._loop.call_soon_threadsafe(self._resolve, batch)
                self._disk.tidy()
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

    def _work_through(self, batch: Sequence[Work]) -> None:
        error = self._attempt(batch)
        durable = [work for work in batch if not isinstance(work.record, Settled)]
        if error is None:
            return
        for work in batch:
            if isinstance(work.record, Settled):
                # A crash may forget it; until then it is settled, and it is written with what comes next.
                self._disk.forget(work.record)
                self._owed.append(work.record)
        for work in durable:
            # On a full disk one may be what the others failed for.
            alone = len(durable) > 1 and isinstance(error, OSError) and error.errno in _NO_ROOM
            failure = self._attempt([work]) if alone else error
            work.error = None if failure is None else _told(failure)

    def _attempt(self, batch: Sequence[Work]) -> Exception | None:
        """Write a batch with what is owed; the error if nothing of it was kept, or if that is not known."""
        records = [*self._owed, *[work.record for work in batch]]
        try:
            self._disk.write(records, durable=any(not isinstance(record, Settled) for record in records))
        except (OSError, NotCutBack) as exc:
            if not self._failing:
                _log.warning("the journal can't be written", extra={"error": str(exc.__cause__ or exc)})
            self._failing = True
            return exc
        except Exception as exc:  # noqa: BLE001  # a thread that ended would leave every caller waiting
            _log.exception("the journal failed", extra={"records": len(records)})
            return exc
        if self._failing:
            _log.warning("the journal can be written again")
        self._failing = False
        self._owed.clear()
        return None

    def _end(self) -> None:
        try:
            if self._owed:
                self._disk.write(self._owed, durable=False)
            self._disk.sync()
        except (OSError, NotCutBack) as exc:
            # What they settled is found pending, and is replayed under its request ids.
            _log.warning("what was settled last was not written", extra={"error": str(exc.__cause__ or exc)})
        finally:
            self._disk.close()


def _take(backlog: deque[Work]) -> list[Work]:
    batch = [backlog.popleft()]
    size = batch[0].size
    while backlog and size + backlog[0].size <= BATCH_BYTES_MAX:
        size += backlog[0].size
        batch.append(backlog.popleft())
    return batch


def _told(failure: Exception) -> SidecarError:
    """The error of one caller: each has its own."""
    if isinstance(failure, OSError):
        return unavailable(failure)
    error = OutcomeUnknown("the journal's disk failed in a way that leaves open whether the write was kept")
    error.__cause__ = failure.__cause__ or failure
    return error
