"""The readers: a few connections. Gets that wait together share a round trip.

A read is sent after it was accepted, so it sees every commit that was acknowledged before it began.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.core.entry import Copy
from sidecar.core.errors import DeadlineExceeded, LimitExceeded, SidecarError, StoreUnavailable
from sidecar.core.observed import Pool
from sidecar.core.ports import Clock
from sidecar.stores.postgres import reads
from sidecar.stores.postgres.bounds import Bounds
from sidecar.stores.postgres.connector import Connector
from sidecar.stores.postgres.errors import ConnectionLost, ServerError, again, is_of_prepared, store_error
from sidecar.stores.postgres.wire import Call, Row, Session

_log = logging.getLogger(__name__)

KEYS_MAX = 256
"""Keys of gets that share a round trip; one get may name more."""
READ_S_MAX = 30.0
"""How long the server works for a read whose reader may have gone."""
ATTEMPTS_MAX = 3


class Reader:
    """What a query asks with: one connection in a read that has begun."""

    def __init__(self, session: Session, connector: Connector, bounds: Bounds) -> None:
        self.queries = connector.queries
        self.now = 0
        self._session = session
        self._connector = connector
        self._bounds = bounds

    async def ask(self, calls: Sequence[Call], *, pointed: bool = False) -> list[list[Row]]:
        """The rows of some calls, each of a snapshot of its own, and the server's time before them in `now`.

        `pointed`: they read no range.
        """
        begin = self._bounds.for_reading(self.queries, pointed=pointed)
        ((now, in_recovery, *_),), *answers = await self._session.exchange([begin, *calls])
        if in_recovery:
            self._session.close()
            raise StoreUnavailable("PostgreSQL has become a read-only standby")
        self.now = now
        self._connector.server_clock.hear(now)
        return answers


Query = Callable[[Reader], Awaitable[Any]]


@dataclass(slots=True, eq=False)
class _Get:
    namespace: str
    keys: Sequence[str]


@dataclass(slots=True, eq=False)
class _Work:
    what: _Get | Query
    deadline: float | None
    begin_time: float
    future: asyncio.Future[Any]

    def settle(self, answer: Any) -> None:
        if self.future.done():
            return
        if isinstance(answer, BaseException):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class Readers:
    """`count` connections; at most `queue_max` reads wait."""

    def __init__(self, connector: Connector, clock: Clock, *, count: int, queue_max: int, timeout_s: float) -> None:
        self._connector = connector
        self._clock = clock
        self._queue_max = queue_max
        self._timeout_s = timeout_s
        self._bounds = Bounds(
            lock_s=timeout_s / 4, statement_s=max(READ_S_MAX, timeout_s), idle_s=0, silence_s=timeout_s
        )
        self._queue: deque[_Work] = deque()
        self._sessions: list[Session | None] = [None] * count
        self._waiters: list[asyncio.Future[None]] = []
        self._staged = False
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._run(number)) for number in range(count)]

    @property
    def pool(self) -> Pool:
        """The connections, and the reads that wait for one."""
        opened = sum(session is not None and not session.closed for session in self._sessions)
        in_use = min(len(self._tasks) - len(self._waiters), opened)
        return Pool(in_use=in_use, idle=opened - in_use, size_max=len(self._sessions), waiting=len(self._queue))

    def get(self, namespace: str, keys: Sequence[str], deadline: float | None) -> asyncio.Future[list[Copy | None]]:
        """The state of each key, later."""
        return self._submit(_Get(namespace, keys), deadline)

    def submit(self, query: Query, deadline: float | None) -> asyncio.Future[Any]:
        """The answer of a query, later."""
        return self._submit(query, deadline)

    async def stop(self) -> None:
        """Finish what was accepted, then end."""
        self._stopping = True
        self._wake(len(self._tasks))
        await asyncio.gather(*self._tasks)

    def _submit(self, what: _Get | Query, deadline: float | None) -> asyncio.Future[Any]:
        if len(self._queue) >= self._queue_max:
            raise LimitExceeded(f"{len(self._queue)} reads are waiting for the database")
        future = self._loop.create_future()
        self._queue.append(_Work(what, deadline, self._loop.time(), future))
        if not self._staged:
            self._staged = True  # not before the others of this iteration have come: they share a round trip
            self._loop.call_soon(self._wake)
        return future

    def _wake(self, count: int = 1) -> None:
        self._staged = False
        for _ in range(min(count, len(self._waiters))):
            waiter = self._waiters.pop()  # the one that waited least: its connection is open
            if not waiter.done():
                waiter.set_result(None)

    async def _run(self, number: int) -> None:
        while True:
            batch = self._take()
            if batch:
                if self._queue:
                    self._wake()
                await self._answer(number, batch)
            elif self._stopping:
                break
            elif not self._queue:
                waiter = self._loop.create_future()
                self._waiters.append(waiter)
                await waiter
        self._drop(number)

    def _take(self) -> list[_Work]:
        """One query, or gets of `KEYS_MAX` keys. Those whose time has run out are told so."""
        batch: list[_Work] = []
        keys = 0
        while self._queue:
            work = self._queue[0]
            if batch and (not isinstance(work.what, _Get) or keys + len(work.what.keys) > KEYS_MAX):
                break
            self._queue.popleft()
            if work.future.done() or self._is_late(work):
                continue
            batch.append(work)
            if not isinstance(work.what, _Get):
                break
            keys += len(work.what.keys)
        return batch

    def _is_late(self, work: _Work) -> bool:
        if work.deadline is not None and self._clock.monotonic() >= work.deadline:
            work.settle(DeadlineExceeded("the deadline passed before the read began"))
        elif work.begin_time < self._loop.time() - self._timeout_s:
            work.settle(StoreUnavailable(f"the read waited for {self._timeout_s:g} s while the database did others"))
        else:
            return False
        return True

    async def _answer(self, number: int, batch: Sequence[_Work]) -> None:
        """Settle every work."""
        try:
            await self._attempts(number, batch)
        except ServerError as exc:
            if len(batch) > 1:
                for work in batch:
                    await self._answer(number, [work])
            else:
                batch[0].settle(again(exc))
        except SidecarError as exc:
            for work in batch:
                work.settle(again(exc))
        except Exception as exc:  # noqa: BLE001  # a reader that ended would leave every caller waiting
            _log.exception("a reader failed", extra={"works": len(batch)})
            self._drop(number)
            for work in batch:
                work.settle(again(exc))

    async def _attempts(self, number: int, batch: Sequence[_Work]) -> None:
        for attempt in range(ATTEMPTS_MAX):
            reader = Reader(await self._session(number), self._connector, self._bounds)
            try:
                await self._attempt(reader, batch)
            except ConnectionLost as exc:
                self._drop(number)
                error = store_error(exc)
                if exc.timed_out:
                    self._connector.note_failure(error)
                if exc.timed_out or attempt == ATTEMPTS_MAX - 1:
                    raise error from exc
            except ServerError as exc:
                if not is_of_prepared(exc) or attempt == ATTEMPTS_MAX - 1:
                    raise
                self._connector.stop_preparing_statements()
                self._drop(number)
            else:
                return

    async def _attempt(self, reader: Reader, batch: Sequence[_Work]) -> None:
        first = batch[0].what
        if not isinstance(first, _Get):
            batch[0].settle(await first(reader))
            return
        gets = [(work, work.what) for work in batch if isinstance(work.what, _Get)]
        pairs = dict.fromkeys((get.namespace.encode(), key.encode()) for _, get in gets for key in get.keys)
        (rows,) = await reader.ask([reads.get_call(reader.queries, list(pairs))], pointed=True)
        found = {row[:2]: row[2:] for row in rows}
        for work, get in gets:
            try:
                work.settle(reads.copies(get.namespace, get.keys, found, reader.now))
            except SidecarError as exc:
                work.settle(exc)

    async def _session(self, number: int) -> Session:
        session = self._sessions[number]
        if session is None or session.closed:
            self._drop(number)
            session = self._sessions[number] = await self._connector.connect()
        return session

    def _drop(self, number: int) -> None:
        session, self._sessions[number] = self._sessions[number], None
        if session is not None:
            session.close()
