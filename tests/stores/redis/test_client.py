"""The client's commands on every kind of server, and that no caller ever gets another's reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from servers.base import shared
from servers.redis import Redis, RedisCluster, SentinelRedis, TlsRedis, Valkey
from sidecar.stores.redis import node
from sidecar.stores.redis.client import (
    RedisClient,
    RedisOutcomeUnknown,
    RedisRefused,
    RedisUnavailable,
    Script,
    load_script,
)
from sidecar.stores.redis.connection import Connection
from sidecar.stores.redis.target import Topology
from tests.stores.redis.support import client_of, hesitant_proxy, new_prefix

KINDS = [Redis, Valkey, RedisCluster, SentinelRedis, TlsRedis]
KEEP = Script("keep", b"redis.call('SET', KEYS[1], ARGV[1]) return {KEYS[1], redis.call('GET', KEYS[1])}")
FAIL = Script("fail", b"return redis.call(ARGV[1], KEYS[1])")
SPIN = Script("spin", b"for i = 1, 1e7 do end return 1")


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[RedisClient]:
    async with client_of(shared(request.param).url) as made:
        yield made


@pytest.fixture
async def valkey() -> AsyncIterator[RedisClient]:
    async with client_of(shared(Valkey).url) as made:
        yield made


@pytest.fixture
def names() -> list[bytes]:
    """Of many slots."""
    prefix = new_prefix()
    return [f"{prefix}{number}".encode() for number in range(50)]


async def test_a_script_runs_on_its_keys(client: RedisClient, names: list[bytes]) -> None:
    assert await client.run(KEEP, [names[0]], ["text"]) == [names[0], b"text"]
    assert await client.run(KEEP, [names[0]], [7]) == [names[0], b"7"]
    assert await client.run(KEEP, [names[0]], [b"\r\n\0\xff"]) == [names[0], b"\r\n\0\xff"]


async def test_many_calls_of_a_script_answer_in_order(client: RedisClient, names: list[bytes]) -> None:
    replies = await client.run_many(KEEP, [((name,), (at,)) for at, name in enumerate(names)])

    assert replies == [[name, b"%d" % at] for at, name in enumerate(names)]


async def test_values_of_many_keys_are_read_in_order(client: RedisClient, names: list[bytes]) -> None:
    await client.run_many(KEEP, [((name,), (name,)) for name in names[::2]])

    assert await client.mget(names) == [name if at % 2 == 0 else None for at, name in enumerate(names)]
    assert await client.mget(names[:1]) == names[:1]
    assert await client.mget(names[1:2]) == [None]


async def test_no_keys_are_no_question(client: RedisClient) -> None:
    assert await client.mget([]) == []
    assert await client.run_many(KEEP, []) == []
    await client.delete([])


async def test_keys_are_removed(client: RedisClient, names: list[bytes]) -> None:
    await client.run_many(KEEP, [((name,), (1,)) for name in names])
    await client.delete(names[1:])

    assert await client.mget(names) == [b"1"] + [None] * 49


async def test_a_script_that_the_server_does_not_know_is_sent(client: RedisClient, names: list[bytes]) -> None:
    unknown = Script("unknown", KEEP.source + b" -- " + names[0])
    assert await client.run(Script("other", unknown.source + b"!"), [names[0]], [0]) == [names[0], b"0"]
    replies = await client.run_many(unknown, [((name,), (1,)) for name in names])

    assert replies == [[name, b"1"] for name in names]


async def test_a_script_flush_goes_unnoticed() -> None:
    async with client_of(shared(Valkey).url) as client:
        await client.run(KEEP, [b"key"], [1])
        shared(Valkey).ask("SCRIPT", "FLUSH")

        assert await client.run(KEEP, [b"key"], [2]) == [b"key", b"2"]


async def test_a_refusal_is_raised_with_its_code(client: RedisClient, names: list[bytes]) -> None:
    await client.run(KEEP, [names[0]], [1])

    with pytest.raises(RedisRefused) as caught:
        await client.run(FAIL, [names[0]], ["LPOP"])

    assert caught.value.code in {"WRONGTYPE", "ERR"}
    assert await client.run(KEEP, [names[0]], [2]) == [names[0], b"2"]


async def test_one_refusal_of_many_leaves_the_others(valkey: RedisClient, names: list[bytes]) -> None:
    replies = await valkey.run_many(
        FAIL, [((names[0],), ("GET",)), ((names[0],), ("NO_SUCH",)), ((names[0],), ("EXISTS",))]
    )

    assert replies[::2] == [None, 0]
    assert isinstance(replies[1], RedisRefused)


@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_the_code_of_a_refusal_within_a_script(kind: type[Valkey]) -> None:
    with kind("--maxmemory", "1") as full:
        async with client_of(full.url) as client:
            with pytest.raises(RedisRefused, match=r"is full") as caught:
                await client.run(KEEP, [b"key"], [1])

    assert caught.value.code == "OOM"


def test_the_code_as_older_servers_wrap_it() -> None:
    refused = RedisRefused(
        "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed"
    )

    assert refused.code == "OOM"


def test_a_refusal_does_not_tell_arguments() -> None:
    refused = RedisRefused("ERR unknown command 'GTE', with args beginning with: 'key' 'value' ")

    assert "key" not in str(refused)


async def test_primaries_tell_of_themselves(client: RedisClient) -> None:
    servers = await client.servers()

    assert len(servers) == (3 if client.target.topology is Topology.CLUSTER else 1)
    for server in servers:
        assert len(server.fields["run_id"]) == 40
        assert server.fields["role"] == "master"
        assert "maxmemory_policy" in server.fields
    assert len({server.fields["run_id"] for server in servers}) == len(servers)


async def test_scripts_may_share_a_file() -> None:
    both = load_script("cache_marker", "cache_fill")

    assert both.name == "cache_fill"
    assert both.source == load_script("cache_marker").source + b"\n" + load_script("cache_fill").source


async def test_no_reply_is_anothers_however_callers_are_cancelled() -> None:
    """As with redis-py CVE-2023-28858 and CVE-2023-28859, where the reply of a cancelled caller was the next one's."""
    random, server = Random(11), shared(Valkey)
    prefix = new_prefix()
    names = [f"{prefix}{number}".encode() for number in range(64)]
    checked = cancelled = 0

    async def ask(client: RedisClient) -> None:
        nonlocal checked
        if random.random() < 0.3:
            name = random.choice(names)
            assert await client.run(KEEP, [name], [name]) == [name, name]
        else:
            some = random.sample(names, random.choice((1, 1, 3)))
            assert await client.mget(some) == some
        checked += 1

    async with hesitant_proxy(server.port, random) as port, client_of(f"redis://127.0.0.1:{port}") as client:
        await client.run_many(KEEP, [((name,), (name,)) for name in names])
        for _ in range(400):
            tasks = [asyncio.create_task(ask(client)) for _ in range(16)]
            for _ in range(random.randrange(40)):
                await asyncio.sleep(0)
            for task in random.sample(tasks, 8):
                cancelled += task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError), repr(result)

    assert checked > 2000
    assert cancelled > 1000


