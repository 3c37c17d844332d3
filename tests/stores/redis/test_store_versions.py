"""What the server loses never comes back under a version that was handed out before."""

from __future__ import annotations

import pytest

from servers.base import shared
from servers.redis import Redis, Valkey
from sidecar.core.entry import epoch_of
from sidecar.core.errors import VersionConflict
from sidecar.core.operations import Put
from tests.contract.harnesses import StoreUnderTest
from tests.stores.redis.store_support import daemon, place, shard_of
from tests.support.clock import ManualClock
from tests.support.factories import request


async def expect_forgotten(store: StoreUnderTest, versions: list[int]) -> None:
    """The store is empty; what was handed out before doesn't match what is written now, however often."""
    for n in range(2 * len(versions)):
        new = await store.put("key", b"%d" % n)
        assert new > max(versions)
    for version in versions:
        with pytest.raises(VersionConflict):
            await store.put("key", expected_version=version)


@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_versions_go_on_after_a_flush(kind: type[Redis]) -> None:
    async with daemon(shared(kind).url, prefix=place()) as before:
        versions = [await before.put("key") for _ in range(100)]
    with kind() as server:
        async with daemon(server.url) as store:
            assert max(versions) < await store.put("key") < max(versions) + (1 << 30)
            versions += [await store.put("key") for _ in range(100)]
            server.client().flushall()
            await expect_forgotten(store, versions)


async def test_versions_go_on_after_a_restart_without_persistence() -> None:
    with Redis() as server:
        async with daemon(server.url) as store:
            versions = [await store.put("key") for _ in range(100)]
        server.kill()
        server.restart()
        # Another daemon, which has seen no version.
        async with daemon(server.url) as store:
            assert await store.entry("key") is None
            await expect_forgotten(store, versions)


async def test_versions_go_on_after_the_promotion_of_a_replica_that_lagged() -> None:
    with Redis() as primary, Redis() as replica:
        replica.client().replicaof("127.0.0.1", primary.port)
        async with daemon(primary.url) as store:
            kept = await store.put("key")
            assert primary.client().wait(1, 10_000) == 1
            replica.client().replicaof("NO", "ONE")
            lost = [await store.put("key") for _ in range(100)]
        async with daemon(replica.url) as store:
            entry = await store.entry("key")
            assert entry is not None
            assert entry.version == kept
            await expect_forgotten(store, [kept, *lost])


async def test_who_has_seen_a_version_draws_a_greater_one_whatever_the_servers_clock_says() -> None:
    clock = ManualClock()
    with Redis() as server:
        async with daemon(server.url, server_clock=clock) as writer, daemon(server.url, server_clock=clock) as reader:
            version = await writer.put("key")
            entry = await reader.entry("key")
            assert entry is not None
            for store in (writer, reader):
                server.client().flushall()
                clock.set_back(3_600_000)

                assert await store.put("key") > version


async def test_a_refused_or_repeated_write_draws_no_version() -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix) as store:
        version = await store.put("key", b"text")
        drawn = server.client().hget(shard_of(prefix).keys[-1], "sequence")
        for _ in range(2):
            with pytest.raises(VersionConflict):
                await store.commit(Put(key="key", value=b"", expected_version=0), request=request("r"))
        await store.remove("missing")

        assert server.client().hget(shard_of(prefix).keys[-1], "sequence") == drawn
        assert drawn == b"%d" % version


async def test_versions_of_all_shards_are_different() -> None:
    async with daemon(shared(Redis).url, prefix=place(), shards=7, server_clock=ManualClock()) as store:
        versions = [await store.put("key", namespace=f"{n}") for n in range(100)]

        assert len(set(versions)) == 100
        assert {epoch_of(version) for version in versions} == set(range(7))
        for n, version in enumerate(versions):
            assert await store.put("key", namespace=f"{n}", expected_version=version) > version


async def test_a_generation_does_not_come_again_after_a_flush() -> None:
    with Redis() as server:
        async with daemon(server.url) as store:
            generations = [await store.store.cache_generation(f"run {n}") for n in range(5)]
            server.ask("FLUSHALL")

            assert await store.store.cache_generation("run 0") > max(generations)
