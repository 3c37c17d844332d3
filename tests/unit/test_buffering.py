"""Namespaces with `on_outage: buffer`: what is kept while the authority is away, seen meanwhile, and settled afterwards."""

from __future__ import annotations

import asyncio
import json

import pytest

from sidecar.core.errors import (
    FailedPrecondition,
    InvalidRequest,
    LimitExceeded,
    StoreUnavailable,
    VersionConflict,
)
from sidecar.core.journal import Settlement
from sidecar.core.modes import Durability, ServingMode, Tier
from sidecar.core.operations import Change, MergePatch, Put, Remove, WriteId
from sidecar.engine.replay import PATIENCE
from sidecar.stores.journal import MemoryJournal
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.unit.buffering_support import LAST, MERGE, REJECT, Sidecar, adding, appending

BUFFERED, COMMITTED = Durability.BUFFERED, Durability.VOLATILE  # a store in memory commits as VOLATILE


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def shared(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
async def one(shared: MemoryStore, clock: ManualClock) -> Sidecar:
    return await Sidecar(shared, clock).start()


@pytest.fixture
async def other(shared: MemoryStore, clock: ManualClock) -> Sidecar:
    return await Sidecar(shared, clock).start()


async def test_with_the_authority_there_nothing_is_kept(one: Sidecar) -> None:
    assert await one.put(REJECT, b"value") is COMMITTED
    assert one.replay.depth == 0


async def test_a_write_is_kept_and_seen_and_applied_when_the_authority_is_back(one: Sidecar) -> None:
    one.cut()
    written = await one.write(REJECT, Put(key="key", value=b"mine", labels={"a": "b"}))
    seen = await one.read(REJECT)

    assert (written.durability, written.mode, written.version) == (BUFFERED, ServingMode.DEGRADED, 0)
    assert seen.entry is not None
    assert (seen.entry.value, dict(seen.entry.labels), seen.entry.version) == (b"mine", {"a": "b"}, 0)
    assert (seen.mode, seen.tier, seen.stale_possible) == (ServingMode.DEGRADED, Tier.NEAR, True)
    await one.settle()
    found = await one.read(REJECT, strong=True)
    assert found.entry is not None
    assert (found.entry.value, found.entry.labels["a"]) == (b"mine", "b")
    assert one.replay.settled == {Settlement.APPLIED: 1}


async def test_updates_are_done_again_where_the_data_is(one: Sidecar, other: Sidecar) -> None:
    await one.write(REJECT, appending("first"))
    one.cut()
    kept = await one.write(REJECT, appending("mine"))
    await other.write(REJECT, appending("theirs"))

    assert kept.results[0].value == b'["first","mine"]'
    await one.settle()
    assert await one.value(REJECT) == b'["first","theirs","mine"]'


async def test_counters_add_up(one: Sidecar, other: Sidecar) -> None:
    await one.write(LAST, adding(1))
    one.cut()
    for _ in range(3):
        await one.write(LAST, adding(10))
    await other.write(LAST, adding(100))
    assert await one.value(LAST) == b"31"
    await one.settle()

    assert await one.value(LAST) == b"131"


async def test_a_base_that_nobody_moved_is_no_conflict(one: Sidecar) -> None:
    await one.put(REJECT, b"base")
    one.cut()
    assert await one.put(REJECT, b"first") is BUFFERED
    assert await one.put(REJECT, b"second") is BUFFERED
    await one.settle()

    assert await one.value(REJECT) == b"second"
    assert one.dead_reasons() == []


async def test_rejected_is_dead_lettered_and_the_authority_unchanged(one: Sidecar, other: Sidecar) -> None:
    await one.put(REJECT, b"base")
    one.cut()
    await one.put(REJECT, b"mine", request_id="r")
    await other.put(REJECT, b"theirs")
    await one.settle()

    assert await one.value(REJECT) == b"theirs"
    assert one.dead_reasons() == ["VERSION_MISMATCH"]
    with pytest.raises(VersionConflict):  # a late duplicate of it does nothing either
        await other.put(REJECT, b"mine", request_id="r")


@pytest.mark.parametrize("mine_later", [True, False])
async def test_the_last_write_wins_by_when_it_was_made(
    one: Sidecar, other: Sidecar, clock: ManualClock, mine_later: bool
) -> None:
    await one.put(LAST, b"base")
    one.cut()
    clock.advance(10)
    writers = [(other, b"theirs"), (one, b"mine")] if mine_later else [(one, b"mine"), (other, b"theirs")]
    for writer, value in writers:
        await writer.put(LAST, value)
        clock.advance(10)
    await one.settle()

    assert await one.value(LAST) == (b"mine" if mine_later else b"theirs")
    assert one.dead_reasons() == ([] if mine_later else ["SUPERSEDED"])


@pytest.mark.parametrize("first", [0, 1])
async def test_of_two_that_buffered_the_later_wins_in_whichever_order_they_come_back(
    one: Sidecar, other: Sidecar, clock: ManualClock, first: int
) -> None:
    await one.put(LAST, b"base")
    await other.read(LAST)
    for sidecar, value in ((one, b"earlier"), (other, b"later")):
        sidecar.cut()
        clock.advance(10)
        await sidecar.put(LAST, value)
    for sidecar in (one, other) if first == 0 else (other, one):
        clock.advance(1_000)
        await sidecar.settle()

    assert await one.value(LAST) == b"later"


async def test_merge_keeps_what_both_sides_did(one: Sidecar, other: Sidecar) -> None:
    await one.put(MERGE, b'{"turns":[1],"a":1,"b":1}')
    one.cut()
    await one.put(MERGE, b'{"turns":[1,2],"a":2,"b":1}')
    await other.put(MERGE, b'{"turns":[1,3],"a":1,"b":5}')
    await one.settle()

    assert await one.value(MERGE) == b'{"turns":[1,3,2],"a":2,"b":5}'
    assert one.replay.settled == {Settlement.MERGED: 1}


async def test_what_cannot_be_merged_is_dead_lettered(one: Sidecar, other: Sidecar) -> None:
    await one.put(MERGE, b'{"city":"Rome"}')
    one.cut()
    await one.put(MERGE, b'{"city":"Paris"}')
    await other.put(MERGE, b'{"city":"Oslo"}')
    await one.settle()

    assert one.dead_reasons() == ["MERGE_CONFLICT"]
    assert await one.value(MERGE) == b'{"city":"Oslo"}'


async def test_a_reply_that_was_lost_is_no_second_write(one: Sidecar) -> None:
    await one.write(MERGE, appending(1))
    one.link.loses_replies = 3
    kept = await one.write(MERGE, appending(2))
    await one.settle()

    assert kept.durability in {BUFFERED, COMMITTED}
    assert await one.value(MERGE) == b"[1,2]"


@pytest.mark.parametrize("namespace", [REJECT, LAST, MERGE])
async def test_a_crash_between_commit_and_settlement_repeats_nothing(one: Sidecar, namespace: str) -> None:
    await one.put(namespace, b'["base"]')
    one.cut()
    await one.write(namespace, appending("mine"))
    await one.put(namespace, b'["base","mine","more"]')
    await one.settle()
    version = (await one.read(namespace, strong=True)).entry
    again = await one.crashed()
    assert again.replay.depth == 2
    await again.settle()

    assert (await again.read(namespace, strong=True)).entry == version
    assert again.dead_reasons() == []


async def test_a_retry_of_the_caller_through_another_daemon_takes_effect_once(one: Sidecar, other: Sidecar) -> None:
    one.cut()
    await one.write(MERGE, appending("turn"), request_id="r")
    assert (await other.write(MERGE, appending("turn"), request_id="r")).durability is COMMITTED
    await one.settle()

    assert await one.value(MERGE) == b'["turn"]'


async def test_a_retry_of_the_caller_through_the_same_daemon_is_kept_once(one: Sidecar) -> None:
    one.cut()
    for _ in range(3):
        assert (await one.write(MERGE, appending("turn"), request_id="r")).durability is BUFFERED
    await one.settle()

    assert one.replay.settled.total() == 1


async def test_another_write_under_the_id_of_one_that_waits_is_refused(one: Sidecar) -> None:
    one.cut()
    await one.write(MERGE, appending("turn"), request_id="r")
    other = WriteId(request_id="r", fingerprint=b"of something else")
    with pytest.raises(InvalidRequest) as caught:
        await one.engine.writes.write(MERGE, (appending("x"),), request=other, needs_authority=False)

    assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_a_write_of_a_key_waits_until_those_before_it_are_settled(one: Sidecar) -> None:
    one.cut()
    await one.write(MERGE, appending(1))
    await one.heal()
    behind = await one.write(MERGE, appending(2))

    assert behind.durability is COMMITTED
    assert await one.value(MERGE, strong=True) == b"[1,2]"


async def test_who_has_too_many_before_it_is_kept_behind_them(one: Sidecar) -> None:
    one.cut()
    for number in range(3 * PATIENCE):
        await one.write(MERGE, appending(number))
    await one.heal()
    behind = await one.write(MERGE, appending("last"))

    assert behind.durability is BUFFERED
    assert one.replay.depth == 2 * PATIENCE + 1
    await one.settle()
    turns = json.loads(await one.value(MERGE, strong=True) or b"")
    assert turns == [*range(3 * PATIENCE), "last"]


async def test_writers_of_one_key_all_the_time_do_not_keep_it_waiting_for_ever(one: Sidecar) -> None:
    one.cut()
    for number in range(100):
        await one.write(MERGE, appending(number))
    await one.heal()

    async def writer(name: int) -> list[Durability]:
        return [(await one.write(MERGE, appending(f"{name}-{number}"))).durability for number in range(20)]

    told = await asyncio.gather(*(writer(name) for name in range(16)))

    assert {durability for durabilities in told for durability in durabilities[-10:]} == {COMMITTED}
    turns = json.loads(await one.value(MERGE, strong=True) or b"")
    assert len(turns) == len(set(turns)) == 100 + 16 * 20


async def test_what_needs_the_authority_settles_the_key_first(one: Sidecar) -> None:
    one.cut()
    await one.put(REJECT, b"mine")
    with pytest.raises(StoreUnavailable):
        await one.read(REJECT, strong=True)
    with pytest.raises(StoreUnavailable):
        await one.engine.writes.write(REJECT, (Remove(key="key"),), needs_authority=True)
    assert one.replay.depth == 1
    await one.heal()

    strong = asyncio.create_task(one.value(REJECT, strong=True))
    await asyncio.sleep(0)
    assert not strong.done()
    assert await one.replay.one()
    assert await strong == b"mine"


async def test_readers_wait_for_their_key_before_others(one: Sidecar) -> None:
    one.cut()
    for number in range(20):
        await one.put(REJECT, b"value", key=f"{number}")
    await one.heal()
    strong = asyncio.create_task(one.value(REJECT, strong=True, key="15"))
    await asyncio.sleep(0)
    await one.replay.one()

    assert await strong == b"value"
    assert one.replay.depth == 19


async def test_a_reader_that_goes_away_stops_no_settlement(one: Sidecar) -> None:
    gate = asyncio.Event()
    one.journal._sync = gate.wait  # type: ignore[assignment]  # waits, as a disk does
    one.cut()
    gate.set()
    await one.write(MERGE, Change(key="key", change=MergePatch(patch={"b": 2})))
    await one.heal()
    gate.clear()
    strong = asyncio.create_task(one.read(MERGE, strong=True))
    settling = asyncio.create_task(one.replay.one())
    for _ in range(10):
        await asyncio.sleep(0)
    strong.cancel()
    gate.set()

    assert await settling
    assert one.replay.depth == 0
    assert one.dead_reasons() == ["KEY_NOT_FOUND"]


async def test_a_prefix_is_deleted_with_what_was_waiting_under_it(one: Sidecar) -> None:
    one.cut()
    await one.put(REJECT, b"mine", key="a/1")
    await one.heal()
    deleted = await one.engine.writes.delete_prefix(REJECT, "a/", all_keys=False, request=None)
    await one.settle()

    assert deleted.deleted_count == 1
    assert await one.value(REJECT, strong=True, key="a/1") is None


async def test_a_key_that_is_being_settled_is_waited_for(one: Sidecar) -> None:
    one.cut()
    await one.write(MERGE, appending(1))
    await one.heal()
    assert one.replay._pending.claim() == (MERGE, "key")
    assert not await one.replay.one()
    writer = asyncio.create_task(one.write(MERGE, appending(2)))
    await asyncio.sleep(0)
    one.replay._let_go((MERGE, "key"))

    assert (await writer).durability is COMMITTED


async def test_an_update_of_what_is_not_known_is_kept_and_seen_by_nobody(one: Sidecar, other: Sidecar) -> None:
    await other.write(MERGE, Put(key="key", value=b'{"a":1}'))
    one.cut()
    patch = Change(key="key", change=MergePatch(patch={"b": 2}))
    assert (await one.write(MERGE, patch)).durability is BUFFERED
    assert (await one.read(MERGE)).mode is ServingMode.PASSTHROUGH
    await one.settle()

    assert await one.value(MERGE) == b'{"a":1,"b":2}'


async def test_an_update_that_the_data_refuses_is_dead_lettered(one: Sidecar) -> None:
    one.cut()
    await one.write(MERGE, Change(key="key", change=MergePatch(patch={"b": 2})))
    await one.settle()

    assert one.dead_reasons() == ["KEY_NOT_FOUND"]


async def test_an_update_that_what_is_known_refuses_is_refused_now(one: Sidecar) -> None:
    await one.put(MERGE, b"text")
    one.cut()
    with pytest.raises(FailedPrecondition):
        await one.write(MERGE, appending(1))
    assert one.replay.depth == 0


async def test_a_fixed_ttl_counts_from_when_it_was_acknowledged(one: Sidecar, clock: ManualClock) -> None:
    one.cut()
    await one.write(REJECT, Put(key="key", value=b"short", ttl_ms=1_000))
    await one.write(REJECT, Put(key="long", value=b"long", ttl_ms=100_000))
    clock.advance(60_000)
    assert await one.value(REJECT) is None
    await one.settle()

    found = await one.read(REJECT, strong=True, key="long")
    assert found.entry is not None
    assert found.entry.expire_time is not None
    assert found.entry.expire_time - clock.now() <= 40_000
    assert await one.value(REJECT, strong=True) is None
    assert one.dead_reasons() == ["EXPIRED"]


async def test_what_waited_for_too_long_is_dead_lettered_and_never_applied(one: Sidecar, clock: ManualClock) -> None:
    one.cut()
    await one.write(MERGE, appending(1), request_id="r")
    clock.advance(25 * 3_600_000)
    await one.settle()

    assert one.dead_reasons() == ["TOO_OLD"]
    with pytest.raises(VersionConflict):
        await one.write(MERGE, appending(1), request_id="r")


async def test_a_full_journal_refuses_and_says_so(shared: MemoryStore, clock: ManualClock) -> None:
    one = await Sidecar(shared, clock, MemoryJournal(bytes_max=4_000)).start()
    one.cut()
    refused: list[str] = []
    for number in range(100):
        try:
            await one.put(REJECT, bytes(100), key=f"{number}")
        except LimitExceeded as exc:
            refused.append(exc.reason)
    kept = one.replay.depth
    assert refused == ["JOURNAL_FULL"] * (100 - kept)
    await one.settle()

    assert one.replay.settled == {Settlement.APPLIED: kept}
    assert kept > 3


async def test_concurrent_writes_of_a_key_are_kept_one_after_the_other(one: Sidecar) -> None:
    one.cut()
    await asyncio.gather(*(one.write(MERGE, appending(number)) for number in range(20)))
    seen = await one.value(MERGE)
    await one.settle()

    assert seen is not None
    assert sorted(json.loads(seen)) == list(range(20))
    assert await one.value(MERGE) == seen


async def test_the_conflict_of_a_write_with_the_key_gone(one: Sidecar, other: Sidecar) -> None:
    await one.put(REJECT, b"base")
    one.cut()
    await one.put(REJECT, b"mine")
    await other.engine.writes.write(REJECT, (Remove(key="key"),), needs_authority=True)
    await one.settle()

    assert one.dead_reasons() == ["VERSION_MISMATCH"]
    assert await one.value(REJECT, strong=True) is None
