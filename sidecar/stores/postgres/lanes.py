"""The writers: a few connections, each of which takes what waits and does it in one transaction of two round trips.

A batch that fails for what one of its works did is done again, each work alone. One that fails because another process
came between is done again as it is, a few times. After COMMIT was sent nothing is done again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from sidecar.core.errors import DeadlineExceeded, OutcomeUnknown, SidecarError, StoreUnavailable
from sidecar.core.histograms import Histogram
from sidecar.core.observed import Pool
from sidecar.core.operations import Write
from sidecar.core.ports import Clock
from sidecar.stores.postgres.backlog import Backlog
from sidecar.stores.postgres.bounds import Bounds
from sidecar.stores.postgres.commits import commit_writes
from sidecar.stores.postgres.connector import Connector
from sidecar.stores.postgres.errors import (
    ConnectionLost,
    Raced,
    ServerError,
    again,
    is_locked,
    is_of_one_work,
    is_of_prepared,
    is_of_schema,
    store_error,
)
from sidecar.stores.postgres.transaction import Transaction
from sidecar.stores.postgres.wire import Session
from sidecar.stores.postgres.works import Task, Work, work_of

_log = logging.getLogger(__name__)

ATTEMPTS_MAX = 8
"""How often a batch is tried that others come between: each time at least one of the others succeeded."""


class Lane:
    """One connection, and what it waits for."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.waiter: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that is not known to be lost."""
        return self.session is not None and not self.session.closed

    def drop(self) -> None:
        """Close; the next work opens anew."""
        session, self.session = self.session, None
        if session is not None:
            session.close()


