"""On a server with next to no memory: what is pushed out is forgotten, and what has no room leaves nothing old behind."""

from __future__ import annotations

import random

import pytest

from sidecar.core.cache import Hit, Miss
from sidecar.core.entry import Copy, Entry
from sidecar.stores.memcached.items import Keys
from tests.contract.harnesses import CacheUnderTest
from tests.stores.memcached.conftest import Open, Start
from tests.support.factories import entry, tombstone

MEGABYTE = 1 << 20


@pytest.mark.parametrize("megabytes", [1, 2])
async def test_readers_and_writers_in_any_order_never_leave_a_stale_copy(
    daemon: Open, start: Start, megabytes: int
) -> None:
    """The model of tests/contract/test_cache_bounds.py: each step alone, in a random order, by several daemons."""
    server = start(megabytes, MEGABYTE // 2)
    rng = random.Random(20_270_115)
    hits = 0
    for episode in range(12):
        daemons = [daemon(server, prefix=f"episode {episode}") for _ in range(3)]
        authority: dict[str, Copy] = {}
        loaded: list[tuple[str, Copy | None, str]] = []
        untold: list[Copy] = []
        version = 0
        for _ in range(300):
            cache = rng.choice(daemons)
            key = f"k{rng.randrange(12)}"
            step = rng.randrange(10)
            if step < 4:
                answer = await cache.get(key)
                hits += isinstance(answer, Hit)
                if isinstance(answer, Miss) and answer.lease:
                    loaded.append((key, authority.get(key), answer.lease))
            elif step < 6 and loaded:
                filled, copy, lease = loaded.pop(rng.randrange(len(loaded)))
                await cache.fill(copy, lease, key=filled)
            elif step < 8:
                version += 1
                value = b"x" * rng.choice((10, 1_000, 40_000, 300_000))
                gone = rng.random() < 0.2
                authority[key] = (
                    tombstone(key=key, version=version) if gone else entry(key=key, version=version, value=value)
                )
                untold.append(authority[key])
            elif untold:
                await cache.apply(untold.pop(rng.randrange(len(untold))))
        for copy in untold:
            await daemons[0].apply(copy)
        for key, loaded_copy, lease in loaded:
            await daemons[1].fill(loaded_copy, lease, key=key)
        for key in (f"k{n}" for n in range(12)):
            answer = await daemons[2].get(key)
            truth = authority.get(key)
            if isinstance(answer, Hit):
                held = answer.copy if isinstance(answer.copy, Entry) else None
                assert held == (truth if isinstance(truth, Entry) else None), f"{key} is stale"

    assert int(server.stats()["evictions"]) > 10
    assert hits > 100


async def test_a_placeholder_that_was_pushed_out_fills_nothing(daemon: Open, start: Start) -> None:
    server = start(1, MEGABYTE // 2)
    cache = daemon(server)
    lease = await cache.lease("first")
    for n in range(40):
        keys = [f"{n} {m}" for m in range(1_000)]
        await cache.cache.get("contract", keys, generation=1, now=cache.now)

    assert int(server.stats()["evictions"]) > 1_000
    assert not await cache.fill(entry(key="first"), lease, key="first")
    assert await cache.lease("first") != lease


async def test_the_marker_stays_while_it_is_looked_at(daemon: Open, start: Start) -> None:
    cache = daemon(start(1, MEGABYTE // 2))
    identities = set()
    for n in range(40):
        identities.add(await cache.cache.identity())
        keys = [f"{n} {m}" for m in range(1_000)]
        await cache.cache.get("contract", keys, generation=1, now=cache.now)

    assert len(identities) == 1


@pytest.mark.parametrize("size", [900_000, MEGABYTE - 500])
async def test_a_large_value_is_exact(daemon: Open, start: Start, size: int) -> None:
    cache = daemon(start())
    value = random.Random(size).randbytes(size)
    await cache.hold(entry(value=value))

    assert await cache.held() == entry(value=value)


@pytest.mark.parametrize("size", [MEGABYTE, 3 * MEGABYTE])
async def test_a_value_larger_than_an_item_is_not_held(daemon: Open, start: Start, size: int) -> None:
    server = start()
    cache = daemon(server)

    assert not await cache.fill(entry(value=b"x" * size), await cache.lease())
    assert await cache.lease(), "its placeholder keeps nobody from trying"
    assert server.stats()["store_too_large"] == "0", "it was not even sent"


async def test_a_server_that_takes_larger_items_gets_them(daemon: Open, start: Start) -> None:
    cache = daemon(start(64, 4 * MEGABYTE))
    await cache.hold(entry(value=b"x" * 3 * MEGABYTE))

    assert await cache.held() == entry(value=b"x" * 3 * MEGABYTE)


async def test_a_replacement_that_is_too_large_does_not_leave_the_old_value(daemon: Open, start: Start) -> None:
    cache = daemon(start())
    await cache.hold(entry(version=1))
    await cache.apply(entry(version=2, value=b"x" * MEGABYTE))

    assert isinstance(await cache.get(), Miss)


async def fill_up(cache: CacheUnderTest) -> None:
    for n in range(200):
        answer = await cache.get(f"filler {n}")
        if isinstance(answer, Miss) and answer.lease:
            await cache.fill(entry(key=f"filler {n}", value=b"x" * 100_000), answer.lease)


async def test_a_server_without_room_that_may_not_evict_holds_nothing_old(daemon: Open, start: Start) -> None:
    server = start(2, MEGABYTE, ("-M",))
    cache = daemon(server)
    await cache.hold(entry(version=1))
    lease = await cache.lease("leased")
    await fill_up(cache)
    assert int(server.stats()["store_no_memory"]) > 0

    await cache.apply(entry(version=2, value=b"x" * 100_000))
    stored = await cache.fill(entry(key="leased", value=b"x" * 100_000), lease)

    assert not stored
    assert isinstance(await cache.get(), Miss)
    assert server.ask(b"mg %b v\r\n" % Keys("").of("contract", "leased")) == b"EN\r\n"
