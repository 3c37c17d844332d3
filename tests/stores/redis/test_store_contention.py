"""Many daemons change the same keys: what is computed in one of them is never stored over what another wrote meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

import sidecar.stores.redis.store_commits as commits
from servers.base import shared
from servers.redis import Redis
from sidecar.core.errors import LimitExceeded
from sidecar.core.operations import Append, Change, Increment, MergePatch, Put
from tests.contract.harnesses import StoreUnderTest
from tests.stores.redis.store_support import daemon, pass_time, place
from tests.support.factories import request

DAEMONS, WRITES = 5, 12


async def opened(stack: AsyncExitStack, count: int = DAEMONS) -> list[StoreUnderTest]:
    prefix = place()
    url = shared(Redis).url
    return [await stack.enter_async_context(daemon(url, prefix=prefix)) for _ in range(count)]


async def test_appends_of_many_daemons_lose_none() -> None:
    async with AsyncExitStack() as stack:
        stores = await opened(stack)

        await asyncio.gather(
            *[
                store.commit(Change(key="list", change=Append(items=(f"{number} {n}",)), create=True))
                for number, store in enumerate(stores)
                for n in range(WRITES)
            ]
        )

        items = json.loads(await stores[0].value("list") or b"")
        assert sorted(items) == sorted(f"{number} {n}" for number in range(DAEMONS) for n in range(WRITES))


async def test_patches_meet_increments_puts_and_touches() -> None:
    async with AsyncExitStack() as stack:
        stores = await opened(stack)
        await stores[0].put("doc", b"{}", ttl_ms=1_000_000)

        async def patch(store: StoreUnderTest, name: str) -> None:
            patch = MergePatch(patch={name: 1})
            await store.commit(Change(key="doc", change=patch), Change(key="n", change=Increment(delta=1), create=True))

        await asyncio.gather(
            *[patch(store, f"{number} {n}") for number, store in enumerate(stores) for n in range(WRITES)],
            *[store.touch("doc", ttl_ms=2_000_000 + n, announce=True) for store in stores for n in range(WRITES)],
        )

        entry = await stores[0].entry("doc")
        assert entry is not None
        assert len(json.loads(entry.value)) == DAEMONS * WRITES
        # No patch has undone a touch.
        assert entry.ttl_ms is not None
        assert entry.ttl_ms >= 2_000_000
        assert await stores[0].value("n") == b"%d" % (DAEMONS * WRITES)


@asynccontextmanager
async def interrupted(at: int, *others: str) -> AsyncIterator[tuple[StoreUnderTest, StoreUnderTest]]:
    """Two daemons; just before the first one's write script number `at`, the other one does something to the list."""
    url, prefix = shared(Redis).url, place()
    async with daemon(url, prefix=prefix) as other:

        async def interrupt() -> None:
            for what in others:
                await INTERRUPTIONS[what](other)

        async with daemon(url, prefix=prefix, before={at: interrupt}) as one:
            yield one, other


async def end(store: StoreUnderTest) -> None:
    await store.touch("list", ttl_ms=10)
    pass_time(shared(Redis), 0.1)


INTERRUPTIONS: dict[str, Callable[[StoreUnderTest], Awaitable[object]]] = {
    "append": lambda store: store.commit(Change(key="list", change=Append(items=("other",)), create=True)),
    "put": lambda store: store.put("list", b"[]"),
    "remove": lambda store: store.remove("list"),
    "touch": lambda store: store.touch("list", ttl_ms=200_000),
    "end": end,
}
APPEND = Change(key="list", change=Append(items=("mine",)), create=True, return_value=True)


@pytest.mark.parametrize(
    ("interruptions", "value", "ttl_ms"),
    [
        (["append"], ["first", "other", "mine"], 50_000),
        (["put"], ["mine"], None),
        (["remove"], ["mine"], 10_000),
        (["touch"], ["first", "mine"], 200_000),
        (["end"], ["mine"], 10_000),
        (["remove", "append"], ["other", "mine"], None),
    ],
    ids=str,
)
async def test_a_change_is_computed_again_when_another_was_faster(
    interruptions: list[str], value: list[str], ttl_ms: int | None
) -> None:
    """Between loading and committing; a touch leaves the version as it was, and so does an end."""
    async with interrupted(2, *interruptions) as (one, other):
        await other.put("list", b'["first"]', ttl_ms=50_000)

        outcome = await one.commit(APPEND, ttl_default_ms=10_000)

        entry = await other.entry("list")
        assert entry is not None
        assert outcome.results[0].value == entry.value
        assert outcome.copies == (entry,)
        assert (json.loads(entry.value), entry.ttl_ms) == (value, ttl_ms)
        assert outcome.results[0].found == (interruptions not in (["remove"], ["end"]))


async def test_what_the_one_before_left_is_not_trusted_when_another_was_faster() -> None:
    async with interrupted(3, "put") as (one, other):
        await asyncio.gather(one.commit(APPEND), one.commit(APPEND))

        assert await other.value("list") == b'["mine"]'


@pytest.mark.parametrize("remembered", [False, True])
async def test_a_refusal_is_of_what_is_there_and_not_of_what_the_one_before_left(remembered: bool) -> None:
    async with interrupted(3, "put") as (one, other):
        write_id = request("r") if remembered else None
        _, outcome = await asyncio.gather(one.commit(APPEND), one.commit(APPEND, value_bytes_max=8, request=write_id))

        assert outcome.results[0].value == await other.value("list") == b'["mine"]'


async def test_repetitions_at_many_daemons_take_effect_once() -> None:
    async with AsyncExitStack() as stack:
        stores = await opened(stack)
        operation = Change(key="list", change=Append(items=(1,)), create=True, return_value=True)

        outcomes = await asyncio.gather(
            *[store.commit(operation, request=request("r")) for store in stores for _ in range(WRITES)]
        )

        assert await stores[0].value("list") == b"[1]"
        assert len({(outcome.version, outcome.results) for outcome in outcomes}) == 1
        assert sum(not outcome.replayed for outcome in outcomes) == 1


async def test_who_loses_too_often_is_told_to_slow_down_and_has_written_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commits, "ATTEMPTS_MAX", 1)
    async with AsyncExitStack() as stack:
        stores = await opened(stack)
        await stores[0].put("list", b"[]")

        answers = await asyncio.gather(
            *[
                store.commit(Change(key="list", change=Append(items=(number,))), Put(key=f"by {number}", value=b""))
                for number, store in enumerate(stores)
            ],
            return_exceptions=True,
        )

        assert all(isinstance(answer, LimitExceeded) for answer in answers), "one attempt only loads"
        assert await stores[0].value("list") == b"[]"
        assert await stores[0].keys() == ["list"]
