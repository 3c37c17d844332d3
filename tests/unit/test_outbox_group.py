"""Several relays over one store: lanes are shared, taken over from the dead, and of no use to whoever has lost them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sidecar.core.errors import OutcomeUnknown, StoreUnavailable
from sidecar.core.ledger import MESSAGES, PARKED
from sidecar.core.outbox import LANES
from sidecar.core.sinks import Refused
from sidecar.engine.outbox.group import share_of
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.unit.outbox_support import (
    CONFIG,
    LEASE_MS,
    NS,
    Meddling,
    Member,
    Published,
    ScriptedSink,
    Writer,
    changed,
    first_deliveries,
    key_of_lane,
    letters,
    placed,
    rows,
    sharing,
)

KEYS = [key_of_lane(lane, number=number) for lane in LANES for number in range(2)]
Joins = Callable[[], Member]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def placement(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Placement]:
    async with placed(request.param, clock, tmp_path) as placement:
        yield placement


@pytest.fixture
def writer(placement: Placement) -> Writer:
    return Writer(placement)


@pytest.fixture
def log() -> list[Published]:
    return []


@pytest.fixture
def joins(placement: Placement, log: list[Published]) -> Joins:
    """Another member, with a sink of its own and a log that all share."""
    return lambda: Member(sharing(placement), ScriptedSink(log=log))


async def settle(*members: Member, rounds: int = 3) -> None:
    for _ in range(rounds):
        for member in members:
            await member.settle()


def owners(log: list[Published]) -> Counter[object]:
    return Counter(one.owner for one in log if one.receipt is None)


@pytest.mark.parametrize("count", range(1, 20))
def test_shares_are_about_even_and_make_all_lanes(count: int) -> None:
    live = {f"{number:03}" for number in range(count)}
    shares = [share_of(token, live)[0] for token in sorted(live)]

    assert sum(shares) == len(LANES)
    assert max(shares) - min(shares) <= 1


async def test_members_share_lanes_about_evenly_and_again_when_one_joins_or_leaves(
    joins: Joins, writer: Writer, log: list[Published]
) -> None:
    one = joins()
    await writer.write_each(KEYS)
    await settle(one)
    assert one.lanes == 16

    two, three = joins(), joins()
    await writer.write_each(KEYS)
    for member in (two, three):
        await member.attend()  # they have seen nothing yet
    for member in (two, three, one, two, three, one, two, three):
        member.relay.heard()
        await member.relay.next() if not member.relay.group.joined else None
        await member.attend()
    assert sorted([one.lanes, two.lanes, three.lanes]) == [5, 5, 6]
    await settle(one, two, three)
    assert first_deliveries(log) == writer.committed
    assert len(log) == len(writer.ids)

    await two.relay.leave()
    two.dies()
    await settle(one, three)
    assert sorted([one.lanes, three.lanes]) == [8, 8]
    await writer.write_each(KEYS, 2)
    await settle(one, three)
    assert first_deliveries(log) == writer.committed
    assert len(log) == len(writer.ids)
    assert min(owners(log).values()) > 0


async def test_what_a_dead_member_had_is_taken_after_its_lease_and_not_before(
    joins: Joins, writer: Writer, clock: ManualClock, log: list[Published], placement: Placement
) -> None:
    dead, heir = joins(), joins()
    await writer.write_each(KEYS)
    batch = await dead.batch()
    await dead.deliver(batch)
    dead.dies()

    for _ in range(4):
        await heir.settle()
        clock.advance(LEASE_MS // 4 - 61)
        assert owners(log)[heir.sink] == 0
    clock.advance(LEASE_MS)
    await heir.settle()

    assert heir.lanes == 16
    assert first_deliveries(log) == writer.committed
    assert len(log) - len(writer.ids) == len(batch.deliveries) <= CONFIG.in_flight_max
    assert await rows(placement, MESSAGES) == []


async def test_one_that_was_paused_between_reading_and_publishing_publishes_nothing(
    joins: Joins, writer: Writer, clock: ManualClock, log: list[Published]
) -> None:
    zombie, heir = joins(), joins()
    await writer.write_each(KEYS, 2)
    batch = await zombie.batch()
    clock.advance(LEASE_MS + 1)
    await settle(heir)
    assert len(log) == len(writer.ids)

    await zombie.deliver(batch)
    await zombie.flush()
    assert len(log) == len(writer.ids)

    await writer.write_each(KEYS, 2)
    await settle(zombie, heir)
    assert first_deliveries(log) == writer.committed
    assert len(log) == len(writer.ids)
    assert {zombie.lanes, heir.lanes} == {8}


async def test_one_that_was_paused_between_publishing_and_storing_changes_nothing(
    joins: Joins, writer: Writer, clock: ManualClock, log: list[Published], placement: Placement
) -> None:
    zombie, heir = joins(), joins()
    assert isinstance(zombie.sink, ScriptedSink)
    await writer.write_each(KEYS, 2)
    zombie.sink.refusals = {key: Refused("no", permanent=number % 2 == 0) for number, key in enumerate(KEYS)}
    batch = await zombie.batch()
    await zombie.deliver(batch)
    clock.advance(LEASE_MS + 1)
    await settle(heir, rounds=1)
    before = [await rows(placement, prefix) for prefix in (MESSAGES, PARKED, "z/", "g/")]

    await zombie.flush()

    assert [await rows(placement, prefix) for prefix in (MESSAGES, PARKED, "z/", "g/")] == before
    assert zombie.lanes == 0 or zombie.relay.figures().in_flight == 0
    zombie.sink.refusals = {}
    await settle(heir, zombie)
    assert first_deliveries(log) == writer.committed
    assert await rows(placement, MESSAGES) == await rows(placement, PARKED) == await rows(placement, "z/") == []


async def test_who_takes_over_knows_the_attempts_and_waits_as_long(
    joins: Joins, writer: Writer, clock: ManualClock, log: list[Published], placement: Placement
) -> None:
    one, two = joins(), joins()
    for member in (one, two):
        assert isinstance(member.sink, ScriptedSink)
        member.sink.refusals["poison"] = Refused("no")
    [poison, *_] = await writer.write("poison", 2)
    await one.settle()
    clock.advance(500)
    await one.settle()
    assert [published.attempt for published in log] == [1, 2]
    await one.relay.leave()
    one.dies()

    await two.settle()
    assert len(log) == 2, "it is held up for whoever has its lane"
    clock.advance(2_000)
    await two.settle()

    # The first was given up on at its third attempt, and the next one has its own.
    assert [published.attempt for published in log] == [1, 2, 3, 1]
    assert [letter.message.id for letter in (await letters(placement).list(NS)).letters] == [poison]


async def test_a_member_whose_commit_was_not_answered_finds_out_what_it_has(
    placement: Placement, joins: Joins, writer: Writer, log: list[Published]
) -> None:
    member = joins()
    meddling = Meddling(member.placement)
    await writer.write_each(KEYS)
    assert await member.relay.next() is None
    meddling.fail(OutcomeUnknown("who knows"), after=True)
    with pytest.raises(OutcomeUnknown):
        await member.attend()
    meddling.errors = []
    await member.attend()
    for lane in list(member.relay.group.holds.values())[:8]:
        member.relay.group.lose(lane)

    await settle(member)

    assert member.lanes == 16
    assert first_deliveries(log) == writer.committed
    assert await rows(placement, MESSAGES) == []


async def test_an_authority_that_is_away_for_longer_than_the_lease_costs_nothing_but_time(
    joins: Joins, writer: Writer, clock: ManualClock, log: list[Published]
) -> None:
    member = joins()
    meddling = Meddling(member.placement)
    await writer.write_each(KEYS)
    await settle(member)
    clock.advance(LEASE_MS + 1)
    meddling.fail(StoreUnavailable("away"), times=3)
    await writer.write_each(KEYS)
    for _ in range(3):
        member.relay.heard()
        assert await member.relay.next() is None, "its lease is over"
        with pytest.raises(StoreUnavailable):
            await member.attend()

    await settle(member)

    assert first_deliveries(log) == writer.committed
    assert len(log) == len(writer.ids)


async def test_a_member_whose_clock_was_wrong_is_dead(
    joins: Joins, writer: Writer, clock: ManualClock, log: list[Published]
) -> None:
    wrong, right = joins(), joins()
    await writer.write_each(KEYS)
    await wrong.batch()
    wrong.dies()
    clock.set_back(10 * LEASE_MS)

    await settle(right)

    assert right.lanes == 16
    assert first_deliveries(log) == writer.committed


async def test_a_lane_is_given_back_when_what_is_under_way_of_it_is_stored(
    placement: Placement, joins: Joins, writer: Writer, log: list[Published]
) -> None:
    one = Member(placement, ScriptedSink(log=log), config=changed(in_flight_max=64))
    two = joins()
    await writer.write_each(KEYS)
    await one.deliver(await one.batch())
    assert all(hold.busy for hold in one.relay.group.holds.values())
    two.relay.heard()
    await two.relay.next()
    await two.attend()
    await one.attend()
    assert one.lanes == 16

    await one.flush()
    await settle(one, two)

    assert {one.lanes, two.lanes} == {8}
    assert first_deliveries(log) == writer.committed
    assert len(log) == len(writer.ids)


async def test_consumers_of_topics_get_theirs_beside_each_other_in_order(
    placement: Placement, writer: Writer, clock: ManualClock
) -> None:
    sinks = {topic: ScriptedSink() for topic in ("a", "b")}
    consumers = [
        Member(sharing(placement), None, sinks={NS: sink}, group=f"{NS}\x1f{topic}", topics=frozenset({topic}))
        for topic, sink in sinks.items()
    ]
    sinks["a"].refusals["key 7"] = Refused("no")
    ids: dict[str, list[str]] = {"a": [], "b": []}
    for number in range(200):
        topic = "ab"[number % 2] if number > 130 else "b"
        ids[topic] += await writer.write("key 0", topic=topic)
        await writer.write(f"key {number % 11}", topic="nobody's")
    held = await writer.write("key 7", topic="a")
    beside = await writer.write("key 7", topic="b")

    await settle(*consumers)

    assert [one for one in sinks["a"].taken if one in ids["a"]] == ids["a"]
    assert [one for one in sinks["b"].taken if one in ids["b"]] == ids["b"]
    assert beside[0] in sinks["b"].taken
    assert len(await rows(placement, MESSAGES)) == 200 + 1
    sinks["a"].refusals.clear()
    clock.advance(1_000)
    await settle(*consumers)
    assert held[0] in sinks["a"].taken
    assert await rows(placement, PARKED) == []


async def test_what_was_put_back_is_not_forgotten_by_one_that_was_paused(
    joins: Joins, writer: Writer, clock: ManualClock, log: list[Published], placement: Placement
) -> None:
    zombie, heir = joins(), joins()
    assert isinstance(heir.sink, ScriptedSink)
    ids = await writer.write("key")
    await zombie.deliver(await zombie.batch())
    clock.advance(LEASE_MS + 1)
    heir.sink.refusals["key"] = Refused("no", permanent=True)
    await heir.settle()
    await heir.relay.leave()
    assert await letters(placement).redrive(NS, ids) == 1

    await zombie.flush()

    assert len(await rows(placement, MESSAGES)) == 1
    await settle(zombie)
    assert [one.message.id for one in log if one.receipt is None] == ids * 2
