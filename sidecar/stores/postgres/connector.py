"""Connections, made when they are needed: to the host that takes writes, to a database of ours, which this makes ready."""

from __future__ import annotations

import asyncio
import logging

import psycopg

from sidecar.core.errors import SidecarError, StoreUnavailable
from sidecar.core.ports import Clock
from sidecar.stores.postgres.clock import ServerClock
from sidecar.stores.postgres.errors import ConnectionLost, ServerError, again, connect_error
from sidecar.stores.postgres.preparation import Incarnation, Preparation
from sidecar.stores.postgres.queries import Queries
from sidecar.stores.postgres.target import PostgresTarget
from sidecar.stores.postgres.wire import Session

_log = logging.getLogger(__name__)

RETRY_S = 1.0
"""How long a failure to connect is answered from memory."""
SERVER_VERSION_MIN = 14


class Connector:
    """Makes sessions that are ready for use. `highest` is the newest version that this process drew."""

    def __init__(self, target: PostgresTarget, clock: Clock, *, timeout_s: float) -> None:
        self.queries = Queries(target.schema)
        self.server_clock = ServerClock(clock)
        self.timeout_s = timeout_s
        self.incarnation: Incarnation | None = None
        self.highest = 0
        self._target = target
        self._clock = clock
        self._hosts = list(target.hosts)
        self._prepares = target.prepared
        self._preparation = Preparation(self.queries, self.server_clock, target.app)
        self._preparing = asyncio.Lock()
        self._failure: SidecarError | None = None
        self._retry_time = 0.0

    async def connect(self) -> Session:
        """A session to a primary whose schema is ready. Raises SidecarError, the same for a second after a failure."""
        if self.failing:
            assert self._failure is not None
            raise again(self._failure)
        try:
            session = await self._connect()
        except SidecarError as exc:
            self.note_failure(exc)
            raise
        self._failure = None
        return session

    async def connect_aside(self) -> Session:
        """A session for what nobody waits for: that it failed says nothing to those who do. Raises SidecarError."""
        if self.failing:
            assert self._failure is not None
            raise again(self._failure)
        return await self._connect()

    @property
    def failing(self) -> bool:
        """Whether connecting failed just now."""
        return self._failure is not None and self._clock.monotonic() < self._retry_time

    def note_failure(self, exc: SidecarError) -> None:
        """Connecting is of no use for a second."""
        self._failure = exc
        self._retry_time = self._clock.monotonic() + RETRY_S

    def begin_anew(self) -> None:
        """Have the next connection look at everything, and at once."""
        self._failure = None
        self.incarnation = None

    def stop_preparing_statements(self) -> None:
        """There is a pooler after all."""
        self._prepares = False

    async def prepare(self, session: Session) -> None:
        """Make sure of what the session leads to, which may have gone back in time. Raises ServerError, SidecarError…"""
        async with self._preparing:
            identity = await self._preparation.run(session, highest=self.highest)
            self.incarnation = identity.incarnation

    async def _connect(self) -> Session:
        failures: list[SidecarError] = []
        for host in list(self._hosts):
            try:
                session = await self._connect_to(host)
            except (psycopg.Error, OSError, ServerError, ConnectionLost, SidecarError) as exc:
                failures.append(connect_error(exc, host, timeout_s=self._timeout_per_host_s))
            else:
                # The next time first; a failover moves on.
                self._hosts.remove(host)
                self._hosts.insert(0, host)
                return session
        if len(failures) == 1:
            raise failures[0]
        raise StoreUnavailable("; ".join(failure.message for failure in failures)) from failures[-1]

    @property
    def _timeout_per_host_s(self) -> float:
        return self.timeout_s / len(self._hosts)

    async def _connect_to(self, host: tuple[str, int]) -> Session:
        session = await Session.connect(self._target.parameters(host), timeout_s=self._timeout_per_host_s)
        session.timeout_s = self.timeout_s
        try:
            is_direct = await self._recognise(session)
            if self.incarnation is None or (await self._preparation.look(session)).incarnation != self.incarnation:
                await self.prepare(session)
        except BaseException:
            session.close()
            raise
        session.direct = is_direct
        session.prepares = self._prepares and is_direct
        return session

    async def _recognise(self, session: Session) -> bool:
        """Whether no pooler is between. Raises StoreUnavailable for a server that this release can't use."""
        (((in_recovery, version, pid, encoding, fsync),),) = await session.exchange([(self.queries["recognise"], ())])
        if in_recovery:
            raise StoreUnavailable(
                "PostgreSQL is a read-only standby here; name the primary, or all hosts of the cluster"
            )
        if version < SERVER_VERSION_MIN * 10_000:
            raise StoreUnavailable(
                f"PostgreSQL {version // 10_000} is too old; {SERVER_VERSION_MIN} is the oldest that will do"
            )
        if encoding != "UTF8":
            raise StoreUnavailable(f"the database's encoding is {encoding}; make one with ENCODING 'UTF8'")
        if fsync == "off" and self.incarnation is None:
            _log.warning("the server runs with fsync off: a crash of its machine loses acknowledged writes")
        return bool(pid == session.greeted_pid)
