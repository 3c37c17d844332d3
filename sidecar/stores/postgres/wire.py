"""A connection: statements go out together, one round trip brings all their answers, and what goes wrong says how far it came.

It drives libpq's pipeline mode through psycopg's `pq`: a cursor for each statement would cost more than the statements of
a whole batch do. The socket is watched all the time, so that an end of the server is seen while nothing is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.conninfo import make_conninfo

from sidecar.stores.postgres.errors import ConnectionLost, ServerError
from sidecar.stores.postgres.queries import Query

Call = tuple[Query, Sequence[bytes | None]]
"""A statement and its parameters in binary form."""
Row = tuple[Any, ...]

TRANSFER_S_MAX = 60.0
"""How long one exchange may take that makes progress all the time."""

_BINARY = pq.Format.BINARY
_TUPLES = pq.ExecStatus.TUPLES_OK
_ERROR = pq.ExecStatus.FATAL_ERROR
_SYNC = pq.ExecStatus.PIPELINE_SYNC
_BAD = pq.ConnStatus.BAD
_FIELDS = pq.DiagnosticField


class Session:
    """One connection, one exchange at a time. An exchange that is not awaited to its end closes it."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], *, timeout_s: float) -> None:
        self.prepares = False
        """Whether statements are prepared, each once; not safe where a pooler gives each transaction another server."""
        self.direct = False
        """Whether no pooler was seen between."""
        self.attend: Callable[[list[bytes]], None] | None = None
        """Called with the payloads of notifications, and with none when the connection was lost."""
        self._connection = connection
        self._pgconn = connection.pgconn
        self.timeout_s = timeout_s
        self._transformer = Transformer(connection)
        self._prepared: set[bytes] = set()
        self._expected: list[Query | None] = []
        self._results: list[pq.abc.PGresult] = []
        self._waiter: asyncio.Future[None] | None = None
        self._progress_time = 0.0
        self._writing = False
        self._loop = asyncio.get_running_loop()
        self._socket = self._pgconn.socket
        self._pgconn.enter_pipeline_mode()
        self._loop.add_reader(self._socket, self._readable)

    @classmethod
    async def connect(cls, parameters: dict[str, str | int], *, timeout_s: float) -> Session:
        """Raises psycopg.Error, OSError or TimeoutError."""
        milliseconds = int(timeout_s * 1000)
        bounds: dict[str, str | int] = {
            "connect_timeout": max(2, int(timeout_s) + 1),  # libpq's least; the timeout below ends it before
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": max(milliseconds, 1000),
            "client_encoding": "UTF8",
            "gssencmode": "disable",
        }
        conninfo = make_conninfo("", **parameters, **bounds)
        async with asyncio.timeout(timeout_s):
            connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        return cls(connection, timeout_s=timeout_s)

    @property
    def closed(self) -> bool:
        """Whether it can't be used any more."""
        return self._pgconn.status == _BAD

    @property
    def greeted_pid(self) -> int:
        """The process that the greeting named; a pooler makes one up."""
        return self._pgconn.backend_pid

    async def exchange(self, calls: Sequence[Call], *, timeout_s: float | None = None) -> list[list[Row]]:
        """The rows of each call. Raises ServerError for the first that failed, after which none was done; ConnectionLost.

        `timeout_s` is how long nothing may move in either direction.
        """
        assert self._waiter is None, "one exchange at a time"
        if self.closed:
            raise ConnectionLost("the connection is closed")
        loop = self._loop
        self._waiter = waiter = loop.create_future()
        self._results = []
        timeout_s = timeout_s or self.timeout_s
        self._progress_time = begin = loop.time()
        end = begin + max(timeout_s, TRANSFER_S_MAX)
        timer = loop.call_later(timeout_s, self._check_progress, waiter, timeout_s, end)
        try:
            self._send(calls)
            await waiter
        except BaseException:
            self.close()  # the next answer to come would be taken for another's
            raise
        finally:
            timer.cancel()
            self._waiter = None
        return self._collect(calls)

    def close(self) -> None:
        """Let go at once, whatever is under way. Idempotent."""
        if self.closed:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._writing = False
        self._pgconn.finish()

    # Sending.

    def _send(self, calls: Sequence[Call]) -> None:
        pgconn = self._pgconn
        expected: list[Query | None] = []
        self._expected = expected
        try:
            for query, parameters in calls:
                formats = [_BINARY] * len(parameters)
                if not (self.prepares and query.prepared):
                    pgconn.send_query_params(query.text, parameters, param_formats=formats, result_format=_BINARY)
                else:
                    if query.name not in self._prepared:
                        pgconn.send_prepare(query.name, query.text)
                        expected.append(query)
                    pgconn.send_query_prepared(query.name, parameters, param_formats=formats, result_format=_BINARY)
                expected.append(None)
            pgconn.pipeline_sync()
            self._flush()
        except psycopg.Error as exc:
            raise ConnectionLost(_said(exc)) from exc

    def _flush(self) -> None:
        if self._pgconn.flush():
            if not self._writing:
                self._loop.add_writer(self._socket, self._writable)
                self._writing = True
        elif self._writing:
            self._loop.remove_writer(self._socket)
            self._writing = False

    # Callbacks of the loop.

    def _writable(self) -> None:
        self._progress_time = self._loop.time()
        try:
            self._flush()
        except psycopg.Error as exc:
            self._fail(exc)

    def _readable(self) -> None:
        self._progress_time = self._loop.time()
        pgconn = self._pgconn
        failure = None
        try:
            pgconn.consume_input()
            if self._writing:
                self._flush()
            self._tell_notifications()
        except psycopg.Error as exc:
            failure = exc  # what came before the end is still to be read
        try:
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    if self._waiter is None or failure is not None or len(self._results) > len(self._expected):
                        break
                elif result.status == _SYNC:
                    self._finish()
                    return
                else:
                    self._results.append(result)
                    if pgconn.status == _BAD:
                        break
        except psycopg.Error as exc:
            failure = failure or exc
        if failure is not None or pgconn.status == _BAD:
            self._fail(failure)

    def _tell_notifications(self) -> None:
        if self.attend is None:
            return
        told: list[bytes] = []
        while (notification := self._pgconn.notifies()) is not None:
            told.append(notification.extra)
        if told:
            self._loop.call_soon(self.attend, told)

    def _finish(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, exc: psycopg.Error | None) -> None:
        errors = [_server_error(result, 0) for result in self._results if result.status == _ERROR]
        told = next((error for error in errors if error.sqlstate), None)  # libpq adds its own, without a code
        said = _said(exc) if exc is not None else "the connection was lost"
        lost = ConnectionLost(told.message, sqlstate=told.sqlstate) if told is not None else ConnectionLost(said)
        lost.__cause__ = exc
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(lost)
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._pgconn.finish()
        if self.attend is not None:
            self._loop.call_soon(self.attend, [])

    def _check_progress(self, waiter: asyncio.Future[None], timeout_s: float, end: float) -> None:
        if waiter.done() or waiter is not self._waiter:
            return
        idle_end = min(self._progress_time + timeout_s, end)
        if self._loop.time() < idle_end:
            self._loop.call_at(idle_end, self._check_progress, waiter, timeout_s, end)
        else:
            waiter.set_exception(ConnectionLost(f"it did not answer within {timeout_s:g} s", timed_out=True))

    # Receiving.

    def _collect(self, calls: Sequence[Call]) -> list[list[Row]]:
        collected: list[list[Row]] = []
        transformer = self._transformer
        for expected, result in zip(self._expected, self._results, strict=True):
            status = result.status
            if status == _ERROR:
                raise _server_error(result, len(collected))
            if expected is not None:
                self._prepared.add(expected.name)
            elif status == _TUPLES and result.ntuples:
                transformer.set_pgresult(result)
                collected.append(transformer.load_rows(0, result.ntuples, tuple))
            else:
                if result.command_status == b"ROLLBACK" and calls[len(collected)][0].text == b"COMMIT":
                    raise ServerError("25P02", "the transaction had failed before", index=len(collected))
                collected.append([])
        return collected


def _server_error(result: pq.abc.PGresult, index: int) -> ServerError:
    def field(code: int) -> str:
        return (result.error_field(code) or b"").decode(errors="replace")

    return ServerError(field(_FIELDS.SQLSTATE), field(_FIELDS.MESSAGE_PRIMARY), index=index)


def _said(exc: psycopg.Error) -> str:
    return " ".join(str(exc).split())
