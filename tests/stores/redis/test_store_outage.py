"""What callers hear when the server is away, hangs, forgets its scripts or is no primary any more; and that it heals."""

from __future__ import annotations

import asyncio

import pytest

from servers.base import shared
from servers.redis import Redis, SentinelRedis
from sidecar.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    StoreUnavailable,
)
from sidecar.core.operations import Change, Check, Increment, Put
from tests.contract.harnesses import StoreUnderTest
from tests.stores.redis.store_support import daemon, place, until_answered
from tests.support.factories import request
from tests.support.proxy import Proxy

ADD_ONE = Change(key="n", change=Increment(delta=1), create=True, return_value=True)
CALLS = {
    "get": lambda store: store.copy("key"),
    "scan": lambda store: store.scan(),
    "commit": lambda store: store.commit(ADD_ONE),
    "touch": lambda store: store.touch("key"),
    "delete_prefix": lambda store: store.delete_prefix("p"),
    "changes": lambda store: store.cursor(),
    "sweep": lambda store: store.store.sweep(store.sweep_order()),
    "cache_generation": lambda store: store.store.cache_generation("run"),
    "open": lambda store: store.store.open(),
}
GUARDED = {
    "a lost guard": lambda store: store.commit(Check(key="key", expected_version=1)),
    "a check": lambda store: store.commit(Check(key="key", expected_version=0)),
}
READS = {"get", "scan", "changes", "open"}


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_away_is_unavailable_until_it_is_back(call: str) -> None:
    with Redis() as server:
        async with daemon(server.url) as store:
            await store.put("key")
            server.kill()
            with pytest.raises(StoreUnavailable):
                # Whatever was under way when it died is another matter.
                await until_known(store, call)
            with pytest.raises(StoreUnavailable):
                await CALLS[call](store)
            server.restart()

            await until_answered(lambda: CALLS[call](store), store.clock)


async def until_known(store: StoreUnderTest, call: str) -> None:
    for _ in range(3):
        try:
            await CALLS[call](store)
        except OutcomeUnknown:
            continue


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_hangs_is_given_up_in_time(call: str) -> None:
    with Redis() as server:
        async with daemon(server.url, timeout_s=0.3) as store:
            await store.put("key")
            server.pause()
            async with asyncio.timeout(5):
                with pytest.raises(StoreUnavailable if call in READS else OutcomeUnknown):
                    await CALLS[call](store)
            server.resume()

            await until_answered(lambda: CALLS[call](store), store.clock)


async def test_a_write_whose_answer_was_lost_is_unknown_and_its_repetition_tells_the_truth() -> None:
    server = shared(Redis)
    proxy = Proxy(f"127.0.0.1:{server.port}")
    await proxy.start()
    try:
        async with daemon(f"redis://{proxy.target}", prefix=place()) as store:
            await store.commit(ADD_ONE)
            proxy.drop = lambda _: True
            with pytest.raises(OutcomeUnknown):
                await store.commit(ADD_ONE, request=request("r"))
            proxy.drop = lambda _: False

            again = await store.commit(ADD_ONE, request=request("r"))

            assert (again.replayed, again.results[0].value) == (True, b"2")
    finally:
        await proxy.stop()


async def test_a_server_that_forgot_its_scripts_is_told_them_again() -> None:
    with Redis() as server:
        async with daemon(server.url) as store:
            for n in range(1, 4):
                server.ask("SCRIPT", "FLUSH")
                outcome = await store.commit(ADD_ONE)

                assert outcome.results[0].value == b"%d" % n
                assert await store.value("n") == b"%d" % n


@pytest.mark.parametrize("call", [*CALLS, "a lost guard", "a check"])
async def test_a_server_that_was_made_a_replica_answers_nobody(call: str) -> None:
    """What it has may be old: a read that it answered would not be the truth."""
    with Redis() as server, Redis() as primary:
        async with daemon(server.url) as store:
            await store.put("key", ttl_ms=1)
            server.ask("REPLICAOF", "127.0.0.1", primary.port)
            server.wait_for(lambda: _is_replica(server))

            with pytest.raises(StoreUnavailable):
                await (CALLS | GUARDED)[call](store)


def _is_replica(server: Redis) -> None:
    assert server.info("replication")["master_link_status"] == "up"


async def test_writes_go_on_after_a_failover() -> None:
    with SentinelRedis() as servers:
        async with daemon(servers.url, timeout_s=1.0) as store:
            before = await store.put("key")
            servers.primary.kill()

            async def write() -> int:
                try:
                    return await store.put("key")
                except OutcomeUnknown as exc:
                    raise StoreUnavailable(str(exc)) from exc

            assert await until_answered(write, store.clock) > before


async def test_a_deadline_that_passed_is_told_before_anything_is_sent() -> None:
    async with daemon(shared(Redis).url, prefix=place()) as store:
        late = store.clock.monotonic()
        with pytest.raises(DeadlineExceeded):
            await store.store.get("contract", ["key"], deadline=late)
        with pytest.raises(DeadlineExceeded):
            await store.scan(deadline=late)
        with pytest.raises(DeadlineExceeded):
            await store.commit(ADD_ONE, deadline=late)


async def test_more_callers_than_may_wait_are_refused() -> None:
    async with daemon(shared(Redis).url, prefix=place(), queue_max=8) as store:
        answers = await asyncio.gather(*[store.commit(ADD_ONE) for _ in range(20)], return_exceptions=True)

        refused = [answer for answer in answers if isinstance(answer, LimitExceeded)]
        assert {error.reason for error in refused} == {"QUEUE_FULL"}
        assert len(refused) == 12
        assert await store.value("n") == b"8"


async def test_a_value_above_what_the_server_takes_is_refused() -> None:
    with Redis("--proto-max-bulk-len", "1mb") as server:
        async with daemon(server.url) as store:
            with pytest.raises(InvalidRequest) as caught:
                await store.commit(Put(key="key", value=b"x" * (1 << 20) + b"x"))

            assert caught.value.reason == "VALUE_TOO_LARGE"
            assert await until_answered(lambda: store.entry("key"), store.clock) is None
            await store.put("key", b"x" * (1 << 20))
