"""Redis that forgets or is full: what is evicted, flushed or refused is only forgotten, nothing stale comes of it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from servers.base import shared
from servers.redis import Redis, RedisCluster, Valkey
from sidecar.core.cache import Hit, Miss
from sidecar.core.entry import Copy, Entry
from sidecar.stores.redis.cache import RedisCache
from tests.stores.redis.steps import stale_after
from tests.stores.redis.support import cache_of, client_of
from tests.stores.redis.test_cache import name_of
from tests.stores.redis.wrong_protocols import WRONG, DoubleVersionsCache
from tests.support.factories import NAMESPACE, entry, tombstone

ROUNDS = 30
FULL = ("--maxmemory", "3mb", "--maxmemory-policy")


@pytest.mark.parametrize("kind", [Redis, Valkey, RedisCluster])
async def test_readers_and_writers_in_any_order_never_leave_a_stale_copy(kind: Any) -> None:
    assert await stale_rounds(RedisCache, kind) == 0


@pytest.mark.parametrize("wrong", [*WRONG, DoubleVersionsCache])
async def test_each_wrong_protocol_leaves_some(wrong: type[RedisCache]) -> None:
    assert await stale_rounds(wrong, Valkey) > 0


async def stale_rounds(protocol: type[RedisCache], kind: Any) -> int:
    """Rounds after which a copy was wrong. A DEL by somebody else is what an eviction is."""
    rng = random.Random(20_270_115)
    stale = 0
    async with (
        cache_of(shared(kind).url, kind=protocol, lease_ms=1 << 40) as cache,
        client_of(shared(kind).url) as evictor,
    ):
        for _ in range(ROUNDS):
            stale += bool(await stale_after(cache, lambda key: evictor.delete([name_of(cache, key)]), rng))
    return stale


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"])
@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_under_real_evictions_copies_are_the_authoritys_or_gone(kind: type[Valkey], policy: str) -> None:
    rng = random.Random(5)
    with kind(*FULL, policy) as server:
        async with cache_of(server.url) as cache:
            authority: dict[str, Copy] = {}
            for version in range(1, 2_500):
                key = f"{rng.randrange(300)}"
                if version % 3 == 0:
                    gone = rng.random() < 0.2
                    authority[key] = (
                        tombstone(key=key, version=version)
                        if gone
                        else entry(key=key, version=version, value=bytes(rng.randrange(30_000)))
                    )
                    await cache.apply(authority[key])
                else:
                    answer = await cache.get(key)
                    if isinstance(answer, Hit):
                        assert same(answer.copy, authority.get(key)), key
                    elif answer.lease is not None:
                        await cache.fill(authority.get(key), answer.lease, key=key)
            assert int(server.info("stats")["evicted_keys"]) > 100


def same(held: Copy | None, truth: Copy | None) -> bool:
    """Also when one says absent and the other deleted."""
    return held == truth or not (isinstance(held, Entry) or isinstance(truth, Entry))


# ---- a memory that is full, and evicts nothing


@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_where_nothing_is_evicted_what_does_not_fit_is_not_held_and_nothing_old_stays(kind: type[Valkey]) -> None:
    with kind() as server:
        async with cache_of(server.url) as cache:
            for key in ("replaced", "deleted", "kept"):
                await cache.hold(entry(key=key, version=1))
            lease = await cache.lease("leased")
            server.ask("CONFIG", "SET", "maxmemory", "1")

            assert await cache.get("new") == Miss(None)
            assert await cache.cache.lease(NAMESPACE, ["new"], generation=1, now=cache.now) == [None]
            assert not await cache.fill(entry(key="leased"), lease)
            await cache.apply(entry(key="replaced", version=2), tombstone(key="deleted", version=2))
            await cache.apply(entry(key="kept", version=1), entry(key="new"))

            for key in ("replaced", "deleted", "leased", "new"):
                assert await cache.get(key) == Miss(None), key
                assert server.ask("EXISTS", name_of(cache, key)) == 0, key
            assert await cache.held("kept") == entry(key="kept", version=1)
            await cache.cache.invalidate(NAMESPACE, ["kept"])
            server.ask("CONFIG", "SET", "maxmemory", "0")
            assert await cache.lease("kept")


async def test_a_full_memory_is_no_error_to_readers_of_many_keys() -> None:
    with Valkey() as server:
        async with cache_of(server.url) as cache:
            await cache.hold(entry(key="b"))
            server.ask("CONFIG", "SET", "maxmemory", "1")
            answers = await cache.cache.get(NAMESPACE, ["a", "b", "c"], generation=1, now=cache.now)

            assert answers == [Miss(None), Hit(entry(key="b")), Miss(None)]


# ---- flushes under load


@pytest.mark.parametrize("command", [("FLUSHALL",), ("SCRIPT", "FLUSH")], ids=" ".join)
async def test_nothing_fails_and_nothing_is_stale_when_all_is_flushed_under_load(command: tuple[str, ...]) -> None:
    with Valkey() as server:
        async with cache_of(server.url) as cache:
            told = dict.fromkeys(map(str, range(20)), 0)
            done = False

            async def write(number: int) -> None:
                for version in range(1, 150):
                    key = f"{number * 5 + version % 5}"
                    await cache.apply(entry(key=key, version=version))
                    told[key] = version

            async def read(rng: random.Random) -> None:
                while not done:
                    key = f"{rng.randrange(20)}"
                    least = told[key]
                    answer = await cache.get(key)
                    if isinstance(answer, Hit):
                        assert isinstance(answer.copy, Entry)
                        assert answer.copy.version >= least
                    elif answer.lease and told[key]:
                        await cache.fill(entry(key=key, version=told[key]), answer.lease)

            async def flush() -> None:
                while not done:
                    await asyncio.to_thread(server.ask, *command)

            others = [asyncio.create_task(read(random.Random(seed))) for seed in range(4)]
            others.append(asyncio.create_task(flush()))
            await asyncio.gather(*(write(number) for number in range(4)))
            done = True
            await asyncio.gather(*others)


async def test_every_kind_of_call_survives_a_script_flush() -> None:
    with Valkey() as server:
        async with cache_of(server.url) as cache:
            steps: list[Any] = [
                cache.lease,
                lambda: cache.hold(entry(key="held")),
                lambda: cache.apply(entry(key="held", version=2)),
                lambda: cache.cache.release(NAMESPACE, [("key", "1.1.1")]),
                cache.cache.identity,
                lambda: cache.cache.claim_repair("me", generation=1, begin=1, now=cache.now),
                lambda: cache.cache.renew_repair("me", generation=1, cursor=1, now=cache.now),
            ]
            for step in steps:
                server.ask("SCRIPT", "FLUSH")
                await step()

            assert await cache.held("held") == entry(key="held", version=2)
