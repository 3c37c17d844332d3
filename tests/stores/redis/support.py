"""Clients and caches of a test, a proxy that holds replies back, and waiting without sleeping."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any, TypeVar

from sidecar.core.cache import CacheUnavailable
from sidecar.stores.redis.cache import RedisCache
from sidecar.stores.redis.client import RedisClient, RedisRefused, RedisUnavailable
from sidecar.stores.redis.target import parse_target
from tests.contract.adapters_redis_cache import VALKEY_CACHE
from tests.contract.harnesses import CacheUnderTest
from tests.support.clock import ManualClock

T = TypeVar("T")
_prefixes = count(1)


def new_prefix() -> str:
    """A prefix that no other test has."""
    return f"test {next(_prefixes)}/"


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[RedisClient]:
    """A client with a clock of its own, `client._clock`; closed afterwards."""
    given: dict[str, Any] = {"clock": ManualClock(), "timeout_s": 10.0} | options
    client = RedisClient(parse_target(url), **given)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def cache_of(
    url: str, *, kind: type[RedisCache] = RedisCache, timeout_s: float = 10.0, **options: Any
) -> AsyncIterator[CacheUnderTest]:
    """A cache as another daemon's: with a client of its own."""
    async with client_of(url, timeout_s=timeout_s) as client:
        cache = kind(client, **{"prefix": new_prefix()} | options)
        yield CacheUnderTest(harness=VALKEY_CACHE, cache=cache)


def client_behind(cache: CacheUnderTest) -> RedisClient:
    """Its client."""
    assert isinstance(cache.cache, RedisCache)
    return cache.cache._client


async def until_it_answers(client: RedisClient, ask: Callable[[], Awaitable[T]]) -> T:
    """The first answer that is no outage; a client tries to connect once a second of its clock."""
    clock: Any = client._clock
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask()
            except (RedisUnavailable, RedisRefused, CacheUnavailable):
                clock.advance(1000)
                await asyncio.sleep(0)


async def until(client: RedisClient, holds: Callable[[], Awaitable[bool]]) -> None:
    """Until something is so."""
    clock: Any = client._clock
    async with asyncio.timeout(30):
        while not await holds():
            clock.advance(1000)
            await asyncio.sleep(0)


@asynccontextmanager
async def hesitant_proxy(port: int, random: Random) -> AsyncIterator[int]:
    """A port whose replies come late and in pieces."""
    tasks: set[asyncio.Task[None]] = set()

    async def replies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while burst := await reader.read(1 << 16):
            while burst:
                for _ in range(random.choice((0, 0, 1, 5, 30))):
                    await asyncio.sleep(0)
                size = random.randint(1, len(burst))
                writer.write(burst[:size])
                burst = burst[size:]

    async def requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while burst := await reader.read(1 << 16):
            writer.write(burst)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                group.create_task(requests(reader, to_writer))
                group.create_task(replies(to_reader, writer))
        for one in (writer, to_writer):
            one.transport.abort()
        tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
