"""Change rows: bounded, and whatever the server may have undone is told as a gap."""

from __future__ import annotations

import asyncio

import pytest

from servers.base import shared
from servers.redis import Redis, SentinelRedis
from sidecar.core.errors import Unsupported
from tests.contract.harnesses import StoreUnderTest
from tests.stores.redis.store_support import daemon, place, shard_of, until_answered
from tests.support.clock import ManualClock

CHANGES_MAX, SLACK = 50, 100


async def expect_gap(store: StoreUnderTest, cursor: int) -> None:
    """It is told once, and then all that follows."""
    page = await until_answered(lambda: store.store.changes(after=cursor, limit=1000), store.clock)
    assert page.gap
    version = await store.put("after the gap")
    rest = await store.store.changes(after=page.cursor, limit=1000)
    assert not rest.gap
    assert [row.version for row in rest.changes] == [version]


@pytest.mark.parametrize("writes", [0, 1, 200])
async def test_a_flush_is_a_gap(writes: int) -> None:
    with Redis() as server:
        async with daemon(server.url) as store:
            for _ in range(100):
                await store.put("key")
            cursor = await store.cursor()
            server.ask("FLUSHALL")
            for _ in range(writes):
                await store.put("key")

            await expect_gap(store, cursor)


async def test_a_cursor_beyond_the_newest_change_is_a_gap() -> None:
    """As after a flush by a server whose clock was set back."""
    clock = ManualClock()
    with Redis() as server:
        async with daemon(server.url, server_clock=clock) as store:
            await store.put("key")
            cursor = await store.cursor()
            server.ask("FLUSHALL")
            clock.set_back(3_600_000)

            await expect_gap(store, cursor)
            assert (await store.store.changes(after=cursor, limit=10)).gap


@pytest.mark.parametrize("writes", [0, 1, 200])
async def test_a_restart_is_a_gap_though_all_came_back(writes: int) -> None:
    """What was told, and then not saved, has to be looked at again."""
    with Redis("--appendonly", "yes", "--appendfsync", "no") as server:
        async with daemon(server.url) as store:
            await store.put("key")
            cursor = await store.cursor()
            server.kill()
            server.restart()
            await until_answered(lambda: store.entry("key"), store.clock)
            for _ in range(writes):
                await store.put("key")

            await expect_gap(store, cursor)


async def test_a_failover_is_a_gap() -> None:
    with SentinelRedis() as servers:
        async with daemon(servers.url, timeout_s=1.0) as store:
            await store.put("key")
            cursor = await store.cursor()
            servers.primary.kill()

            await expect_gap(store, cursor)


async def test_a_reader_that_follows_the_same_server_sees_no_gap() -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix) as writer, daemon(server.url, prefix=prefix) as reader:
        cursor = await reader.cursor()
        for n in range(20):
            version = await writer.put(f"{n}")
            page = await reader.store.changes(after=cursor, limit=10)
            assert (page.gap, [row.version for row in page.changes]) == (False, [version])
            cursor = page.cursor


async def test_the_log_stays_within_its_bound_and_what_it_drops_is_a_gap() -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix, changes_max=CHANGES_MAX) as store:
        begin = await store.cursor()
        lengths = []
        for n in range(10):
            await asyncio.gather(*[store.put(f"{n} {each}") for each in range(40)])
            lengths.append(server.ask("XLEN", shard_of(prefix).keys[7]))

        assert max(lengths) <= CHANGES_MAX + SLACK
        page = await store.store.changes(after=begin, limit=1000)
        assert page.gap
        assert len(page.changes) == lengths[-1]
        assert not (await store.store.changes(after=page.cursor, limit=1000)).gap


async def test_a_reader_at_the_edge_of_what_was_dropped_has_missed_nothing() -> None:
    async with daemon(shared(Redis).url, prefix=place()) as store:
        await store.put("dropped")
        edge = await store.cursor()
        kept = await store.put("kept")
        order = store.sweep_order(tombstone_retention_ms=0, limit=1)
        assert (await store.store.sweep(order)).changes == 1

        page = await store.store.changes(after=edge, limit=10)

        assert (page.gap, [row.version for row in page.changes]) == (False, [kept])
        assert (await store.store.changes(after=edge - 1, limit=10)).gap


async def test_shards_have_no_common_order_and_keep_no_log() -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix, shards=3) as store:
        assert not store.store.capabilities.changes
        await store.put("key")
        with pytest.raises(Unsupported) as caught:
            await store.cursor()

        assert caught.value.reason == "CAPABILITY_MISSING"
        assert not [key for key in server.ask("KEYS", f"{prefix}:*") if key.endswith(b":log")]
