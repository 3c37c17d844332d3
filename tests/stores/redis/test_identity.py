"""The cache's name changes whenever it may have lost writes, for all daemons alike, and otherwise stays."""

from __future__ import annotations

from typing import Any

import pytest

from servers.base import shared
from servers.redis import Redis, RedisCluster, SentinelRedis, Valkey
from sidecar.core.cache import REPAIR_TURN_MS, CacheUnavailable, Miss, Turn
from sidecar.stores.redis.cluster import SLOTS, slot_of
from sidecar.stores.redis.codec import Names
from tests.contract.harnesses import CacheUnderTest
from tests.stores.redis.support import cache_of, client_behind, new_prefix, until_it_answers
from tests.stores.redis.test_cache import name_of
from tests.support.factories import entry


async def identity(cache: CacheUnderTest) -> str:
    """As soon as it can be had."""
    return await until_it_answers(client_behind(cache), cache.cache.identity)


@pytest.mark.parametrize("kind", [Redis, Valkey])
@pytest.mark.parametrize("flush", ["FLUSHALL", "FLUSHDB"])
async def test_a_flush_is_another_identity_for_all_daemons(kind: type[Valkey], flush: str) -> None:
    with kind() as server:
        async with cache_of(server.url, prefix="same") as one, cache_of(server.url, prefix="same") as other:
            before = await identity(one)
            assert await identity(other) == before
            server.ask(flush)
            after = await identity(other)

            assert after != before
            assert await identity(one) == after


async def test_a_flush_of_another_database_is_none_of_ours() -> None:
    with Valkey() as server:
        async with cache_of(f"redis://127.0.0.1:{server.port}/1") as cache:
            before = await identity(cache)
            server.ask("FLUSHDB")

            assert await identity(cache) == before


@pytest.mark.parametrize("options", [(), ("--appendonly", "yes")], ids=["memory", "appendonly"])
async def test_a_restart_is_another_identity(options: tuple[str, ...]) -> None:
    """With a log, too: its last second may be missing."""
    with Redis(*options) as server:
        async with cache_of(server.url) as cache:
            before = await identity(cache)
            server.kill()
            with pytest.raises(CacheUnavailable):
                await cache.cache.identity()
            server.restart()

            assert await identity(cache) != before


@pytest.mark.parametrize("topology", ["sentinel", "cluster"])
async def test_a_successor_that_lacks_the_last_states_is_not_believed(topology: str) -> None:
    """Not before its name has made another generation; nor by a daemon that was told nothing."""
    servers: Any = SentinelRedis() if topology == "sentinel" else RedisCluster(1)
    with servers:
        primary, replica = _of_the_key(servers)
        async with (
            cache_of(servers.url, timeout_s=2.0, prefix="same") as cache,
            cache_of(servers.url, timeout_s=2.0, prefix="same") as other,
        ):
            await cache.hold(entry(version=1))
            before = await identity(cache)
            assert await identity(other) == before
            assert await other.held() == await cache.held() == entry(version=1)
            primary.ask("WAIT", 1, 2000)
            replica.pause()
            primary.ask("CLIENT", "KILL", "TYPE", "replica")
            await cache.apply(entry(version=2))
            primary.kill()
            replica.resume()
            for daemon in (cache, other):
                assert await until_it_answers(client_behind(daemon), daemon.get) == Miss(None)
            after = await identity(cache)

            assert after != before
            assert await identity(other) == after
            for daemon in (cache, other):
                assert await daemon.get() == Miss(None), "the generation is still the old one"
                assert await client_behind(daemon).mget([name_of(daemon)]) != [None], "it would have been stale"
                daemon.generation = 2  # as the authority answers to another identity
            assert await cache.lease()
            assert await other.get() == Miss(None)


def _of_the_key(servers: SentinelRedis | RedisCluster) -> tuple[Valkey, Valkey]:
    """The primary that has it, and that one's replica."""
    if isinstance(servers, SentinelRedis):
        return servers.primary, servers.replica
    number = slot_of(Names("same").space("contract") + b"key") * 3 // SLOTS
    return servers.primaries[number], servers.replicas[number]