async def test_a_server_that_does_not_answer_is_an_unknown_outcome_in_time() -> None:
    with Valkey() as server:
        async with client_of(server.url, timeout_s=0.3) as client:
            await client.mget([b"key"])
            server.pause()
            start = asyncio.get_running_loop().time()
            with pytest.raises(RedisOutcomeUnknown, match=r"127.0.0.1:\d+ has not answered for 0.3 s"):
                await client.run(KEEP, [b"key"], [1])
            with pytest.raises(RedisUnavailable, match=r"does not answer") as caught:
                await client.run(KEEP, [b"key"], [2])
            assert asyncio.get_running_loop().time() - start < 3
            assert not isinstance(caught.value, RedisOutcomeUnknown)
            # It is not asked again within the second, so this takes no time.
            with pytest.raises(RedisUnavailable, match=r"does not answer"):
                await client.run(KEEP, [b"key"], [3])
            server.resume()


async def test_a_lost_connection_is_an_unknown_outcome_and_the_next_call_has_another() -> None:
    async with client_of(shared(Valkey).url) as client:
        await client.mget([b"key"])
        running = asyncio.create_task(client.run(SPIN, [b"key"], []))
        await asyncio.sleep(0)
        shared(Valkey).ask("CLIENT", "KILL", "TYPE", "normal")

        with pytest.raises(RedisOutcomeUnknown, match=r"was lost"):
            await running
        assert await client.mget([b"no such key"]) == [None]


async def test_connections_are_few_and_shared(valkey: RedisClient) -> None:
    await asyncio.gather(*(valkey.mget([b"key"]) for _ in range(20)))
    assert valkey._node is not None
    assert len(valkey._node._connections) == 1

    await asyncio.gather(*(valkey.mget([b"key"]) for _ in range(2000)))

    assert 1 < len(valkey._node._connections) <= 16


async def test_calls_that_wait_are_bounded() -> None:
    with Valkey() as server:
        async with client_of(server.url, timeout_s=0.5, connections_max=1) as client:
            await client.mget([b"key"])
            server.pause()
            waiting = [asyncio.create_task(client.mget([b"key"])) for _ in range(node.CALLS_MAX + 1)]
            done = await asyncio.gather(*waiting, return_exceptions=True)
            server.resume()

    assert [type(error) for error in done] == [RedisOutcomeUnknown] * node.CALLS_MAX + [RedisUnavailable]
    assert "wait for" in str(done[-1])


async def test_a_client_that_was_closed_says_so(valkey: RedisClient) -> None:
    await valkey.mget([b"key"])
    await valkey.close()
    await valkey.close()

    with pytest.raises(RedisUnavailable, match=r"client is closed"):
        await valkey.mget([b"key"])


async def test_a_caller_that_goes_away_while_connecting_takes_nobody_along() -> None:
    async with client_of(shared(Valkey).url) as client:
        first = asyncio.create_task(client.mget([b"no such key"]))
        second = asyncio.create_task(client.mget([b"no such key"]))
        for _ in range(3):
            await asyncio.sleep(0)
        first.cancel()

        assert await second == [None]


async def test_a_connection_that_is_lost_as_soon_as_it_was_opened_is_told_as_unavailable(valkey: RedisClient) -> None:
    at = valkey._node
    assert at is not None
    open_one = at._open_one

    async def lost() -> Connection:
        connection = await open_one()
        connection.abort("the server hung up")
        return connection

    at._open_one = lost
    for _ in range(2):
        with pytest.raises(RedisUnavailable):
            await valkey.mget([b"key"])
    at._open_one = open_one

    assert await valkey.mget([b"nothing"]) == [None]
