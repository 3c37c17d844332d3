"""Callers share connections, and each gets its own replies, whatever others do and whatever happens to the network."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, repeat

import pytest
import uvloop

from servers.base import shared
from servers.memcached import Memcached
from sidecar.core.cache import CacheUnavailable, Hit, Miss
from sidecar.stores.memcached import protocol
from sidecar.stores.memcached.connection import CALLS_MAX, PATIENCE, Connection
from tests.contract.harnesses import CacheUnderTest
from tests.stores.memcached.conftest import Open, Start
from tests.stores.memcached.scripted import peer, relayed, slow_peer
from tests.stores.memcached.waiting import until_it_answers
from tests.support.clock import ManualClock
from tests.support.factories import entry
from tests.support.proxy import running_proxy

KEYS = [f"key {n}" for n in range(50)]


def value_of(key: str) -> bytes:
    return key.encode() * (1 + hash(key) % 400)


@asynccontextmanager
async def connected(address: str, *, timeout_s: float = 30) -> AsyncIterator[Connection]:
    host, _, port = address.rpartition(":")
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection("it", timeout_s=timeout_s, lost=lambda *_: None), host, int(port)
    )
    try:
        yield connection
    finally:
        connection.close()


async def hold_all(cache: CacheUnderTest) -> None:
    for key in KEYS:
        await cache.hold(entry(key=key, value=value_of(key)))


async def test_cancelled_callers_leave_their_replies_to_nobody(daemon: Open) -> None:
    cache = daemon(shared(Memcached), prefix="cancelled", query="?connections=1")
    await hold_all(cache)
    rng = random.Random(1)
    told = 0

    async def ask(keys: list[str]) -> None:
        nonlocal told
        answers = await cache.cache.get("contract", keys, generation=1, now=cache.now)
        for key, answer in zip(keys, answers, strict=True):
            assert isinstance(answer, Hit)
            assert answer.copy == entry(key=key, value=value_of(key))
        told += 1

    for _ in range(100):
        askers = [asyncio.ensure_future(ask(rng.sample(KEYS, rng.randrange(1, 6)))) for _ in range(20)]
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        for asker in askers:
            if rng.random() < 0.5:
                asker.cancel()
        for outcome in await asyncio.gather(*askers, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome

    assert told > 500


async def test_a_cancelled_caller_does_not_cost_the_connection(daemon: Open) -> None:
    async with running_proxy(shared(Memcached).address) as proxy:
        cache = daemon(proxy.target, prefix="kept", query="?connections=1")
        await cache.hold(entry())
        for _ in range(20):
            asker = asyncio.ensure_future(cache.get())
            await asyncio.sleep(0)
            asker.cancel()
            await asyncio.gather(asker, return_exceptions=True)

        assert await cache.held() == entry()
        assert proxy.connections == 1


async def test_a_reply_that_is_lost_is_no_answer_to_the_next_call(daemon: Open, clock: ManualClock) -> None:
    """Every fourth burst of replies is lost and its connection reset: callers fail, and never read a wrong copy."""
    async with running_proxy(shared(Memcached).address) as proxy:
        cache = daemon(proxy.target, prefix="lost")
        await hold_all(cache)
        rng = random.Random(2)
        proxy.drop = lambda _: rng.random() < 0.25
        told = failed = 0

        async def ask(key: str) -> None:
            nonlocal told, failed
            try:
                answer = await cache.get(key)
            except CacheUnavailable:
                clock.advance(1000)
                failed += 1
            else:
                if isinstance(answer, Hit):
                    assert answer.copy == entry(key=key, value=value_of(key))
                    told += 1

        while told < 300 or failed < 20 or proxy.dropped < 20:
            await asyncio.gather(*(ask(rng.choice(KEYS)) for _ in range(8)))


async def test_a_connection_that_breaks_is_opened_again(daemon: Open, clock: ManualClock) -> None:
    async with running_proxy(shared(Memcached).address) as proxy:
        cache = daemon(proxy.target, prefix="broken")
        await cache.hold(entry())
        proxy.cut()

        assert await until_it_answers(cache.held, clock) == entry()


async def test_a_reply_to_another_lookup_ends_the_connection(daemon: Open) -> None:
    server = shared(Memcached)
    replies: list[bytes] = []

    def answer(heard: bytes) -> bytes:
        if heard.startswith(b"mg "):
            replies.append(relayed(server, heard))
            return replies[0]
        return relayed(server, heard)

    async with peer(answer) as address:
        cache = daemon(address, prefix="turn")
        assert await cache.lease("one")
        with pytest.raises(CacheUnavailable, match="out of order"):
            await cache.get("another")


async def test_an_error_does_not_repeat_what_was_in_a_reply(daemon: Open) -> None:
    server = shared(Memcached)

    async with peer(lambda heard: b"secret\r\n" if heard.startswith(b"mg ") else relayed(server, heard)) as address:
        with pytest.raises(CacheUnavailable, match="out of order") as caught:
            await daemon(address, prefix="quiet").get()

    assert "secret" not in str(caught.value)


async def test_calls_under_way_are_bounded(start: Start) -> None:
    server = start()
    async with connected(server.address) as connection:
        server.pause()
        calls = [connection.call([protocol.get(b"key")]) for _ in range(CALLS_MAX)]

        with pytest.raises(CacheUnavailable, match="does not keep up"):
            connection.call([protocol.get(b"key")])

        server.resume()
        assert [reply.code for (reply,) in await asyncio.gather(*calls)] == [protocol.MISSING] * CALLS_MAX


async def test_bytes_that_wait_to_be_sent_are_bounded(start: Start) -> None:
    server = start()
    megabyte = protocol.add(b"key", b"x" * 1_000_000, ttl_s=9)
    async with connected(server.address) as connection:
        server.pause()
        calls = [connection.call([megabyte]) for _ in range(16)]

        def more() -> None:
            calls.extend(connection.call([megabyte]) for _ in range(24))

        with pytest.raises(CacheUnavailable, match="does not keep up"):
            more()

    for failure in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(failure, CacheUnavailable)


REPLY = b"VA 3 c1 kkey O0\r\nabc\r\n"
PIECES = [REPLY[place : place + 2] for place in range(0, len(REPLY), 2)]


async def test_replies_may_come_slowly() -> None:
    """1.2 s in all, where 0.8 s of silence are allowed."""
    async with slow_peer(iter(PIECES), 0.1) as address, connected(address, timeout_s=0.8) as connection:
        (reply,) = await connection.call([protocol.get(b"key")])

    assert reply.value == b"abc"


async def test_replies_may_not_stop_coming() -> None:
    async with slow_peer(iter(PIECES[:3]), 0.1) as address, connected(address, timeout_s=0.8) as connection:
        with pytest.raises(CacheUnavailable, match=r"does not answer within 0\.8 s"):
            await connection.call([protocol.get(b"key")])


async def test_replies_may_not_come_for_ever() -> None:
    endless = chain([b"VA 60000 c1 kkey O0\r\n"], repeat(b"x"))
    begin = time.monotonic()
    # Long beside the gaps, which a busy machine makes longer: it is not silence that ends it.
    async with slow_peer(endless, 0.02) as address, connected(address, timeout_s=0.4) as connection:
        with pytest.raises(CacheUnavailable, match="does not answer"):
            await connection.call([protocol.get(b"key")])

    assert 0.4 * PATIENCE * 0.9 < time.monotonic() - begin < 8


async def test_connections_are_opened_as_they_are_needed(daemon: Open) -> None:
    async with running_proxy(shared(Memcached).address) as proxy:
        cache = daemon(proxy.target, prefix="pool", query="?connections=3")
        for _ in range(5):
            await cache.get()
        alone = proxy.connections
        while proxy.connections < 3:
            await asyncio.gather(*(cache.get(f"{n}") for n in range(20)))
        for _ in range(20):
            await asyncio.gather(*(cache.get(f"{n}") for n in range(20)))

        assert alone == 1
        assert proxy.connections == 3


async def test_nothing_works_after_closing(daemon: Open) -> None:
    cache = daemon(shared(Memcached), prefix="closed")
    await cache.get()
    await cache.cache.close()

    with pytest.raises(CacheUnavailable, match="closed"):
        await cache.get()


async def test_closing_while_a_connection_is_being_opened(daemon: Open, start: Start) -> None:
    server = start()
    server.pause()
    cache = daemon(server, timeout_s=30)
    asker = asyncio.ensure_future(cache.get())
    for _ in range(5):
        await asyncio.sleep(0)

    await cache.cache.close()

    with pytest.raises(CacheUnavailable, match="the cache is closed"):
        await asker


def test_the_event_loop_of_the_daemon_carries_it() -> None:
    """uvloop's transports are not asyncio's."""

    async def talk() -> None:
        from sidecar.stores.memcached import MemcachedCache, parse_target

        target = parse_target(f"memcached://{shared(Memcached).address}")
        cache = MemcachedCache(target, clock=ManualClock(), prefix="uvloop")
        answer = (await cache.get("n", ["k"], generation=1, now=1))[0]
        assert isinstance(answer, Miss)
        assert answer.lease
        await cache.close()

    uvloop.run(talk())
