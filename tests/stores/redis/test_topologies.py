"""Failovers: the client follows sentinels and Clusters to where the keys are, and never reads a replica."""

from __future__ import annotations

import asyncio

import pytest

from servers.base import shared
from servers.redis import PRIMARY, Redis, RedisCluster, SentinelRedis, Valkey
from sidecar.stores.redis.client import RedisClient, RedisRefused, RedisUnavailable, Script
from sidecar.stores.redis.cluster import SLOTS, slot_of
from tests.stores.redis.support import client_of, until_it_answers

KEEP = Script("keep", b"redis.call('SET', KEYS[1], ARGV[1]) return {KEYS[1], redis.call('GET', KEYS[1])}")
NAMES = [f"name {number}".encode() for number in range(60)]


async def write(client: RedisClient) -> None:
    """A write to every key, each of which is answered."""
    for reply in await client.run_many(KEEP, [((name,), (name,)) for name in NAMES]):
        if isinstance(reply, RedisRefused):
            raise reply


@pytest.mark.parametrize(
    ("key", "tag"),
    [(b"a{b}c", b"b"), (b"{b}", b"b"), (b"a{}b", b"a{}b"), (b"a{b", b"a{b"), (b"a}b{c}{d}", b"c"), (b"{{b}}", b"{b")],
)
def test_slots_are_those_of_tags(key: bytes, tag: bytes) -> None:
    node = shared(RedisCluster).primaries[0]

    assert slot_of(key) == node.ask("CLUSTER", "KEYSLOT", key) == node.ask("CLUSTER", "KEYSLOT", tag)


@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_the_primary_that_sentinels_elect_is_followed(kind: type[Valkey]) -> None:
    with SentinelRedis(kind) as servers:
        async with client_of(servers.url, timeout_s=2.0) as client:
            await write(client)
            servers.primary.ask("WAIT", 1, 2000)
            (before,) = await client.servers()
            servers.primary.kill()
            await until_it_answers(client, lambda: write(client))
            (after,) = await client.servers()

            assert before.address.endswith(str(servers.primary.port))
            assert after.address.endswith(str(servers.replica.port))
            assert before.fields["master_replid"] == after.fields["master_replid2"]
            assert await client.mget(NAMES) == NAMES


async def test_a_primary_that_hangs_is_left_for_its_successor() -> None:
    with SentinelRedis() as servers:
        async with client_of(servers.url, timeout_s=0.8) as client:
            await write(client)
            servers.primary.pause()
            await until_it_answers(client, lambda: write(client))
            servers.primary.resume()
            await asyncio.gather(*(client.mget([name]) for name in NAMES * 3))
            (server,) = await client.servers()

            assert server.address.endswith(str(servers.replica.port))


async def test_sentinels_that_hang_are_passed_over() -> None:
    with SentinelRedis() as servers:
        for sentinel in servers.sentinels[:2]:
            sentinel.pause()
        async with client_of(servers.url, timeout_s=2.0) as client:
            await write(client)
        for sentinel in servers.sentinels:
            sentinel.resume()


async def test_a_primary_that_was_made_a_replica_is_not_read_any_more() -> None:
    with Valkey() as first, Valkey() as second:
        async with client_of(first.url) as writing, client_of(first.url) as reading:
            await write(writing)
            assert await reading.mget(NAMES) == NAMES
            first.ask("REPLICAOF", "127.0.0.1", second.port)

            with pytest.raises(RedisRefused, match=r"is a replica"):
                await writing.run(KEEP, [b"key"], [1])
            with pytest.raises(RedisUnavailable, match=r"is a replica"):
                await writing.mget(NAMES)
            with pytest.raises(RedisUnavailable, match=r"is a replica"):
                await reading.servers()
            with pytest.raises(RedisUnavailable, match=r"is a replica"):
                await reading.mget(NAMES)
            first.ask("REPLICAOF", "NO", "ONE")
            await until_it_answers(writing, lambda: write(writing))


async def test_slots_that_move_are_followed() -> None:
    """All of one node's slots to another, key by key, while they are read and written."""
    with RedisCluster() as cluster:
        source, target = cluster.primaries[:2]
        ids = [node.ask("CLUSTER", "MYID") for node in cluster.primaries]
        async with client_of(cluster.url) as client:
            await write(client)
            for slot in {slot_of(name) for name in NAMES if slot_of(name) < SLOTS // 3}:
                target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
                source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
                keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
                assert await client.mget(NAMES) == NAMES
                source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
                assert await client.mget(NAMES) == NAMES  # ASK
                await write(client)
                for node in (target, source, cluster.primaries[2]):
                    node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
                assert await client.mget(NAMES) == NAMES  # MOVED
            assert source.ask("DBSIZE") == 0


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_node_that_fails_is_left_for_its_replica(hangs: bool) -> None:
    with RedisCluster(1) as cluster:
        failing, others = cluster.primaries[0], cluster.primaries[1:]
        async with client_of(cluster.url, timeout_s=0.8) as client:
            await write(client)
            for primary in cluster.primaries:
                primary.ask("WAIT", 1, 2000)
            (failing.pause if hangs else failing.kill)()
            elsewhere = [name for name in NAMES if slot_of(name) >= SLOTS // 3]
            assert await client.mget(elsewhere) == elsewhere

            await until_it_answers(client, lambda: write(client))

            assert await client.mget(NAMES) == NAMES
            addresses = {server.address for server in await client.servers()}
            assert addresses == {f"127.0.0.1:{node.port}" for node in (cluster.replicas[0], *others)}
        failing.resume() if hangs else failing.restart()


async def test_a_cluster_is_found_though_the_first_nodes_of_the_url_are_away() -> None:
    with RedisCluster(1) as cluster:
        killed, hanging, there = cluster.primaries[0], cluster.replicas[1], cluster.primaries[2]
        killed.kill()
        hanging.pause()
        nodes = ",".join(f"127.0.0.1:{node.port}" for node in (killed, hanging, there))
        async with client_of(f"redis+cluster://{nodes}", timeout_s=1.5) as client:
            await until_it_answers(client, lambda: write(client))
        hanging.resume()


async def test_a_cluster_with_a_hole_answers_for_the_rest() -> None:
    with RedisCluster(0, "--cluster-require-full-coverage", "no") as cluster:
        async with client_of(cluster.url, timeout_s=0.8) as client:
            await write(client)
            cluster.primaries[2].kill()
            here = [name for name in NAMES if slot_of(name) < SLOTS * 2 // 3]
            there = [name for name in NAMES if slot_of(name) >= SLOTS * 2 // 3 + 1]

            assert await client.mget(here) == here
            with pytest.raises(RedisUnavailable, match=r"nothing listens|was lost"):
                await client.mget(there)
            with pytest.raises(RedisUnavailable):
                await client.mget(NAMES)
            cluster.primaries[2].restart()
            await until_it_answers(client, lambda: write(client))


async def test_sentinel_names_are_those_of_the_url() -> None:
    servers = shared(SentinelRedis)
    async with client_of(servers.url) as client:
        (server,) = await client.servers()

    assert servers.url.endswith(f"/{PRIMARY}/0")
    assert server.address == f"127.0.0.1:{servers.primary.port}"
