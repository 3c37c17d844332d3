"""A proxy before a backend whose replies come late, in pieces, and now and then too late for whoever waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random


@asynccontextmanager
async def delaying_proxy(port: int, random: Random, *, stall_s: float) -> AsyncIterator[int]:
    """The proxy's port. Of the server's bursts one in ten waits up to 5 ms, one in 300 for `stall_s`."""
    tasks: set[asyncio.Task[None]] = set()

    async def replies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while burst := await reader.read(1 << 16):
                drawn = random.random()
                if drawn < 0.1:
                    writer.write(burst[: (cut := random.randint(0, len(burst)))])
                    burst = burst[cut:]
                    await asyncio.sleep(stall_s if drawn < 1 / 300 else random.uniform(0, 0.005))
                writer.write(burst)
        writer.transport.abort()

    async def requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while burst := await reader.read(1 << 16):
                writer.write(burst)
        writer.transport.abort()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(requests(reader, to_writer))
                group.create_task(replies(to_reader, writer))
        finally:
            to_writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            writer.transport.abort()  # here, since a task that is cancelled before its first step runs nothing

        task = asyncio.get_running_loop().create_task(forward(reader, writer))
        tasks.add(task)
        task.add_done_callback(ended)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        while tasks:
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
