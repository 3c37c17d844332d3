"""A cache that is away, hangs or comes back: every call says so in time, and all goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from servers.base import free_ports
from servers.redis import Redis, RedisCluster, SentinelRedis, Valkey
from sidecar.core.cache import CacheUnavailable, Fill, Miss
from tests.contract.harnesses import CacheUnderTest
from tests.stores.redis.support import cache_of, client_behind, until_it_answers
from tests.support.factories import NAMESPACE, entry

TIMEOUT_S = 0.4
LEASE = f"1.{1 << 58}.holder"
CALLS: dict[str, Callable[[CacheUnderTest], Awaitable[object]]] = {
    "get": lambda cache: cache.get(),
    "lease": lambda cache: cache.cache.lease(NAMESPACE, ["key"], generation=1, now=cache.now),
    "fill": lambda cache: cache.cache.fill(NAMESPACE, [Fill("key", entry(), LEASE)], generation=1, now=cache.now),
    "apply": lambda cache: cache.apply(entry()),
    "invalidate": lambda cache: cache.cache.invalidate(NAMESPACE, ["key"]),
    "release": lambda cache: cache.cache.release(NAMESPACE, [("key", LEASE)]),
    "identity": lambda cache: cache.cache.identity(),
    "claim": lambda cache: cache.cache.claim_repair("me", generation=1, begin=1, now=cache.now),
    "renew": lambda cache: cache.cache.renew_repair("me", generation=1, cursor=1, now=cache.now),
}


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_says_that_nobody_is_there(call: str) -> None:
    (port,) = free_ports(1)
    for url in (
        f"redis://127.0.0.1:{port}",
        f"redis+cluster://127.0.0.1:{port}",
        f"redis+sentinel://127.0.0.1:{port}/x",
    ):
        async with cache_of(url) as cache:
            with pytest.raises(CacheUnavailable, match=f"nothing listens at 127.0.0.1:{port}"):
                await CALLS[call](cache)


@pytest.mark.parametrize("kind", [Valkey, RedisCluster])
async def test_a_server_that_hangs_is_an_error_in_time_and_heals(kind: Any) -> None:
    with kind() as server:
        nodes = server.primaries if isinstance(server, RedisCluster) else [server]
        for call, act in CALLS.items():
            async with cache_of(server.url, timeout_s=TIMEOUT_S) as cache:
                await until_it_answers(client_behind(cache), cache.get)
                for node in nodes:
                    node.pause()
                start = asyncio.get_running_loop().time()
                with pytest.raises(CacheUnavailable, match=r"answer|was lost"):
                    await act(cache)
                assert asyncio.get_running_loop().time() - start < 4 * TIMEOUT_S, call
                for node in nodes:
                    node.resume()
                await until_it_answers(client_behind(cache), partial(act, cache))


@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_a_server_that_was_killed_comes_back_empty(kind: type[Valkey]) -> None:
    with kind() as server:
        async with cache_of(server.url) as cache:
            await cache.hold(entry())
            server.kill()
            with pytest.raises(CacheUnavailable):
                await cache.get()
            server.restart()

            answer = await until_it_answers(client_behind(cache), cache.get)

            assert isinstance(answer, Miss)
            assert answer.lease


async def test_a_server_that_loads_its_log_is_waited_for() -> None:
    """LOADING is an outage, and what was loaded is of another identity."""
    with Redis("--appendonly", "yes", "--key-load-delay", "100") as server:
        async with cache_of(server.url) as cache:
            for number in range(100):
                await cache.hold(entry(key=f"{number}", value=bytes(100_000)))
            before = await cache.cache.identity()
            server.kill()
            await asyncio.to_thread(server.restart)
            assert await until_it_answers(client_behind(cache), lambda: cache.get("7")) == Miss(None)

            assert await cache.cache.identity() != before
            assert await cache.get("7") == Miss(None)
            cache.generation = 2
            assert await cache.lease("7")


async def test_callers_that_were_cancelled_leave_no_trouble() -> None:
    with SentinelRedis() as servers:
        async with cache_of(servers.url, timeout_s=2.0) as cache:
            await cache.hold(entry())
            for turns in range(30):
                task = asyncio.create_task(cache.get())
                for _ in range(turns % 6):
                    await asyncio.sleep(0)
                task.cancel()
                assert await cache.held() == entry()


async def test_a_primary_that_cannot_save_refuses_and_is_an_outage() -> None:
    with Redis("--save", "3600 1") as server:
        async with cache_of(server.url) as cache:
            await cache.hold(entry())
            (server.directory / "dump.rdb").mkdir()
            server.ask("BGSAVE")
            server.wait_for(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err" or 1 / 0)

            with pytest.raises(CacheUnavailable, match=r"can't persist, and refuses writes"):
                await cache.apply(entry(version=2))
            assert await cache.held() == entry()
