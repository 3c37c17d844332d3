"""The connections to one server: opened when needed, shared by all callers, not asked for in vain more than once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sidecar.core.observed import Pool
from sidecar.core.ports import Clock
from sidecar.stores.redis.connection import Connection
from sidecar.stores.redis.errors import RedisUnavailable

CALLS_PER_CONNECTION = 32
"""With this many calls waiting on every connection, another one is opened."""
CALLS_MAX = 4096
"""With this many waiting on every connection, a call is refused."""
RETRY_S = 1.0

Open = Callable[[], Awaitable[Connection]]


class Node:
    """One server, or the primary that sentinels name; `open_one` opens a connection to it, within the timeout."""

    def __init__(self, open_one: Open, *, clock: Clock, timeout_s: float, connections_max: int) -> None:
        self._open_one = open_one
        self._monotonic = clock.monotonic
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._connections: list[Connection] = []
        self._lock = asyncio.Lock()
        self._failed: tuple[float, str] | None = None
        self._closed = False

    @property
    def pool(self) -> Pool:
        """The connections: callers share them, so none waits for one."""
        loads = [connection.load for connection in list(self._connections) if connection.usable]
        in_use = sum(load > 0 for load in loads)
        return Pool(in_use=in_use, idle=len(loads) - in_use, size_max=self._connections_max)

    def ready(self) -> Connection | None:
        """A connection that can take a call now without any being opened."""
        for connection in self._connections:
            if connection.usable and connection.load < CALLS_PER_CONNECTION:
                return connection
        return None

    async def connection(self) -> Connection:
        """A connection, opened if need be. Raises RedisUnavailable within the timeout."""
        ready = self.ready()
        if ready is not None:
            return ready
        busy = self._least_busy()
        if busy is not None and (self._lock.locked() or len(self._connections) >= self._connections_max):
            return busy
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._lock.acquire()
        except TimeoutError:
            raise RedisUnavailable(f"no connection within {self._timeout_s:g} s") from None
        try:
            return self.ready() or await self._opened()
        finally:
            self._lock.release()

    async def _opened(self) -> Connection:
        if self._closed:
            raise RedisUnavailable("the client is closed")
        if self._failed is not None and self._monotonic() < self._failed[0] + RETRY_S:
            raise RedisUnavailable(self._failed[1])
        try:
            connection = await self._open_one()
        except RedisUnavailable as exc:
            self._failed = (self._monotonic(), str(exc))
            raise
        self._failed = None
        self._connections.append(connection)
        return connection

    def _least_busy(self) -> Connection | None:
        self._connections = [connection for connection in self._connections if connection.usable]
        best = min(self._connections, key=lambda connection: connection.load, default=None)
        if best is not None and best.load >= CALLS_MAX:
            raise RedisUnavailable(f"{CALLS_MAX} calls wait for {best.endpoint} already")
        return best

    def retire(self) -> None:
        """Let the connections go once they have answered: who is at their other end is to be asked anew."""
        for connection in self._connections:
            if connection.usable:
                connection.retire()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        self._closed = True
        connections, self._connections = self._connections, []
        for connection in connections:
            if not connection.lost.done():
                connection.abort("the client was closed")
        await asyncio.gather(*(connection.lost for connection in connections))


def primary_only(connection: Connection, hello: dict[bytes, Any], *, cluster: bool) -> Connection:
    """The connection, if its server is a primary of the kind that was meant. Raises RedisUnavailable."""
    role, mode = hello.get(b"role"), hello.get(b"mode")
    wrong = ""
    if mode == b"sentinel":
        wrong = "is a sentinel: write redis+sentinel://host:port/NAME"
    elif cluster != (mode == b"cluster"):
        wrong = "is no Cluster node: write redis://" if cluster else "is a Cluster's node: write redis+cluster://"
    elif role != b"master" and not cluster:
        wrong = "is a replica, and its data may be old: name the primary"
    if wrong:
        connection.abort("it is not what was meant")
        raise RedisUnavailable(f"{connection.endpoint} {wrong}")
    return connection
