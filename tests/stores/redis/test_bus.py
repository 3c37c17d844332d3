"""The near tiers' channel: what is published arrives in order at all who listen, or the subscription ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from servers.base import free_ports, shared
from servers.redis import Redis, RedisCluster, SentinelRedis, Valkey
from sidecar.core.cache import CacheUnavailable
from sidecar.stores.redis.bus import RedisBus
from tests.stores.redis.support import client_of, new_prefix, until

MESSAGES = [b"", b"one", b"\0\r\n\xff", bytes(100_000)]


@dataclass
class Listener:
    """What a daemon hears; `subscribed` is set once it hears."""

    heard: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    subscribed: asyncio.Event = field(default_factory=asyncio.Event)
    task: Any = None

    async def next(self, count: int) -> list[bytes]:
        async with asyncio.timeout(10):
            return [await self.heard.get() for _ in range(count)]

    async def end(self) -> None:
        """Until it hears no more. Raises what it was told."""
        async with asyncio.timeout(10):
            await self.task


@asynccontextmanager
async def listening(url: str, prefix: str) -> AsyncIterator[Listener]:
    async with client_of(url) as client:
        listener = Listener()
        bus = RedisBus(client, prefix=prefix)
        listener.task = asyncio.create_task(bus.listen(listener.heard.put_nowait, listener.subscribed.set))
        async with asyncio.timeout(10):
            await listener.subscribed.wait()
        try:
            yield listener
        finally:
            listener.task.cancel()
            await asyncio.gather(listener.task, return_exceptions=True)


@pytest.mark.parametrize("kind", [Redis, Valkey, RedisCluster, SentinelRedis])
async def test_messages_arrive_in_order_at_all_who_listen(kind: Any) -> None:
    """In a Cluster, from any node at any other."""
    url, prefix = shared(kind).url, new_prefix()
    urls = [url]
    if kind is RedisCluster:
        urls = [f"redis+cluster://127.0.0.1:{node.port}" for node in shared(kind).primaries]
    async with client_of(url) as client, listening(urls[0], prefix) as one, listening(urls[-1], prefix) as other:
        await RedisBus(client, prefix=prefix).publish(MESSAGES)
        await RedisBus(client, prefix=prefix).publish([b"last"])

        for listener in (one, other):
            assert await listener.next(5) == [*MESSAGES, b"last"]


async def test_channels_of_two_prefixes_are_apart() -> None:
    url = shared(Valkey).url
    async with client_of(url) as client, listening(url, "one") as one, listening(url, "other") as other:
        await RedisBus(client, prefix="one").publish([b"1"])
        await RedisBus(client, prefix="other").publish([b"2"])

        assert (await one.next(1), await other.next(1)) == ([b"1"], [b"2"])


async def test_nothing_to_publish_is_nothing() -> None:
    (port,) = free_ports(1)
    async with client_of(f"redis://127.0.0.1:{port}") as client:
        await RedisBus(client).publish([])


async def test_a_subscription_that_breaks_is_said() -> None:
    server, prefix = shared(Valkey), new_prefix()
    async with listening(server.url, prefix) as listener:
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        with pytest.raises(CacheUnavailable, match=r"the subscription at 127.0.0.1:\d+ was lost"):
            await listener.end()


async def test_a_listener_that_is_cancelled_leaves_no_subscription() -> None:
    server, prefix = shared(Valkey), new_prefix()
    async with client_of(server.url) as client:
        async with listening(server.url, prefix):
            assert server.ask("PUBSUB", "NUMSUB", f"{prefix}:near")[1] == 1

        async def nobody_listens() -> bool:
            _, count = server.ask("PUBSUB", "NUMSUB", f"{prefix}:near")
            return bool(count == 0)

        await until(client, nobody_listens)


@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_a_slow_listener_is_disconnected_by_the_server_and_hears_of_it(kind: type[Valkey]) -> None:
    """Buffers are bounded at the server; here nothing is kept beside what was received."""
    with kind("--client-output-buffer-limit", "pubsub 100kb 100kb 1") as server:
        async with listening(server.url, "slow") as listener:
            sent = _publish_while_somebody_listens(server, "slow:near")  # our loop does not run meanwhile
            with pytest.raises(CacheUnavailable, match=r"the subscription at 127.0.0.1:\d+ was lost"):
                await listener.end()
            assert listener.heard.qsize() < sent


def _publish_while_somebody_listens(server: Valkey, channel: str) -> int:
    """How many messages somebody listened to.

    It depends on sizes of sockets, and on when the server looks: Redis at each message, Valkey 9 ten times a second. A
    listener that came to read what there is before it looks would stay.
    """
    with server.client() as connection:
        for sent in range(300):
            if not connection.publish(channel, bytes(1_000_000)):
                return sent
    raise AssertionError("the server keeps all it is given")


async def test_a_channel_that_our_user_may_not_use_is_said() -> None:
    with Valkey() as server:
        server.ask("ACL", "SETUSER", "deaf", "on", ">deaf", "~*", "+@all", "resetchannels")
        async with client_of(f"redis://deaf:deaf@127.0.0.1:{server.port}") as client:
            bus = RedisBus(client)
            for use in (bus.publish([b"x"]), bus.listen(lambda _: None, lambda: None)):
                with pytest.raises(CacheUnavailable, match=r"does not permit our user a key, channel or command"):
                    await use


async def test_a_server_that_is_away_is_said() -> None:
    (port,) = free_ports(1)
    async with client_of(f"redis://127.0.0.1:{port}") as client:
        for use in (RedisBus(client).publish([b"x"]), RedisBus(client).listen(lambda _: None, lambda: None)):
            with pytest.raises(CacheUnavailable, match=r"nothing listens"):
                await use
