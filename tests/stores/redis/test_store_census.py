"""A count looks at some entries of each namespace only, in steps that others need not wait for."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from servers.base import shared
from servers.redis import Redis
from sidecar.core.observed import Held
from sidecar.core.operations import Put
from sidecar.stores.redis import RedisStore
from sidecar.stores.redis.store_counting import SAMPLE_MAX, VISITS_MAX
from tests.contract.adapters_redis_store import REDIS_STORE
from tests.contract.harnesses import StoreUnderTest


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    async with REDIS_STORE.opened(tmp_path) as subject:
        yield subject


async def fill(store: StoreUnderTest, sizes: list[int], *, namespace: str = "large", ttl_ms: int | None = None) -> int:
    """Entries with values of these sizes; the bytes of all keys and values."""
    for begin in range(0, len(sizes), 500):
        chunk = list(enumerate(sizes))[begin : begin + 500]
        puts = [Put(key=f"{number:06}", value=b"x" * size, ttl_ms=ttl_ms) for number, size in chunk]
        await store.commit(*puts, namespace=namespace)
    return sum(sizes) + 6 * len(sizes)


async def test_the_number_of_keys_is_exact_and_their_bytes_are_estimated(store: StoreUnderTest) -> None:
    chance = random.Random(1)
    size = await fill(store, [chance.randrange(1000) for _ in range(5_000)])
    await store.put("key", namespace="small")
    assert isinstance(store.store, RedisStore)

    census = await store.store.census()

    assert census.estimated
    assert census.held["small"] == Held(1, 8)
    assert census.held["large"].entries == 5_000
    assert census.held["large"].bytes == pytest.approx(size, rel=0.15)


async def test_as_many_as_are_looked_at_are_counted_to_the_byte(store: StoreUnderTest) -> None:
    size = await fill(store, list(range(SAMPLE_MAX)))
    assert isinstance(store.store, RedisStore)

    census = await store.store.census()

    assert (census.held, census.estimated) == ({"large": Held(SAMPLE_MAX, size)}, False)


async def test_what_ended_in_a_large_namespace_is_left_out(store: StoreUnderTest) -> None:
    await fill(store, [10] * 3_000)
    await fill(store, [10] * 1_000, ttl_ms=1_000)
    await store.advance(1_000)
    assert isinstance(store.store, RedisStore)

    census = await store.store.census()

    assert census.held["large"].entries == pytest.approx(2_000, rel=0.1)


async def test_namespaces_of_many_steps_are_all_counted_once(store: StoreUnderTest) -> None:
    for n in range(2 * VISITS_MAX):
        await store.put("k" * (n % 7 + 1), b"", namespace=f"{'n' * (n % 5)}{n}")
    assert isinstance(store.store, RedisStore)

    census = await store.store.census()

    assert census.held == {f"{'n' * (n % 5)}{n}": Held(1, n % 7 + 1) for n in range(2 * VISITS_MAX)}


async def test_no_step_keeps_the_server_from_others_for_long(store: StoreUnderTest) -> None:
    """The entries that a script looks at are few, however many there are."""
    await fill(store, [10] * 20_000)
    for n in range(50):
        await fill(store, [10] * SAMPLE_MAX, namespace=f"{n}")
    server = shared(Redis)
    assert isinstance(store.store, RedisStore)
    server.ask("CONFIG", "RESETSTAT")

    await store.store.census()

    calls = {name: int(count) for name, count in re.findall(r"cmdstat_(\w+):calls=(\d+)", info(server))}
    assert calls["hget"] <= 51 * SAMPLE_MAX
    assert calls["evalsha"] >= calls["hget"] / (VISITS_MAX + SAMPLE_MAX)


def info(server: Redis) -> str:
    told = server.ask("INFO", "commandstats")
    return told.decode() if isinstance(told, bytes) else str(told)
