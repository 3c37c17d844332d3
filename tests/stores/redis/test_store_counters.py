"""Counters: exact over the whole range of an int64, and one script each as long as the script can add exactly."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest

from servers.base import shared
from servers.redis import Redis, Valkey
from sidecar.core import merge
from sidecar.core.errors import FailedPrecondition, InvalidRequest, VersionConflict
from sidecar.core.operations import Append, Change, Check, Increment, MergePatch, Operation, Put, WriteId
from tests.contract.harnesses import StoreUnderTest
from tests.stores.redis.store_support import daemon, place
from tests.support.factories import request

EDGES = [0, 1, 10**14 - 1, 10**14, 10**15 - 1, 10**15, 10**15 + 1, 10**16, (1 << 53) - 1, 1 << 53, (1 << 53) + 1]
EDGES += [(1 << 63) - 1]
NUMBERS = [number * sign for number in EDGES for sign in (1, -1)]
TEXTS = [b"007", b"+5", b"-0", b"+0", b"-007", b"000000000000001", b"0000000000000000001", b"+99999999999999"]


async def expect_same(store: StoreUnderTest, text: bytes | None, change: Increment) -> None:
    """What the store makes of a counter is what the core makes of it."""
    try:
        expected: bytes | str = merge.increment(text, change.delta, change.minimum, change.maximum)
    except FailedPrecondition as refusal:
        expected = refusal.reason
    if text is not None:
        await store.put("n", text)
    operation = Change(key="n", change=change, create=True, return_value=True)
    try:
        told: bytes | str | None = (await store.commit(operation)).results[0].value
    except FailedPrecondition as refusal:
        told = refusal.reason
    assert told == expected, (text, change)
    assert await store.value("n") == (text if isinstance(expected, str) else expected)


@pytest.mark.parametrize("kind", [Redis, Valkey])
@pytest.mark.parametrize("start", [*NUMBERS, *TEXTS], ids=str)
async def test_sums_are_exact(kind: type[Redis], start: int | bytes) -> None:
    async with daemon(shared(kind).url, prefix=place()) as store:
        text = start if isinstance(start, bytes) else b"%d" % start
        for delta in NUMBERS:
            await expect_same(store, text, Increment(delta=delta))


@pytest.mark.parametrize("bound", NUMBERS)
async def test_bounds_are_exact(bound: int) -> None:
    async with daemon(shared(Redis).url, prefix=place()) as store:
        for off in (-1, 0, 1):
            await expect_same(store, b"%d" % (bound + off), Increment(delta=0, minimum=bound))
            await expect_same(store, b"%d" % (bound + off), Increment(delta=0, maximum=bound))


async def calls_of(server: Redis) -> int:
    with server.client() as connection:
        stats = connection.info("commandstats")
    return sum(stats[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)


ONE_EACH = {
    "increments": Change(key="n", change=Increment(delta=1, minimum=0, maximum=10**9), create=True),
    "increments with a value": Change(key="n", change=Increment(delta=1), create=True, return_value=True, ttl_ms=9000),
}


@pytest.mark.parametrize("operation", ONE_EACH.values(), ids=ONE_EACH)
async def test_an_increment_is_one_script(operation: Change) -> None:
    server = Redis()
    with server:
        async with daemon(server.url) as store:
            await store.commit(operation)
            before = await calls_of(server)

            await asyncio.gather(*[store.commit(operation, request=request(f"{n}")) for n in range(64)])

            assert await calls_of(server) - before == 64
            assert await store.value("n") == b"65"


async def test_a_refused_increment_is_one_script_unless_it_is_to_be_remembered() -> None:
    with Redis() as server:
        async with daemon(server.url) as store:
            await store.put("n", b"5")
            operation = Change(key="n", change=Increment(delta=1, maximum=5))
            before = await calls_of(server)
            with pytest.raises(FailedPrecondition):
                await store.commit(operation)
            assert await calls_of(server) - before == 1

            with pytest.raises(FailedPrecondition):
                await store.commit(operation, request=request("r"))
            assert await calls_of(server) - before == 3


@pytest.mark.parametrize("change", [Append(items=(1,)), MergePatch(patch={"a": 1})], ids=["append", "patch"])
async def test_changes_computed_here_take_turns_instead_of_undoing_each_other(change: Append | MergePatch) -> None:
    """One loads, and each goes on from what the one before it left."""
    with Redis() as server:
        async with daemon(server.url) as store:
            operation = Change(key="key", change=change, create=True)
            await store.commit(operation)
            before = await calls_of(server)

            await asyncio.gather(*[store.commit(operation) for _ in range(64)])

            assert await calls_of(server) - before == 65


async def test_a_counter_that_grows_too_long_is_refused() -> None:
    async with daemon(shared(Redis).url, prefix=place()) as store:
        await store.put("n", b"98")
        operation = Change(key="n", change=Increment(delta=1))
        await store.commit(operation, value_bytes_max=2)

        with pytest.raises(InvalidRequest) as caught:
            await store.commit(operation, value_bytes_max=2)

        assert caught.value.reason == "VALUE_TOO_LARGE"
        assert await store.value("n") == b"99"


REFUSED: dict[str, Operation] = {
    "CONFLICT": Check(key="guarded", expected_version=7),
    "KEY_NOT_FOUND": Change(key="missing", change=Increment(delta=1)),
    "NOT_A_JSON_ARRAY": Change(key="text", change=Append(items=(1,))),
    "NOT_JSON": Change(key="prose", change=MergePatch(patch={})),
    "COUNTER_OUT_OF_BOUNDS": Change(key="n", change=Increment(delta=1, maximum=0), create=True),
}


@pytest.mark.parametrize("write_id", [None, request("r")], ids=["without an id", "under an id"])
@pytest.mark.parametrize("pair", list(permutations(REFUSED, 2)), ids="-".join)
async def test_of_two_refusals_the_first_is_told(pair: tuple[str, str], write_id: WriteId | None) -> None:
    """Whichever of them the script met, and whichever was found here."""
    async with daemon(shared(Redis).url, prefix=place()) as store:
        await store.commit(Put(key="text", value=b"text"), Put(key="prose", value=b"prose"))
        first = REFUSED[pair[0]]
        for _ in range(2):
            with pytest.raises((VersionConflict, FailedPrecondition)) as caught:
                await store.commit(Put(key="new", value=b""), *(REFUSED[name] for name in pair), request=write_id)

            assert caught.value.reason == ("VERSION_MISMATCH" if isinstance(first, Check) else pair[0])
            assert caught.value.metadata["operation"] == "1"
        assert await store.copy("new") is None
