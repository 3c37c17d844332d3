"""One server: a few connections to it, opened when needed, and what is known of the process behind its address.

While it is away, callers fail at once: only the first one waits for it, and then one attempt a second looks whether it
is back, which no caller waits for.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from sidecar.core.cache import CacheUnavailable
from sidecar.core.ports import Clock
from sidecar.stores.memcached.connection import Connection
from sidecar.stores.memcached.greeting import greet, read_process
from sidecar.stores.memcached.target import Address

RETRY_S = 1.0

log = logging.getLogger(__name__)


class Server:
    """A server of the ring. `latest` tells the highest generation that this daemon has used."""

    def __init__(
        self,
        address: Address,
        *,
        connections_max: int,
        timeout_s: float,
        marker: bytes,
        clock: Clock,
        latest: Callable[[], int],
    ) -> None:
        self.name = str(address)
        self.process = ""
        """The process that was seen last."""
        self.generation_min = 0
        """Below it nothing here is believed."""
        self._address = address
        self._connections_max = connections_max
        self._timeout_s = timeout_s
        self._marker = marker
        self._monotonic = clock.monotonic
        self._latest = latest
        self._open: list[Connection] = []
        self._opening: asyncio.Task[None] | None = None
        self._failure = ""
        self._retry_time = 0.0
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether a connection to it is open."""
        return bool(self._open)

    async def connection(self) -> Connection:
        """The connection with the least under way. Raises CacheUnavailable."""
        if not self._open and not self._failure and not self._closed:
            # It goes on when this caller is cancelled: others wait for it too.
            await asyncio.wait([self._begin()])
        if self._open:
            best = min(self._open, key=lambda connection: connection.under_way)
            if best.under_way and len(self._open) < self._connections_max and self._may_try():
                self._begin()
            return best
        if self._closed:
            raise CacheUnavailable("the cache is closed")
        if self._may_try():
            self._begin()
        raise CacheUnavailable(self._failure or f"memcached {self.name} has closed the connection")

    async def identify(self) -> str:
        """The process that is there now, or the one that was there last. Raises CacheUnavailable if none was yet."""
        try:
            process = await read_process(await self.connection(), marker=self._marker)
        except CacheUnavailable:
            if not self.process:
                raise
        else:
            self._adopt(process)
        return self.process

    async def close(self) -> None:
        """End all connections. Idempotent."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        for connection in list(self._open):
            connection.close("the cache is closed")

    def _may_try(self) -> bool:
        return self._opening is None and not self._closed and self._monotonic() >= self._retry_time

    def _begin(self) -> asyncio.Task[None]:
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._connect())
        return self._opening

    async def _connect(self) -> None:
        connection = None
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._dial()
                await greet(connection, marker=self._marker)
        except (CacheUnavailable, OSError) as exc:
            if connection is not None:
                connection.close()
            self._failed(self._told(exc))
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        else:
            if self._failure:
                log.info("a memcached server is back", extra={"server": self.name})
                self._failure = ""
            self._open.append(connection)
            self._adopt(connection.process)
        finally:
            self._opening = None

    async def _dial(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self.name, timeout_s=self._timeout_s, lost=self._lost),
            self._address.host,
            self._address.port,
        )
        return connection

    def _adopt(self, process: str) -> None:
        """Another process may hold copies of long ago: nothing in it is believed before the generation has risen."""
        if self.process and process != self.process:
            log.info("a memcached server is another process than before", extra={"server": self.name})
            self.generation_min = max(self.generation_min, self._latest() + 1)
        self.process = process
        for connection in [one for one in self._open if one.process != process]:
            connection.close("another process answers at its address")

    def _lost(self, connection: Connection, complaint: str) -> None:
        if connection in self._open:
            self._open.remove(connection)
            if complaint:
                self._failed(complaint)

    def _failed(self, complaint: str) -> None:
        self._retry_time = self._monotonic() + RETRY_S
        if self._open:
            return
        if not self._failure:
            log.warning("a memcached server is away: %s", complaint, extra={"server": self.name})
        self._failure = complaint

    def _told(self, exc: Exception) -> str:
        match exc:
            case CacheUnavailable():
                return str(exc)
            case ConnectionRefusedError():
                return f"memcached {self.name} refuses connections: is it running there?"
            case socket.gaierror():
                return f"memcached {self.name}: the host's name can't be resolved"
            case TimeoutError():
                return f"memcached {self.name} does not answer within {self._timeout_s:g} s"
            case _:
                return f"memcached {self.name} can't be reached: {exc.strerror or exc}"  # type: ignore[attr-defined]  # an OSError