class Lanes:
    """Accepts works, bounded by `queue_max`, and does them in `count` lanes, up to `batch_max` writes together.

    `commits` and `works` count transactions, and what was answered; `batches` has how many writes the transactions had.
    """

    def __init__(
        self,
        connector: Connector,
        clock: Clock,
        *,
        count: int,
        queue_max: int,
        batch_max: int,
        timeout_s: float,
        batches: Histogram,
    ) -> None:
        self.commits = 0
        self.works = 0
        self._batches = batches
        self._connector = connector
        self._clock = clock
        self._timeout_s = timeout_s
        self._backlog = Backlog(queue_max=queue_max, batch_max=batch_max)
        self._lanes = [Lane() for _ in range(count)]
        self._loop = asyncio.get_running_loop()
        self._staged = False
        self._stopping = False
        self._tasks = [self._loop.create_task(self._run(lane)) for lane in self._lanes]

    @property
    def pool(self) -> Pool:
        """The lanes that have a connection, and the works that wait for one."""
        opened = [lane.waiter is None for lane in self._lanes if lane.is_open]
        in_use = sum(opened)
        return Pool(in_use=in_use, idle=len(opened) - in_use, size_max=len(self._lanes), waiting=len(self._backlog))

    async def open(self) -> None:
        """Connect the first lane. Raises SidecarError."""
        await self.submit(_nothing)

    def submit(self, what: Write | Task) -> asyncio.Future[Any]:
        """The answer of a work, later. Cancelling the future doesn't stop it. Raises LimitExceeded."""
        future = self._loop.create_future()
        self._backlog.add(work_of(what, self._loop.time(), future))
        if not self._staged:
            # Not before the others of this iteration have come: they share a transaction.
            self._staged = True
            self._loop.call_soon(self._wake)
        return future

    async def stop(self) -> None:
        """Finish what was accepted, then end."""
        self._stopping = True
        for lane in self._lanes:
            self._rouse(lane)
        await asyncio.gather(*self._tasks)

    def _wake(self) -> None:
        """One lane: an open one, if there is one that waits."""
        self._staged = False
        waiting = [lane for lane in self._lanes if lane.waiter is not None]
        for lane in sorted(waiting, key=lambda lane: not lane.is_open):
            if lane.is_open or not self._connector.failing or not self._any_open(lane):
                self._rouse(lane)
                return

    def _rouse(self, lane: Lane) -> None:
        waiter, lane.waiter = lane.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _any_open(self, but: Lane) -> bool:
        return any(lane.is_open for lane in self._lanes if lane is not but)

    # A lane.

    async def _run(self, lane: Lane) -> None:
        while True:
            free = 1 + sum(other.waiter is not None for other in self._lanes)
            batch = self._backlog.take(self._loop.time(), lanes=free)
            if batch:
                if len(self._backlog):
                    self._wake()
                await self._do(lane, batch)
            elif self._stopping and not len(self._backlog):
                break
            else:
                lane.waiter = self._loop.create_future()
                await lane.waiter
        lane.drop()
        for other in self._lanes:
            self._rouse(other)

    async def _do(self, lane: Lane, batch: list[Work]) -> None:
        """Answer every work, or leave them to lanes that have a connection."""
        try:
            await self._work_through(lane, batch)
        except _NoConnection as exc:
            left = [work for work in batch if not work.answered]
            self._backlog.give_back(left)
            if not self._any_open(lane):
                for work in self._backlog.take_all():
                    work.settle(again(exc.error))
                return
            lane.waiter = waiter = self._loop.create_future()
            self._wake()
            await waiter  # not lane.waiter: this very lane may have been roused
        except Exception:  # noqa: BLE001  # a lane that ended would leave every caller waiting
            _log.exception("a lane failed", extra={"works": len(batch)})
            lane.drop()
            unknown = OutcomeUnknown("the writer failed while it worked: repeat the call with the same request id")
            self._refuse([work for work in batch if not work.answered], unknown)

    async def _work_through(self, lane: Lane, batch: list[Work]) -> None:
        """Answer every work. Raises _NoConnection if some are left that nothing was done of."""
        batch = self._still_wanted(batch)
        cause: Exception | None = None
        for _ in range(ATTEMPTS_MAX if batch else 0):
            session = await self._session(lane)
            try:
                self._answer(batch, await self._attempt(session, batch))
                self.commits += 1
            except (Raced, ConnectionLost, ServerError, SidecarError) as exc:
                cause = exc
            else:
                return
            if not self._may_try_again(lane, cause):
                break
        if isinstance(cause, ServerError) and is_of_one_work(cause):
            if len(batch) > 1:
                for work in batch:
                    await self._work_through(lane, [work])
                return
            if is_locked(cause):
                self._backlog.suspect(batch[0], self._loop.time())
        if cause is not None:
            self._refuse(batch, cause)

    def _may_try_again(self, lane: Lane, exc: Exception) -> bool:
        """Whether nothing was written, and the same may succeed now."""
        match exc:
            case Raced():
                return True
            case ConnectionLost():
                self._lose(lane, exc)
                return not exc.timed_out  # an old connection may be all that was lost
            case ServerError() if is_of_prepared(exc):
                self._connector.stop_preparing_statements()
                lane.drop()
                return True
            case ServerError() if is_of_schema(exc):
                lane.drop()
            case SidecarError(__cause__=ConnectionLost() as lost):
                self._lose(lane, lost)
        return False

    def _lose(self, lane: Lane, lost: ConnectionLost) -> None:
        lane.drop()
        if lost.timed_out:
            self._connector.note_failure(store_error(lost))

    async def _attempt(self, session: Session, batch: Sequence[Work]) -> Sequence[Any]:
        """One transaction; what to answer."""
        bounds = Bounds.within(self._timeout_s, size=sum(work.size for work in batch))
        transaction = Transaction(session, self._connector, bounds)
        first = batch[0].what
        try:
            if isinstance(first, Write):
                writes = [work.what for work in batch if isinstance(work.what, Write)]
                answers = await commit_writes(transaction, writes)
                self._batches.record(len(writes))
                return answers
            return [await first(transaction)]
        except SidecarError:
            await transaction.roll_back()
            raise

    async def _session(self, lane: Lane) -> Session:
        if lane.session is None or lane.session.closed:
            lane.drop()
            try:
                lane.session = await self._connector.connect()
            except SidecarError as exc:
                raise _NoConnection(exc) from exc
        return lane.session

    def _still_wanted(self, batch: list[Work]) -> list[Work]:
        """Without those whose time has run out, which are told so: nothing was done of them."""
        now, waiting_since = self._clock.monotonic(), self._loop.time() - self._timeout_s
        wanted = []
        for work in batch:
            deadline = work.what.deadline if isinstance(work.what, Write) else None
            if deadline is not None and now >= deadline:
                late = DeadlineExceeded("the deadline passed before the write began; nothing was written")
                self._answer([work], [late])
            elif work.begin_time < waiting_since:
                said = f"the write waited for {self._timeout_s:g} s while the database did others; nothing was written"
                self._answer([work], [StoreUnavailable(said)])
            else:
                wanted.append(work)
        return wanted

    def _answer(self, works: Sequence[Work], answers: Sequence[Any]) -> None:
        self._backlog.release(works)
        for work, answer in zip(works, answers, strict=True):
            work.settle(answer)
        self.works += len(works)

    def _refuse(self, works: Sequence[Work], exc: Exception) -> None:
        self._answer(works, [again(exc) for _ in works])


class _NoConnection(Exception):
    """There is no connection for a lane."""

    def __init__(self, error: SidecarError) -> None:
        super().__init__(error)
        self.error = error


async def _nothing(transaction: Transaction) -> None:
    """Having a connection is all."""
    await transaction.begin([], draws=0)
    await transaction.commit()
