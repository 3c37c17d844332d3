"""A user that may run what the page lists, on an app's keys and channels, can do everything as a cache."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from servers.redis import Redis, RedisCluster, Valkey
from sidecar.core.cache import CacheUnavailable, Fill, Miss, Turn
from sidecar.stores.redis.bus import RedisBus
from tests.stores.redis.support import cache_of, client_behind
from tests.support.factories import NAMESPACE, entry

PAGE = Path(__file__).parents[3] / "docs" / "adapters" / "redis.md"
PREFIX = "state-sidecar/app/"


def documented() -> list[str]:
    """The rules of the page's ACL row."""
    found = re.search(
        r"\| ACL \| `(~\S+)`, `(&\S+)`, and `([a-z \\|]+)`; in a Cluster `([a-z \\|]+)`", PAGE.read_text()
    )
    assert found is not None
    keys, channels, *commands = (found[number] for number in (1, 2, 3, 4))
    rules = [rule.replace("PREFIX", PREFIX) for rule in (keys, channels)]
    return [*rules, *(f"+{command}".replace("\\", "") for part in commands for command in part.split())]


@pytest.mark.parametrize("kind", [Redis, Valkey, RedisCluster])
async def test_what_is_documented_suffices(kind: Any) -> None:
    with kind() as server:
        for node in server.primaries if isinstance(server, RedisCluster) else [server]:
            node.ask("ACL", "SETUSER", "app", "reset", "on", ">secret", *documented())
        url = server.url.replace("://", "://app:secret@")
        async with cache_of(url, prefix=f"{PREFIX}0123/") as cache:
            assert await cache.cache.identity()
            await cache.hold(None, key="missing")
            for key in ("one", "two", "three"):
                await cache.hold(entry(key=key))
            await cache.apply(entry(key="one", version=2), entry(key="missing"), entry(key="absent"))
            answers = await cache.cache.get(NAMESPACE, ["one", "two", "none"], generation=1, now=cache.now)
            assert isinstance(answers[2], Miss)
            assert answers[2].lease
            fill = Fill("none", entry(key="none"), answers[2].lease)
            assert await cache.cache.fill(NAMESPACE, [fill], generation=1, now=cache.now) == 1
            (lease,) = await cache.cache.lease(NAMESPACE, ["new"], generation=1, now=cache.now)
            assert lease
            await cache.cache.release(NAMESPACE, [("new", lease)])
            await cache.cache.invalidate(NAMESPACE, ["one", "two"])
            assert await cache.cache.claim_repair("me", generation=1, begin=1, now=cache.now) == Turn(1)
            assert await cache.cache.renew_repair("me", generation=1, cursor=2, now=cache.now)

            heard: asyncio.Queue[bytes] = asyncio.Queue()
            subscribed = asyncio.Event()
            bus = RedisBus(client_behind(cache), prefix=f"{PREFIX}0123/")
            listening = asyncio.create_task(bus.listen(heard.put_nowait, subscribed.set))
            await subscribed.wait()
            await bus.publish([b"message"])
            assert await heard.get() == b"message"
            listening.cancel()


async def test_another_apps_keys_are_out_of_reach() -> None:
    with Redis() as server:
        server.ask("ACL", "SETUSER", "app", "reset", "on", ">secret", *documented())
        url = server.url.replace("://", "://app:secret@")
        async with cache_of(url, prefix="state-sidecar/other/") as cache:
            for use in (cache.get(), cache.apply(entry()), cache.cache.identity()):
                with pytest.raises(CacheUnavailable, match=r"does not permit"):
                    await use
