"""A TCP proxy between clients and a daemon, which loses replies on purpose: the write has landed, and nobody is told.

It knows nothing of what it forwards. `Proxy.drop` says for each burst of bytes from the server whether it is lost; the
connection that it was for is then reset, as it is when a network fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

BUFFER_BYTES = 64 * 1024
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)

Drop = Callable[[bytes], bool]


def never(_: bytes) -> bool:
    """Lose nothing."""
    return False


def some_of(share: float, random: Random, *, spared_bytes: int = 64) -> Drop:
    """Lose this share of the server's bursts; small ones are settings, pings and window updates, which answer nobody."""
    return lambda burst: len(burst) > spared_bytes and random.random() < share


class Proxy:
    """Listens on a free port and forwards to `target` (host:port)."""

    def __init__(self, target: str, *, drop: Drop = never) -> None:
        host, _, port = target.rpartition(":")
        self.drop = drop
        self.dropped = 0
        self.connections = 0
        self.target = ""
        self._to = (host, int(port))
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen; `target` is where clients dial then."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        address = self._server.sockets[0].getsockname()
        self.target = f"{address[0]}:{address[1]}"

    async def stop(self) -> None:
        """Cut every connection and stop listening."""
        assert self._server is not None, "not started"
        self._server.close()
        tasks = [link.task for link in self._links if link.task is not None]
        self.cut()
        await asyncio.gather(*tasks)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection that is open now, on both sides."""
        for link in list(self._links):
            link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(*self._to)
        except OSError:
            _reset(writer)
            return
        link = _Link(self, (reader, writer), upstream)
        link.task = asyncio.current_task()
        self._links.add(link)
        self.connections += 1
        try:
            await link.forward()
        finally:
            link.reset()
            self._links.discard(link)


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One client's connection and the one that was opened for it."""

    def __init__(self, proxy: Proxy, client: Side, server: Side) -> None:
        self.task: asyncio.Task[None] | None = None
        self._proxy = proxy
        self._client = client
        self._server = server

    async def forward(self) -> None:
        """Until either side ends, or a reply is lost."""
        directions = (self._requests(), self._replies())
        running = [asyncio.ensure_future(direction) for direction in directions]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for direction in running:
            direction.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _requests(self) -> None:
        with contextlib.suppress(OSError):
            while burst := await self._client[0].read(BUFFER_BYTES):
                self._server[1].write(burst)
                await self._server[1].drain()

    async def _replies(self) -> None:
        with contextlib.suppress(OSError):
            while burst := await self._server[0].read(BUFFER_BYTES):
                if self._proxy.drop(burst):
                    self._proxy.dropped += 1
                    return
                self._client[1].write(burst)
                await self._client[1].drain()

    def reset(self) -> None:
        """Both connections end at once, without a word."""
        _reset(self._client[1])
        _reset(self._server[1])


def _reset(writer: asyncio.StreamWriter) -> None:
    connected = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    if writer.transport is not None:
        writer.transport.abort()


@asynccontextmanager
async def running_proxy(target: str, *, drop: Drop = never) -> AsyncIterator[Proxy]:
    """A proxy that listens; gone after the block."""
    proxy = Proxy(target, drop=drop)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
