"""Watch, in the engine: what is told, where a token goes on, and what is said when that can't be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from sidecar.core.errors import InvalidRequest, OutOfRange, Passthrough, StoreUnavailable, Unsupported
from sidecar.core.ledger import LEDGER
from sidecar.core.limits import Limits
from sidecar.core.modes import Tier
from sidecar.core.operations import Put, Remove
from sidecar.core.policy import PolicyTable
from sidecar.core.store import StoreCapabilities, Touch
from sidecar.engine.engine import Engine
from sidecar.engine.watching import Asked
from sidecar.engine.watching.feed import READ_ROWS
from sidecar.engine.watching.scope import SHOWN_MAX, Scope, Tokens
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.placement import Placement
from tests.support.ports import ManualPorts
from tests.unit.watching_support import NS, Bench, brief, memory_bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with memory_bench() as made:
        yield made


async def test_changes_are_told_as_they_were_committed(bench: Bench) -> None:
    with closing(await bench.watch()) as watch:
        first, second = await bench.put("b"), await bench.put("a")
        both = await bench.commit(Put(key="c", value=b""), Remove(key="a"))

        told = await bench.told(watch)

    assert brief(told) == [("put", "b", first), ("put", "a", second), ("put", "c", both), ("delete", "a", both)]
    assert all(one.entry is None for one in told)
    assert bench.store.calls["get"] == 0


async def test_what_was_there_before_is_not_told(bench: Bench) -> None:
    await bench.put("before")

    with closing(await bench.watch()) as watch:
        assert await bench.told(watch) == []


async def test_an_expiry_is_told(bench: Bench) -> None:
    with closing(await bench.watch()) as watch:
        await bench.put("key", ttl_ms=100)
        await bench.expire(100)

        told = await bench.told(watch)

    assert [kind for kind, _, _ in brief(told)][:2] == ["put", "expire"]


async def test_touches_and_the_daemons_own_rows_are_not_told(bench: Bench) -> None:
    with closing(await bench.watch()) as watch:
        await bench.put("key", ttl_ms=100)
        await bench.placement.touch(NS, [Touch(key="key", ttl_ms=200)], announce=True)
        await bench.put("row", namespace=LEDGER)
        await bench.put("key", namespace="another")

        assert [key for _, key, _ in brief(await bench.told(watch))] == ["key"]


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        ({"key": "a"}, ["a"]),
        ({"key_prefix": "a"}, ["a", "ab"]),
        ({"key_prefix": "b"}, ["b"]),
        ({"all_keys": True}, ["a", "ab", "b"]),
    ],
)
async def test_only_what_is_watched_is_told(bench: Bench, asked: dict[str, str], keys: list[str]) -> None:
    with closing(await bench.watch(**asked)) as watch:
        for key in ("a", "ab", "b"):
            await bench.put(key)

        assert [key for _, key, _ in brief(await bench.told(watch))] == keys


async def test_a_bookmark_comes_each_second_and_moves_on_with_what_is_not_watched(bench: Bench) -> None:
    with closing(await bench.watch(key="key")) as watch:
        for _ in range(3):
            await bench.put("another")
        assert await bench.told(watch) == []
        bench.clock.advance(1_000)

        [bookmark] = await watch.next()

        assert await watch.next() == []
        assert watch.idle_s > 0
    assert bookmark.kind is None
    await bench.put("key")
    assert len(await bench.resumed(bookmark, key="key")) == 1


async def test_every_token_goes_on_after_its_event(bench: Bench) -> None:
    with closing(await bench.watch()) as watch:
        for number in range(10):
            await bench.commit(*(Put(key=f"{number} {part}", value=b"") for part in range(3)))
        told = await bench.told(watch)

    for at, one in enumerate(told):
        assert brief(await bench.resumed(one)) == brief(told[at + 1 :])


async def test_who_is_behind_the_ring_is_told_everything_from_the_store() -> None:
    async with memory_bench(ring_rows=10) as bench:
        with closing(await bench.watch()) as slow, closing(await bench.watch()) as fast:
            versions = []
            for _ in range(50):
                versions.append(await bench.put("key"))
                await bench.told(fast)
            assert len(bench.feed._rows) <= 20

            assert [version for _, _, version in brief(await bench.told(slow))] == versions


async def test_a_hundred_watchers_cost_one_reader(bench: Bench) -> None:
    watches = [await bench.watch() for _ in range(100)]
    await bench.read()
    for watch in watches:
        await bench.told(watch)  # now all are on the ring
    before = bench.store.calls["changes"]
    for _ in range(10):
        await bench.put("key")
    await bench.read()

    told = [await watch.next() for watch in watches]

    assert all(len(one) == 10 for one in told)
    assert bench.store.calls["changes"] == before + 1
    for watch in watches:
        watch.close()
    assert bench.feed._begin is None


async def test_a_watcher_waits_until_the_ring_has_moved(bench: Bench) -> None:
    with closing(await bench.watch()) as watch:
        assert await bench.told(watch) == []
        await bench.put("key")
        await bench.feed.advance()

        await watch.more()

        assert len(await watch.next()) == 1


async def test_what_moves_while_a_watcher_reads_is_not_slept_through(bench: Bench) -> None:
    with closing(await bench.watch()) as watch:
        hold = bench.store.hold("changes", after=True)
        reading = asyncio.create_task(watch.next())
        await hold.reached.wait()
        bench.store._holds.clear()  # others are not held
        version = await bench.put("key")
        await bench.read()
        hold.release()
        assert await reading == []

        async with asyncio.timeout(5):
            await watch.more()
        assert brief(await watch.next()) == [("put", "key", version)]


async def test_more_than_a_page_is_told_in_order(bench: Bench) -> None:
    with closing(await bench.watch()) as watch:
        versions = [await bench.put(f"{number % 7}") for number in range(2 * READ_ROWS + 5)]

        assert [version for _, _, version in brief(await bench.told(watch))] == versions


# ---- what can't be told


async def test_a_token_whose_changes_are_forgotten_is_out_of_range() -> None:
    async with memory_bench(changes_max=10) as bench:
        with closing(await bench.watch()) as watch:
            await bench.put("key")
            [told] = await bench.told(watch)
        for _ in range(11):
            await bench.put("key")

        with pytest.raises(OutOfRange):
            await bench.resumed(told)


async def test_a_token_at_the_oldest_change_that_is_left_is_not(bench: Bench) -> None:
    async with memory_bench(changes_max=10) as bench:
        with closing(await bench.watch()) as watch:
            await bench.put("key")
            [told] = await bench.told(watch)
        for _ in range(10):
            await bench.put("key")

        assert len(await bench.resumed(told)) == 10


async def test_watchers_on_the_ring_hear_that_the_store_has_forgotten() -> None:
    async with memory_bench(changes_max=10) as bench:
        with closing(await bench.watch()) as watch:
            assert await bench.told(watch) == []
            for _ in range(20):
                await bench.put("key")

            with pytest.raises(OutOfRange):
                await bench.told(watch)


@pytest.mark.parametrize("later_ms", [1, 1_000])
async def test_tokens_of_a_store_that_was_lost_are_out_of_range(bench: Bench, later_ms: int) -> None:
    with closing(await bench.watch()) as watch:
        await bench.put("key")
        [told] = await bench.told(watch)
    bench.clock.advance(later_ms)
    another = Bench(MemoryStore(clock=bench.clock), bench.clock)

    with pytest.raises(OutOfRange):
        await another.resumed(told)


async def test_a_token_of_a_store_that_is_ahead_is_out_of_range(bench: Bench) -> None:
    bench.clock.advance(60_000)
    another = Bench(MemoryStore(clock=bench.clock), bench.clock)
    with closing(await another.watch()) as watch:
        await another.put("key")
        [told] = await another.told(watch)

    with pytest.raises(OutOfRange):
        await bench.resumed(told)


async def test_all_watchers_hear_that_the_authority_is_away_and_go_on_when_it_is_back(bench: Bench) -> None:
    watches = [await bench.watch() for _ in range(3)]
    await bench.put("before")
    tokens = [(await bench.told(watch))[-1] for watch in watches]
    bench.store.away()
    with pytest.raises(StoreUnavailable):
        await bench.feed.advance()
    for watch in watches:
        with pytest.raises(StoreUnavailable):
            await watch.next()
        watch.close()

    bench.store.back()
    version = await bench.put("after")

    for token in tokens:
        assert brief(await bench.resumed(token)) == [("put", "after", version)]


# ---- tokens


@pytest.mark.parametrize("token", ["x", "====", "ä", "AAAA", "A" * 24, "A" * 400, "AQIDBAUGBwgBAwAAAAAAAAAA"])
async def test_what_is_no_token_is_refused(bench: Bench, token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await bench.watch(resume_token=token)

    assert caught.value.reason == "RESUME_TOKEN_INVALID"


@pytest.mark.parametrize(
    "asked", [{"key_prefix": "a"}, {"key": "ab"}, {"key": "a", "namespace": "b"}, {}, {"key": "", "all_keys": True}]
)
async def test_a_token_of_another_watcher_is_refused(bench: Bench, asked: dict[str, str]) -> None:
    with closing(await bench.watch(key="a")) as watch:
        await bench.put("a")
        [told] = await bench.told(watch)

    with pytest.raises(InvalidRequest) as caught:
        await bench.watch(resume_token=told.token, **asked)

    assert caught.value.reason == "RESUME_TOKEN_INVALID"


def test_a_token_of_another_tier_is_out_of_range() -> None:
    scope = Scope(namespace=NS, key=None, prefix="")
    token = Tokens(scope, Tier.HOT).encode(7)

    with pytest.raises(OutOfRange):
        Tokens(scope, Tier.WARM).decode(token)


def test_a_token_has_what_was_shown_after_it_as_far_as_that_is_little() -> None:
    tokens = Tokens(Scope(namespace=NS, key="k", prefix=""), Tier.WARM)

    assert tokens.decode(tokens.encode(5, (3, 5, 6, 9))) == (5, (6, 9))
    assert tokens.decode(tokens.encode(2**62)) == (2**62, ())
    many = tuple(range(10, 10 + SHOWN_MAX))
    assert tokens.decode(tokens.encode(1, many)) == (1, many)
    assert tokens.decode(tokens.encode(1, (5, *many))) == (1, ())


# ---- what may be asked for


@pytest.mark.parametrize(
    ("asked", "reason", "field"),
    [
        ({}, "PREFIX_EMPTY", "key_prefix"),
        ({"key": "k", "key_prefix": "k"}, "KEY_INVALID", "key"),
        ({"key": "k", "all_keys": True}, "KEY_INVALID", "key"),
        ({"key": "k" * 1025}, "KEY_INVALID", "key"),
        ({"key_prefix": "k" * 1025}, "KEY_INVALID", "key_prefix"),
        ({"namespace": "", "key": "k"}, "NAMESPACE_INVALID", "namespace"),
        ({"namespace": LEDGER, "key": "k"}, "NAMESPACE_INVALID", "namespace"),
        ({"key": "k", "resume_token": "x", "snapshot": True}, "RESUME_TOKEN_INVALID", "resume_token"),
    ],
)
async def test_what_can_not_be_watched_is_refused(bench: Bench, asked: dict[str, str], reason: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await bench.engine.watching.open(Asked(**{"namespace": NS} | asked))  # type: ignore[arg-type]  # by name

    assert (caught.value.reason, caught.value.field) == (reason, field)


async def test_an_authority_that_tells_no_changes_can_not_be_watched(bench: Bench) -> None:
    store = MemoryStore(clock=bench.clock)
    store.capabilities = StoreCapabilities(durable=False, shared=True, changes=False)
    without = Bench(store, bench.clock)

    with pytest.raises(Unsupported):
        await without.watch()

    assert without.engine.watching.feeds == ()


async def test_without_an_authority_nothing_can_be_watched() -> None:
    engine = Engine(policies=PolicyTable(), limits=Limits(), hot=None, warm=None)

    with pytest.raises(Passthrough):
        await engine.watching.open(Asked(namespace=NS, all_keys=True))


async def test_each_authority_has_its_own_changes(bench: Bench) -> None:
    hot = Placement(MemoryStore(clock=bench.clock), tier=Tier.HOT, ports=ManualPorts(bench.clock))
    engine = Engine(policies=PolicyTable(), limits=Limits(), hot=hot, warm=bench.placement)
    watch = await engine.watching.open(Asked(namespace="system", all_keys=True))
    with closing(watch):
        await watch.next()
        await bench.put("warm", namespace="system")
        assert [key for _, key, _ in brief(await watch.next())] == []

    assert [feed.placement.tier for feed in engine.watching.feeds] == [Tier.HOT, Tier.WARM]
