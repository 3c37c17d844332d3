"""The authority's clock is the server's: this machine's may say what it likes."""

from __future__ import annotations

import pytest
import redis

from servers.base import shared
from servers.redis import Redis
from sidecar.core.errors import FailedPrecondition
from sidecar.core.operations import Change, Increment
from tests.stores.redis.store_support import daemon, pass_time, place
from tests.support.clock import START_MS


def time_of(connection: redis.Redis) -> int:
    seconds, microseconds = connection.time()
    return int(seconds * 1000 + microseconds // 1000)


async def test_now_is_the_servers_clock_going_on_with_our_monotonic_one() -> None:
    server = shared(Redis)
    async with daemon(server.url, prefix=place()) as store:
        assert abs(store.now() - time_of(server.client())) < 5_000
        before = store.now()
        store.clock.advance(1_000_000)

        assert store.now() == before + 1_000_000
        await store.copy("key")
        assert abs(store.now() - time_of(server.client())) < 5_000


async def test_times_are_the_servers() -> None:
    server = shared(Redis)
    async with daemon(server.url, prefix=place()) as store:
        begin = time_of(server.client())
        await store.put("key", ttl_ms=3_600_000)
        end = time_of(server.client())

        entry = await store.entry("key")

        assert entry is not None
        assert begin <= entry.create_time == entry.update_time <= end
        assert entry.expire_time == entry.create_time + 3_600_000
        assert entry.create_time < START_MS


async def test_an_entry_ends_by_the_servers_clock() -> None:
    server = shared(Redis)
    async with daemon(server.url, prefix=place()) as store:
        version = await store.put("key", b"5", ttl_ms=50)
        await store.put("stays", ttl_ms=60_000)
        pass_time(server, 0.1)

        assert await store.copy("key") is None
        assert await store.keys() == ["stays"]
        assert not (await store.touch("key", ttl_ms=1000)).found
        with pytest.raises(FailedPrecondition):
            await store.commit(Change(key="key", change=Increment(delta=1)))
        (grave,) = (await store.store.sweep(store.sweep_order())).expired
        assert (grave.key, grave.version > version) == ("key", True)
        assert await store.copy("key") == grave
        assert abs(grave.delete_time - time_of(server.client())) < 5_000


async def test_what_is_swept_is_old_by_the_servers_clock() -> None:
    server = shared(Redis)
    async with daemon(server.url, prefix=place()) as store:
        await store.put("key")
        await store.remove("key")
        store.clock.advance(10_000_000)
        assert (await store.store.sweep(store.sweep_order(tombstone_retention_ms=60_000))).tombstones == 0
        pass_time(server, 0.1)

        assert (await store.store.sweep(store.sweep_order(tombstone_retention_ms=50))).tombstones == 1
        assert await store.copy("key") is None
