"""The threads that read: each with its own connection and snapshot. Gets that wait together share a snapshot.

A snapshot is taken after a work was handed over, so a read sees every commit that was acknowledged before it began.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from sidecar.core.errors import DeadlineExceeded, LimitExceeded, SidecarError
from sidecar.core.ports import Clock
from sidecar.stores.sqlite.connection import Connector, again
from sidecar.stores.sqlite.errors import loses_connection
from sidecar.stores.sqlite.works import settle

Query = Callable[[sqlite3.Connection], Any]


@dataclass(slots=True, eq=False)
class _Work:
    query: Query
    deadline: float | None
    future: asyncio.Future[Any]
    answer: Any = None


class Readers:
    """A thread for each connector; at most `queue_max` reads wait."""

    def __init__(self, connectors: Sequence[Connector], clock: Clock, *, queue_max: int) -> None:
        self._clock = clock
        self._queue_max = queue_max
        self._inbox: SimpleQueue[list[_Work] | None] = SimpleQueue()
        self._staged: list[_Work] = []
        self._waiting = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(connector,), name=f"sqlite-reader-{number}")
            for number, connector in enumerate(connectors)
        ]

    # On the event loop.

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Reads that are not answered yet, those under way among them."""
        return self._waiting

    def submit(self, query: Query, *, deadline: float | None, short: bool) -> asyncio.Future[Any]:
        """The answer of a query, later; `short` ones of one iteration of the event loop share a snapshot."""
        if self._waiting >= self._queue_max:
            raise LimitExceeded(f"{self._waiting} reads are waiting for the database")
        self._waiting += 1
        loop = self._loop = asyncio.get_running_loop()
        work = _Work(query, deadline, loop.create_future())
        if not short:
            self._inbox.put([work])
            return work.future
        if not self._staged:
            loop.call_soon(self._hand_over)
        self._staged.append(work)
        return work.future

    def stop(self) -> None:
        """Finish what was accepted, then end."""
        self._hand_over()
        for _ in self._threads:
            self._inbox.put(None)

    def join(self) -> None:
        """Until the threads have ended."""
        for thread in self._threads:
            thread.join()

    def _hand_over(self) -> None:
        if self._staged:
            self._inbox.put(self._staged)
            self._staged = []

    def _resolve(self, works: Sequence[_Work]) -> None:
        self._waiting -= len(works)
        for work in works:
            settle(work.future, work.answer)

    # In the threads.

    def _run(self, connector: Connector) -> None:
        while (works := self._inbox.get()) is not None:
            self._answer(connector, works)
            assert self._loop is not None
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._resolve, works)
        connector.drop()

    def _answer(self, connector: Connector, works: Sequence[_Work]) -> None:
        """Set every answer."""
        try:
            self._attempt(connector, works)
        except Exception as exc:  # noqa: BLE001  # whatever it was, it is the answer of the work that it came from
            if connector.current is not None and connector.current.in_transaction:
                connector.drop()
            if loses_connection(exc):
                connector.drop()
            if len(works) == 1:
                works[0].answer = again(exc)
                return
            for work in works:
                self._answer(connector, [work])

    def _attempt(self, connector: Connector, works: Sequence[_Work]) -> None:
        connection = connector.connection()
        connection.execute("BEGIN")
        for work in works:
            if work.deadline is not None and self._clock.monotonic() >= work.deadline:
                work.answer = DeadlineExceeded("the deadline passed before the read began")
            elif not work.future.cancelled():
                try:
                    work.answer = work.query(connection)
                except SidecarError as exc:
                    work.answer = exc
        connection.execute("COMMIT")
