"""Group commit on PostgreSQL: the store through its own API, against two that commit each write, on one real server.

The full writes (value, request id, change row) of the same store without groups, and bare upserts that do nothing but
store the value; both over 16 connections. All live through the whole run, and take turns in short blocks.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import psycopg
import uvloop

from bench.figures import PostgresCommits
from servers.postgres import Postgres
from sidecar.core.operations import Put, Write, WriteId
from sidecar.runtime.ports import SystemClock
from sidecar.stores.postgres import PostgresStore, parse_target

CONCURRENCY = 32
CONNECTIONS = 16
VALUE = bytes(1024)
BARE_TABLE = "CREATE TABLE bare (key bytea PRIMARY KEY, value bytea NOT NULL) WITH (fillfactor = 80)"
BARE_UPSERT = "INSERT INTO bare (key, value) VALUES (%b, %b) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

Writer = Callable[[str], Awaitable[object]]


def _store(server: Postgres, schema: str, **options: Any) -> PostgresStore:
    return PostgresStore(parse_target(server.url(schema=schema)), clock=SystemClock(), **options)


async def _writer(store: PostgresStore, stack: AsyncExitStack) -> Writer:
    await store.open()
    stack.push_async_callback(store.close)

    numbers = count()

    def write(key: str) -> Awaitable[object]:
        request_id = f"{key}-{next(numbers)}"
        return store.commit(
            Write(
                namespace="session",
                operations=(Put(key=key, value=VALUE),),
                value_bytes_max=1 << 20,
                request=WriteId(request_id=request_id, fingerprint=request_id.encode()),
            )
        )

    return write


@asynccontextmanager
async def _pool(server: Postgres) -> Any:
    connections = [await psycopg.AsyncConnection.connect(server.url(), autocommit=True) for _ in range(CONNECTIONS)]
    free: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    try:
        yield free
    finally:
        for connection in connections:
            await connection.close()


async def _upserter(server: Postgres, stack: AsyncExitStack) -> Writer:
    server.execute(BARE_TABLE)
    free = await stack.enter_async_context(_pool(server))

    async def write(key: str) -> None:
        connection = await free.get()
        try:
            await connection.execute(BARE_UPSERT, (key.encode(), VALUE))
        finally:
            free.put_nowait(connection)

    return write


async def _block(write: Writer, writes: int) -> float:
    """Writes a second, of writers on keys of their own."""
    each = writes // CONCURRENCY

    async def writer(key: str) -> None:
        for _ in range(each):
            await write(key)

    start = time.perf_counter()
    await asyncio.gather(*(writer(f"key-{number}") for number in range(CONCURRENCY)))
    return each * CONCURRENCY / (time.perf_counter() - start)


async def _measure(server: Postgres, *, rounds: int, writes: int) -> PostgresCommits:
    async with AsyncExitStack() as stack:
        writers = {
            "grouped": await _writer(_store(server, "grouped"), stack),
            "single": await _writer(_store(server, "single", batch_max=1, lanes=CONNECTIONS), stack),
            "bare": await _upserter(server, stack),
        }
        rates: dict[str, list[float]] = {name: [] for name in writers}
        for write in writers.values():
            await _block(write, writes)
        for number in range(rounds):
            for name in sorted(writers, reverse=bool(number % 2)):
                rates[name].append(await _block(writers[name], writes))

    def ratio(name: str) -> float:
        return statistics.median(mine / its for mine, its in zip(rates["grouped"], rates[name], strict=True))

    return PostgresCommits(
        concurrency=CONCURRENCY,
        connections=CONNECTIONS,
        grouped_per_s=statistics.median(rates["grouped"]),
        single_per_s=statistics.median(rates["single"]),
        bare_per_s=statistics.median(rates["bare"]),
        single_ratio=ratio("single"),
        single_ratio_min=3.0,
        bare_ratio=ratio("bare"),
        bare_ratio_min=1.2,
    )


def measure(progress: Callable[[str], None], *, rounds: int, writes: int) -> PostgresCommits:
    """Side by side, on a server of its own that syncs each commit."""
    progress(f"PostgreSQL Set, {CONCURRENCY} concurrent")
    with Postgres(fsync=True) as server:
        return uvloop.run(_measure(server, rounds=rounds, writes=writes))


if __name__ == "__main__":
    print(measure(print, rounds=10, writes=1600))