async def test_a_primary_with_a_new_history_is_met_anew() -> None:
    """The process is the same and its connections stay: made a replica for a moment, then primary again."""
    with Valkey() as server, Valkey() as elsewhere:
        async with cache_of(server.url) as cache:
            before = await identity(cache)
            await cache.hold(entry())
            server.ask("REPLICAOF", "127.0.0.1", elsewhere.port)
            server.ask("REPLICAOF", "NO", "ONE")

            assert await identity(cache) != before
            assert await cache.get() == Miss(None)
            cache.generation = 2
            assert await cache.lease()


async def test_a_replica_that_goes_or_comes_again_changes_nothing() -> None:
    with Valkey() as primary, Valkey() as replica:
        replica.ask("REPLICAOF", "127.0.0.1", primary.port)
        replica.wait_for(lambda: primary.ask("WAIT", 1, 1000) == 1 or 1 / 0)
        async with cache_of(primary.url) as cache:
            before = await identity(cache)
            replica.kill()
            assert await identity(cache) == before
            replica.restart()
            replica.ask("REPLICAOF", "127.0.0.1", primary.port)
            primary.ask("WAIT", 1, 2000)

            assert await identity(cache) == before


async def test_the_identity_of_a_cluster_is_that_of_all_its_primaries() -> None:
    with RedisCluster() as cluster:
        async with cache_of(cluster.url) as one, cache_of(cluster.url) as other:
            names = {await identity(one)}
            assert names == {await identity(one)}
            assert await identity(other) not in names  # of another prefix
            for node in cluster.primaries:
                node.ask("FLUSHALL")
                names.add(await identity(one))

            assert len(names) == 4


async def test_a_full_memory_does_not_hide_the_identity() -> None:
    with Valkey("--maxmemory", "1") as server:
        async with cache_of(server.url) as cache:
            before = await identity(cache)
            assert await identity(cache) == before
            server.ask("FLUSHALL")

            assert await identity(cache) != before


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
async def test_marks_that_are_used_are_not_evicted(policy: str) -> None:
    with Valkey("--maxmemory", "4mb", "--maxmemory-policy", policy) as server:
        async with cache_of(server.url) as cache:
            before = await identity(cache)
            assert await cache.cache.claim_repair("me", generation=1, begin=1 << 60, now=cache.now) == Turn(1 << 60)
            for number in range(4_000):
                await cache.fill(entry(key=f"{number}", value=bytes(4_000)), await cache.lease(f"{number}"))
                if number % 100 == 0:
                    assert await identity(cache) == before
                    assert await cache.cache.renew_repair("me", generation=1, cursor=number, now=cache.now)
            assert int(server.info("stats")["evicted_keys"]) > 1_000


# ---- turns


async def test_a_turn_is_kept_where_the_memory_is_full() -> None:
    with Valkey("--maxmemory", "1") as server:
        async with cache_of(server.url) as cache:
            claim = {"generation": 1, "now": cache.now}

            assert await cache.cache.claim_repair("me", begin=None, **claim) == Turn(None)
            assert await cache.cache.claim_repair("me", begin=5, **claim) == Turn(5)
            assert await cache.cache.renew_repair("me", generation=1, cursor=6, now=cache.now)
            assert await cache.cache.claim_repair("other", begin=None, **claim) is None
            claim["now"] += REPAIR_TURN_MS
            assert await cache.cache.claim_repair("other", begin=None, **claim) == Turn(6)


async def test_turns_leave_one_key_whatever_the_generations() -> None:
    server, prefix = shared(Valkey), new_prefix()
    async with cache_of(server.url, prefix=prefix) as cache:
        for generation in range(1, 9):
            await cache.cache.claim_repair("me", generation=generation, begin=generation, now=cache.now)
            assert not await cache.cache.renew_repair("me", generation=generation - 1, cursor=9, now=cache.now)
            assert await cache.cache.renew_repair("me", generation=generation, cursor=9, now=cache.now)

        assert len(server.ask("KEYS", f"{prefix}*")) == 1
        assert await cache.cache.claim_repair("me", generation=9, begin=None, now=cache.now) == Turn(None)
