"""A full server refuses a write whole, and still takes what makes room; one that evicts is warned of."""

from __future__ import annotations

import logging

import pytest

from servers.redis import Redis, Valkey
from sidecar.core.entry import Entry
from sidecar.core.errors import LimitExceeded
from sidecar.core.operations import Append, Change, Increment, Put, Remove
from tests.contract.harnesses import StoreUnderTest
from tests.stores.redis.store_support import daemon
from tests.support.clock import ManualClock
from tests.support.factories import request

FULL_BYTES = 4 * 1024 * 1024
FULL = ("--maxmemory", str(FULL_BYTES), "--maxmemory-policy", "noeviction")
PIECE = b"x" * 20_000
each_kind = pytest.mark.parametrize("kind", [Redis, Valkey])


async def fill(store: StoreUnderTest, ttl_ms: int | None = None) -> int:
    """Write until the server has no room; how many there are."""
    for n in range(1000):
        try:
            await store.put(f"{n:03}", PIECE, ttl_ms=ttl_ms)
        except LimitExceeded:
            return n
    raise AssertionError("it never gets full")


async def everything(server: Valkey) -> dict[bytes, bytes | None]:
    """All that is stored, byte for byte."""
    with server.client() as connection:
        return {key: connection.dump(key) for key in connection.scan_iter()}


REFUSED = {
    "put": Put(key="new", value=b"small"),
    "over another": Put(key="000", value=b"small"),
    "counter": Change(key="n", change=Increment(delta=1), create=True),
    "computed": Change(key="list", change=Append(items=(1,)), create=True),
}


@each_kind
@pytest.mark.parametrize("operation", REFUSED.values(), ids=REFUSED)
async def test_a_refused_write_leaves_nothing(kind: type[Valkey], operation: Put | Change) -> None:
    with kind(*FULL) as server:
        async with daemon(server.url) as store:
            await fill(store)
            with server.client() as connection:
                # Well below what is used: buffers of connections that it gives back on a busy day are no room.
                connection.config_set("maxmemory", FULL_BYTES - 256 * 1024)
            before = await everything(server)

            for write_id in (None, request("r")):
                with pytest.raises(LimitExceeded) as caught:
                    await store.commit(operation, Remove(key="001"), request=write_id)
                assert caught.value.reason == "STORAGE_FULL"
            with pytest.raises(LimitExceeded):
                await store.touch("000", ttl_ms=1000, announce=True)

            assert await everything(server) == before
            await store.delete_prefix("", limit=50)
            assert not (await store.commit(operation, request=request("r"))).replayed


@each_kind
async def test_what_is_there_is_read_and_checked_on_a_full_server(kind: type[Valkey]) -> None:
    with kind(*FULL) as server:
        async with daemon(server.url) as store:
            cursor = await store.cursor()
            count = await fill(store)

            assert len(await store.keys()) == len(await store.changes_since(cursor)) == count
            assert await store.value("000") == PIECE


@each_kind
async def test_deletions_make_room(kind: type[Valkey]) -> None:
    with kind(*FULL) as server:
        async with daemon(server.url) as store:
            count = await fill(store)

            assert (await store.remove("000")).found
            assert (await store.commit(Remove(key="001"), Remove(key="002"), request=request("r"))).version > 0
            progress = await store.delete_prefix("", limit=50, request=request("all"))

            assert progress.deleted_count == 50
            assert len(await store.keys()) == count - 53
            await store.put("new", PIECE)


@each_kind
async def test_a_sweep_makes_room(kind: type[Valkey]) -> None:
    clock = ManualClock()
    with kind(*FULL) as server:
        async with daemon(server.url, server_clock=clock) as store:
            await store.put("long gone")
            await store.remove("long gone")
            await store.commit(Put(key="by id", value=b""), request=request("r"))
            count = await fill(store, ttl_ms=1000)
            clock.advance(1000)

            order = store.sweep_order(tombstone_retention_ms=1000, request_retention_ms=1000)
            swept = await store.store.sweep(order)

            assert (len(swept.expired), swept.tombstones, swept.requests) == (count, 1, 1)
            assert swept.changes > 0
            assert await fill(store) > count / 2


WARNED = {"allkeys-lru": True, "allkeys-random": True, "noeviction": False, "volatile-lru": False}


@pytest.mark.parametrize("policy", WARNED)
async def test_a_server_that_may_evict_is_warned_of_once(policy: str, caplog: pytest.LogCaptureFixture) -> None:
    with Redis("--maxmemory-policy", policy) as server, caplog.at_level(logging.WARNING):
        async with daemon(server.url) as store:
            await store.store.open()
            await store.store.open()

    said = [record.getMessage() for record in caplog.records if "evicts" in record.getMessage()]
    assert len(said) == WARNED[policy]
    assert all(policy in message and "noeviction" in message for message in said)


async def test_policies_that_evict_what_ends_keep_what_is_here() -> None:
    """Nothing here has an end of Redis's own, so a cache beside it gives way first, and then writes are refused."""
    with Redis("--maxmemory", "4mb", "--maxmemory-policy", "volatile-lru") as server:
        async with daemon(server.url) as store:
            with server.client() as connection:
                for n in range(50):
                    connection.set(f"copy {n}", PIECE, px=3_600_000)

            count = await fill(store, ttl_ms=3_600_000)

            assert server.ask("DBSIZE") < 50
            found = await store.store.get("contract", [f"{n:03}" for n in range(count)])
            assert [copy.value for copy in found if isinstance(copy, Entry)] == [PIECE] * count
