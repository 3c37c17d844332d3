"""A server that is away takes only its own keys with it, nobody waits for it twice, and it heals by itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from servers.base import HOST, free_ports
from servers.memcached import Memcached
from sidecar.core.cache import CacheUnavailable, Fill, Hit, Miss
from sidecar.stores.memcached.items import Keys
from sidecar.stores.memcached.ring import Ring
from tests.contract.harnesses import CacheUnderTest
from tests.stores.memcached.conftest import Open, Start
from tests.stores.memcached.scripted import peer
from tests.stores.memcached.waiting import until, until_it_answers
from tests.support.clock import ManualClock
from tests.support.factories import entry, tombstone

KEYS = [f"key {n}" for n in range(30)]
TIMEOUT_S = 0.8


def at(ring: list[Memcached], place: int) -> list[str]:
    """The keys that a server holds."""
    where = Ring([server.address for server in ring])
    return [key for key in KEYS if where.index(Keys("").of("contract", key)) == place]


async def get_all(cache: CacheUnderTest) -> dict[str, Hit | Miss]:
    answers = await cache.cache.get("contract", KEYS, generation=cache.generation, now=cache.now)
    return dict(zip(KEYS, answers, strict=True))


async def hold_all(cache: CacheUnderTest) -> None:
    answers = await get_all(cache)
    fills = [
        Fill(key, entry(key=key), answer.lease)
        for key, answer in answers.items()
        if isinstance(answer, Miss) and answer.lease
    ]
    assert await cache.cache.fill("contract", fills, generation=cache.generation, now=cache.now) == len(KEYS)


@pytest.fixture
def ring(start: Start) -> list[Memcached]:
    return [start(), start(), start()]


async def test_a_dead_server_makes_only_its_own_keys_misses(ring: list[Memcached], daemon: Open) -> None:
    cache = daemon(*ring)
    await hold_all(cache)
    ring[1].kill()

    answers = await get_all(cache)

    gone = at(ring, 1)
    assert 0 < len(gone) < len(KEYS)
    assert answers == {key: Miss(None) if key in gone else Hit(entry(key=key)) for key in KEYS}


async def test_a_dead_server_gives_no_leases_and_stores_nothing(ring: list[Memcached], daemon: Open) -> None:
    cache = daemon(*ring)
    answers = await get_all(cache)
    ring[1].kill()
    gone = at(ring, 1)

    fills = [Fill(key, entry(key=key), getattr(answer, "lease", None) or "") for key, answer in answers.items()]
    stored = await cache.cache.fill("contract", fills, generation=1, now=cache.now)
    leases = await cache.cache.lease("contract", [f"new {key}" for key in KEYS], generation=1, now=cache.now)

    assert stored == len(KEYS) - len(gone)
    assert 0 < leases.count(None) < len(KEYS)


async def test_what_a_dead_server_did_not_hear_is_an_error_and_the_others_heard_it(
    ring: list[Memcached], daemon: Open
) -> None:
    cache = daemon(*ring)
    await hold_all(cache)
    ring[1].kill()
    gone = at(ring, 1)

    with pytest.raises(CacheUnavailable, match=ring[1].address):
        await cache.apply(*[tombstone(key=key, version=2) for key in KEYS])
    assert not any(isinstance(answer, Hit) for answer in (await get_all(cache)).values())
    with pytest.raises(CacheUnavailable, match=ring[1].address):
        await cache.cache.invalidate("contract", KEYS)
    with pytest.raises(CacheUnavailable, match=ring[1].address):
        await cache.cache.invalidate("contract", gone[:1])

    others = [key for key in KEYS if key not in gone]
    await cache.apply(*[tombstone(key=key, version=2) for key in others])
    await cache.cache.invalidate("contract", others)


async def test_a_cache_with_all_servers_away_is_away(ring: list[Memcached], daemon: Open) -> None:
    cache = daemon(*ring)
    await hold_all(cache)
    for server in ring:
        server.kill()

    for call in (
        cache.cache.get("contract", KEYS, generation=1, now=cache.now),
        cache.cache.lease("contract", KEYS, generation=1, now=cache.now),
        cache.cache.fill("contract", [Fill("key", None, "1:1:1:x")], generation=1, now=cache.now),
        cache.cache.apply("contract", [entry()], generation=1),
        cache.cache.invalidate("contract", KEYS),
        cache.cache.release("contract", [("key", "1:1:1:x")]),
        cache.cache.claim_repair("me", generation=1, begin=1, now=cache.now),
        cache.cache.renew_repair("me", generation=1, cursor=1, now=cache.now),
    ):
        with pytest.raises(CacheUnavailable):
            await call


async def test_nothing_asked_is_nothing_answered_though_all_are_away(daemon: Open) -> None:
    ring = daemon(*[f"{HOST}:{port}" for port in free_ports(2)])

    assert await ring.cache.get("contract", [], generation=1, now=1) == []
    await ring.cache.apply("contract", [], generation=1)


async def test_a_server_that_was_killed_is_used_again_in_the_next_generation(
    ring: list[Memcached], daemon: Open, clock: ManualClock
) -> None:
    cache = daemon(*ring)
    before = await cache.cache.identity()
    await hold_all(cache)
    ring[1].kill()
    await get_all(cache)
    ring[1].restart()

    async def another() -> bool:
        return await cache.cache.identity() != before

    await until(another, clock)
    cache.generation = 2
    await hold_all(cache)

    assert all(isinstance(answer, Hit) for answer in (await get_all(cache)).values())


async def test_a_server_that_hangs_costs_one_timeout_and_then_nothing(
    start: Start, daemon: Open, clock: ManualClock
) -> None:
    server = start()
    cache = daemon(server, timeout_s=TIMEOUT_S)
    await cache.hold(entry())
    server.pause()

    begin = time.monotonic()
    with pytest.raises(CacheUnavailable, match=r"does not answer within 0\.8 s"):
        await cache.get()
    first = time.monotonic() - begin
    for _ in range(100):
        with pytest.raises(CacheUnavailable, match="does not answer"):
            await cache.get()
    rest = time.monotonic() - begin - first

    assert TIMEOUT_S * 0.9 < first < TIMEOUT_S + 3
    assert rest < 100 * TIMEOUT_S / 10
    server.resume()
    assert await until_it_answers(cache.held, clock) == entry()


async def test_a_server_that_hangs_before_the_first_call_heals(start: Start, daemon: Open, clock: ManualClock) -> None:
    server = start()
    cache = daemon(server, timeout_s=TIMEOUT_S)
    server.pause()
    with pytest.raises(CacheUnavailable, match="does not answer"):
        await cache.get()
    server.resume()

    assert await until_it_answers(cache.lease, clock)


async def test_while_it_is_away_it_is_tried_once_a_second(daemon: Open, clock: ManualClock) -> None:
    dials: list[bytes] = []

    async with peer(dials.append) as address:  # it hangs up each time
        cache = daemon(address)
        for n in range(1, 5):
            for _ in range(200):
                with pytest.raises(CacheUnavailable):
                    await cache.get()
                await asyncio.sleep(0)
            assert len(dials) == n
            clock.advance(1000)


async def test_what_lands_late_after_a_hang_brings_nothing_back(start: Start, daemon: Open, clock: ManualClock) -> None:
    """A fill is in the server's buffer while it hangs; a write is told first by nobody, then when it goes on."""
    server = start()
    reader, writer = daemon(server, timeout_s=TIMEOUT_S), daemon(server, timeout_s=TIMEOUT_S)
    lease = await reader.lease()
    await writer.get("other")
    server.pause()

    with pytest.raises(CacheUnavailable):
        await reader.fill(entry(version=1), lease)
    with pytest.raises(CacheUnavailable):
        await writer.apply(entry(version=2))
    server.resume()
    await until_it_answers(lambda: writer.apply(entry(version=2)), clock)

    answer = await until_it_answers(reader.get, clock)
    assert isinstance(answer, Miss) or answer.copy == entry(version=2)
