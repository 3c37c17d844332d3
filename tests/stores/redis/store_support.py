"""Daemons that share an authority in Redis: each is a store object with a client of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from servers.redis import Valkey
from sidecar.core.errors import StoreUnavailable
from sidecar.stores.redis.client import Argument, RedisClient, Script
from sidecar.stores.redis.store import RedisStore
from sidecar.stores.redis.store_rows import Shard, shards_of
from sidecar.stores.redis.target import parse_target
from tests.contract.adapters_redis_store import REDIS_STORE
from tests.contract.harnesses import StoreUnderTest
from tests.support.clock import ManualClock

T = TypeVar("T")
_places = count(1)


def place() -> str:
    """A prefix that no other test has."""
    return f"test{next(_places)}"


class Interrupted(RedisClient):
    """A client at which others are faster: `before[n]` happens just before the n-th script of a write is sent."""

    before: dict[int, Callable[[], Awaitable[object]]]
    writes = 0

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Argument] = ()) -> Any:
        if script.name == "store_commit":
            self.writes += 1
            if self.writes in self.before:
                await self.before.pop(self.writes)()
        return await super().run(script, keys, args)


@asynccontextmanager
async def daemon(
    url: str,
    *,
    prefix: str = "",
    timeout_s: float = 10.0,
    before: dict[int, Callable[[], Awaitable[object]]] | None = None,
    **options: Any,
) -> AsyncIterator[StoreUnderTest]:
    """An open store by the server's clock, unless `server_clock` is given; `before` is that of `Interrupted`."""
    clock = ManualClock()
    client = Interrupted(parse_target(url), clock=clock, timeout_s=timeout_s)
    client.before = before or {}
    store = RedisStore(client, clock=clock, prefix=prefix, **options)
    try:
        await store.open()
        yield StoreUnderTest(harness=REDIS_STORE, directory=Path(), clock=clock, store=store)
    finally:
        await store.close()
        await client.close()


def pass_time(server: Valkey, seconds: float) -> None:
    """The server waits for an item that nobody pushes."""
    with server.client() as connection:
        connection.blpop("nothing is pushed here", timeout=seconds)


def shard_of(prefix: str) -> Shard:
    """What a store without shards keeps in Redis."""
    (shard,) = shards_of(prefix, 1)
    return shard


async def until_answered(ask: Callable[[], Awaitable[T]], clock: ManualClock) -> T:
    """The first answer that is no StoreUnavailable; a client tries to connect once a second."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                clock.advance(1000)
                await asyncio.sleep(0)
