"""A peer that says what a test has it say: what no memcached would, and no network should."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager

from servers.base import HOST
from servers.memcached import Memcached

Answer = Callable[[bytes], bytes | None]
"""What is said when something came; None: hang up."""


@asynccontextmanager
async def peer(answer: Answer, *, banner: bytes = b"") -> AsyncIterator[str]:
    """Its address."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(banner)
        while heard := await reader.read(1 << 16):
            said = answer(heard)
            if said is None:
                break
            writer.write(said)

    async with _listening(accept) as address:
        yield address


@asynccontextmanager
async def slow_peer(pieces: Iterator[bytes], gap_s: float) -> AsyncIterator[str]:
    """Says the pieces with gaps between them, once it was asked for something."""
    loop = asyncio.get_running_loop()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say() -> None:
            if not writer.is_closing() and (piece := next(pieces, b"")):
                writer.write(piece)
                loop.call_later(gap_s, say)

        await reader.read(1 << 16)
        loop.call_later(gap_s, say)
        await reader.read()

    async with _listening(accept) as address:
        yield address


Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@asynccontextmanager
async def _listening(accept: Accept) -> AsyncIterator[str]:
    writers: list[asyncio.StreamWriter] = []

    async def accept_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            await accept(reader, writer)
        writer.close()

    server = await asyncio.start_server(accept_and_close, HOST, 0)
    try:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def relayed(server: Memcached, commands: bytes) -> bytes:
    """What a real server says to commands."""
    return server.ask(commands + b"mn\r\n", end=b"MN\r\n").removesuffix(b"MN\r\n")
