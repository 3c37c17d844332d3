"""Many tasks at once: exact totals, one winner, and a definite state whoever stops waiting."""

from __future__ import annotations

import asyncio
import json

import pytest

from sidecar.core.errors import DeadlineExceeded, SidecarError, VersionConflict
from sidecar.core.operations import Append, Change, Increment, Put
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import request

TASKS = 64


async def test_increments_by_compare_and_set_are_exact(store: StoreUnderTest) -> None:
    await store.put("n", b"0")
    conflicts = 0

    async def add_one() -> None:
        nonlocal conflicts
        for _ in range(TASKS):
            entry = await store.entry("n")
            assert entry is not None
            try:
                await store.put("n", b"%d" % (int(entry.value) + 1), expected_version=entry.version)
            except VersionConflict as conflict:
                assert conflict.current_version > entry.version  # noqa: PT017  # the other outcome is none
                conflicts += 1
            else:
                return
        raise AssertionError("more losses than others could win")

    await asyncio.gather(*[add_one() for _ in range(TASKS)])

    assert await store.value("n") == b"%d" % TASKS


async def test_increments_where_the_data_is_are_exact(store: StoreUnderTest) -> None:
    operation = Change(key="n", change=Increment(delta=1), create=True, return_value=True)

    outcomes = await asyncio.gather(*[store.commit(operation) for _ in range(TASKS)])

    assert await store.value("n") == b"%d" % TASKS
    values = [int(outcome.results[0].value or b"") for outcome in outcomes]
    assert sorted(values) == list(range(1, TASKS + 1))
    in_order = sorted(outcomes, key=lambda outcome: outcome.version)
    assert [outcome.results[0].value for outcome in in_order] == [b"%d" % n for n in range(1, TASKS + 1)]


async def test_concurrent_appends_lose_none(store: StoreUnderTest) -> None:
    await asyncio.gather(
        *[store.commit(Change(key="list", change=Append(items=(n,)), create=True)) for n in range(TASKS)]
    )

    assert sorted(json.loads(await store.value("list") or b"")) == list(range(TASKS))


async def test_of_concurrent_creations_exactly_one_wins(store: StoreUnderTest) -> None:
    answers = await asyncio.gather(
        *[store.put("key", b"%d" % n, expected_version=0) for n in range(TASKS)], return_exceptions=True
    )

    winners = [n for n, answer in enumerate(answers) if isinstance(answer, int)]
    assert len(winners) == 1
    assert await store.value("key") == b"%d" % winners[0]
    losers = [answer for answer in answers if isinstance(answer, VersionConflict)]
    assert len(losers) == TASKS - 1
    assert {loser.current_version for loser in losers} == {answers[winners[0]]}


async def test_of_concurrent_writers_under_one_version_exactly_one_wins(store: StoreUnderTest) -> None:
    version = await store.put("key")

    answers = await asyncio.gather(
        *[store.put("key", b"%d" % n, expected_version=version) for n in range(TASKS)], return_exceptions=True
    )

    assert sum(isinstance(answer, int) for answer in answers) == 1
    assert sum(isinstance(answer, VersionConflict) for answer in answers) == TASKS - 1


async def test_concurrent_writes_of_different_keys_all_land(store: StoreUnderTest) -> None:
    versions = await asyncio.gather(*[store.put(f"{n:02}", b"%d" % n) for n in range(TASKS)])

    assert len(set(versions)) == TASKS
    assert [entry.version for entry in (await store.scan()).entries] == versions


async def test_writes_in_one_batch_do_not_share_a_fate(store: StoreUnderTest) -> None:
    await store.put("text", b"text")
    bad = Change(key="text", change=Increment(delta=1))
    good = Change(key="n", change=Increment(delta=1), create=True)

    answers = await asyncio.gather(
        *[store.commit(bad if n % 2 else good) for n in range(TASKS)], return_exceptions=True
    )

    assert [isinstance(answer, SidecarError) for answer in answers] == [bool(n % 2) for n in range(TASKS)]
    assert await store.value("n") == b"%d" % (TASKS // 2)
    assert await store.value("text") == b"text"


async def test_a_reader_sees_a_transaction_whole_or_not_at_all(store: StoreUnderTest) -> None:
    await store.commit(Put(key="a", value=b"0"), Put(key="b", value=b"0"))

    async def write() -> None:
        for n in range(1, 33):
            await store.commit(Put(key="a", value=b"%d" % n), Put(key="b", value=b"%d" % n))

    writing = asyncio.create_task(write())
    while not writing.done():
        a, b = await store.store.get("contract", ["a", "b"])
        assert a is not None
        assert b is not None
        assert a.version == b.version
        await asyncio.sleep(0)
    await writing


async def test_a_write_is_seen_by_every_read_after_its_answer(store: StoreUnderTest) -> None:
    async def write_and_read(n: int) -> None:
        for turn in range(8):
            version = await store.put(f"{n}", b"%d" % turn)
            entry = await store.entry(f"{n}")
            assert entry is not None
            assert (entry.version, entry.value) == (version, b"%d" % turn)

    await asyncio.gather(*[write_and_read(n) for n in range(16)])


async def test_a_caller_who_stops_waiting_leaves_a_definite_state(store: StoreUnderTest) -> None:
    operation = Change(key="n", change=Increment(delta=1), create=True, return_value=True)
    writes = [asyncio.create_task(store.commit(operation, request=request(f"{n}"))) for n in range(16)]
    await asyncio.sleep(0)
    for task in writes[::2]:
        task.cancel()
    await asyncio.gather(*writes, return_exceptions=True)

    answers = [await store.commit(operation, request=request(f"{n}")) for n in range(16)]

    assert await store.value("n") == b"16"
    assert sorted(int(answer.results[0].value or b"") for answer in answers) == list(range(1, 17))
    assert all(answer.replayed for answer in answers[1::2])


async def test_a_cancelled_reader_disturbs_no_other(store: StoreUnderTest) -> None:
    await store.commit(*[Put(key=f"{n}", value=b"%d" % n) for n in range(32)])
    reads = [asyncio.create_task(store.value(f"{n}")) for n in range(32)]
    await asyncio.sleep(0)
    for task in reads[::3]:
        task.cancel()
    answers = await asyncio.gather(*reads, return_exceptions=True)

    assert [answer for n, answer in enumerate(answers) if n % 3] == [b"%d" % n for n in range(32) if n % 3]
    assert await store.value("5") == b"5"


@pytest.mark.parametrize("guarded", [False, True], ids=["unguarded", "guarded"])
async def test_a_write_after_its_deadline_is_refused_and_leaves_nothing(store: StoreUnderTest, guarded: bool) -> None:
    await store.advance(1000)
    late = store.clock.monotonic()

    with pytest.raises(DeadlineExceeded):
        await store.commit(
            Put(key="key", value=b"", expected_version=7 if guarded else None), deadline=late, request=request("r")
        )

    assert await store.copy("key") is None
    assert not (await store.commit(Put(key="key", value=b""), request=request("r"))).replayed


async def test_a_write_before_its_deadline_lands(store: StoreUnderTest) -> None:
    await store.commit(Put(key="key", value=b"in time"), deadline=store.clock.monotonic() + 60)

    assert await store.value("key") == b"in time"
