"""One relay: everything goes out, in order per key, and is forgotten; what is refused holds up its own key only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from sidecar.core.errors import OutcomeUnknown, StoreUnavailable
from sidecar.core.ledger import LEDGER, MESSAGES, PARKED
from sidecar.core.operations import Put
from sidecar.core.outbox import message_id, message_key, order_of
from sidecar.core.sinks import Refused
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.unit.outbox_support import (
    CONFIG,
    NS,
    Meddling,
    Member,
    ScriptedSink,
    Writer,
    changed,
    first_deliveries,
    key_of_lane,
    letters,
    placed,
    rows,
)


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
def sink() -> ScriptedSink:
    return ScriptedSink()


@pytest.fixture
def member(placement: Placement, sink: ScriptedSink) -> Member:
    return Member(placement, sink)


async def test_every_message_goes_out_once_in_order_and_leaves_no_row(
    member: Member, writer: Writer, sink: ScriptedSink, placement: Placement
) -> None:
    keys = [f"key {number}" for number in range(40)]
    await writer.write_each(keys, 4)
    await writer.write("many", 32)

    await member.settle()

    assert first_deliveries(sink.log) == writer.committed
    assert len(sink.taken) == len(writer.ids)
    assert await rows(placement, MESSAGES) == []
    assert {one.attempt for one in sink.log} == {1}


async def test_a_key_with_more_messages_than_a_page_goes_out_in_order(
    member: Member, writer: Writer, sink: ScriptedSink
) -> None:
    for _ in range(8):
        await writer.write("deep", 32)
        await writer.write("beside", 1)

    await member.settle()

    assert first_deliveries(sink.log) == writer.committed
    assert len(sink.taken) == len(writer.ids)


async def test_what_is_published_and_not_stored_bounds_what_goes_out(placement: Placement, writer: Writer) -> None:
    sink = ScriptedSink(batch_max=3)
    member = Member(placement, sink)
    await writer.write("first")
    await member.settle()
    await writer.write_each([f"key {number}" for number in range(30)])
    member.relay.heard()

    while (batch := await member.relay.next()) is not None:
        await member.deliver(batch)

    assert len(sink.taken) == 1 + CONFIG.in_flight_max
    await member.flush()
    await member.settle()
    assert set(sink.taken) == writer.ids
    assert len(sink.taken) == len(writer.ids)


async def test_a_key_in_flight_is_not_published_again(placement: Placement, writer: Writer) -> None:
    sink = ScriptedSink(batch_max=1)
    member = Member(placement, sink)
    await writer.write("key", 3)
    await member.deliver(await member.batch())
    await writer.write("key", 3)
    member.relay.heard()

    assert await member.relay.next() is None

    await member.flush()
    await member.settle()
    assert first_deliveries(sink.log) == writer.committed
    assert len(sink.taken) == 6


async def test_a_sink_that_is_away_rests_and_no_message_is_told_as_tried(
    member: Member, writer: Writer, sink: ScriptedSink, clock: ManualClock, placement: Placement
) -> None:
    await writer.write_each(["a", "b", "c"], 2)
    sink.away = True
    opened = []
    for _ in range(40):
        await member.settle()
        opened.append(sink.opened)
        clock.advance(1_000)

    assert opened[0] == 1
    assert 4 <= opened[-1] <= 10, "it rests longer and longer, at most half a minute"
    assert await rows(placement, PARKED) == []
    assert member.relay.figures().errors == ("the sink is away",)

    sink.away = False
    clock.advance(30_000)
    await member.settle()
    assert first_deliveries(sink.log) == writer.committed
    assert {one.attempt for one in sink.log} == {1}
    assert member.relay.figures().errors == ()


async def test_a_sink_that_was_away_gets_one_batch_before_it_gets_many(
    placement: Placement, writer: Writer, clock: ManualClock
) -> None:
    sink = ScriptedSink(batch_max=1)
    member = Member(placement, sink)
    await writer.write_each([f"key {number}" for number in range(6)])

    first = await member.batch()
    assert await member.relay.next() is None
    sink.away = True
    await member.deliver(first)
    assert await member.relay.next() is None
    clock.advance(1_000)
    await member.attend()
    again = await member.relay.next()
    assert again is not None
    assert await member.relay.next() is None
    sink.away = False
    await member.deliver(again)
    assert await member.relay.next() is not None
    assert await member.relay.next() is not None


async def test_what_is_refused_holds_up_its_key_and_no_other(
    member: Member, writer: Writer, sink: ScriptedSink, clock: ManualClock, placement: Placement
) -> None:
    lane = order_of("poison")[0]
    beside = [key_of_lane(lane, number=number) for number in range(5)]
    sink.refusals["poison"] = Refused("not today")
    await writer.write("poison")
    await writer.write_each(["poison", *beside], 3)

    await member.settle()

    assert sink.tried("poison") == [1]
    assert {one.message.key for one in sink.log if one.receipt is None} == set(beside)
    assert len(sink.taken) == 15
    assert len(await rows(placement, PARKED)) == 1

    clock.advance(1_000)
    await writer.write_each(beside)
    await member.settle()
    assert sink.tried("poison") == [1, 2]
    assert len(sink.taken) == 20

    sink.refusals.clear()
    clock.advance(2_000)
    await member.settle()
    assert first_deliveries(sink.log) == writer.committed
    assert sink.tried("poison")[:4] == [1, 2, 3, 1]
    assert await rows(placement, PARKED) == []


async def test_attempts_are_further_and_further_apart(
    placement: Placement, sink: ScriptedSink, writer: Writer, clock: ManualClock
) -> None:
    member = Member(placement, sink, config=changed(attempts_max=20))
    sink.refusals["poison"] = Refused("no")
    await writer.write("poison")
    tried: list[int] = []
    for second in range(240):
        await member.settle()
        tried += [second] * (len(sink.log) - len(tried))
        clock.advance(1_000)

    gaps = [after - before for before, after in pairwise(tried)]
    assert gaps[:3] == [1, 1, 2]
    assert gaps == sorted(gaps)
    assert 50 <= gaps[-1] <= 61, "never more than a minute"


async def test_after_so_many_attempts_it_is_a_dead_letter_and_the_key_goes_on(
    member: Member, writer: Writer, sink: ScriptedSink, clock: ManualClock, placement: Placement
) -> None:
    sink.refusals["poison"] = Refused("never", permanent=False)
    [poison, *_] = await writer.write("poison")
    after = await writer.write("poison", 2)
    for _ in range(CONFIG.attempts_max):
        await member.settle()
        clock.advance(10_000)
        if len(sink.log) == CONFIG.attempts_max:
            sink.refusals.clear()

    await member.settle()

    page = await letters(placement).list(NS)
    [letter] = page.letters
    assert (letter.message.id, letter.reason, letter.attempts) == (poison, "never", CONFIG.attempts_max)
    assert sink.tried("poison")[: CONFIG.attempts_max] == [1, 2, 3]
    sink.refusals.clear()
    clock.advance(60_000)
    await member.settle()
    assert sink.taken == after
    assert await rows(placement, MESSAGES) == await rows(placement, PARKED) == []


async def test_a_permanent_refusal_is_a_dead_letter_at_once_and_the_rest_of_the_batch_goes_on(
    member: Member, sink: ScriptedSink, writer: Writer, placement: Placement
) -> None:
    poison = await writer.write("poison", 3)
    sink.refusals["poison"] = Refused("malformed", permanent=True)

    await member.settle()

    assert [letter.message.id for letter in (await letters(placement).list(NS)).letters] == poison
    assert sink.tried("poison") == [1, 1, 1]
    assert await rows(placement, MESSAGES) == []
    assert member.relay.figures().buried == 3


@pytest.mark.parametrize("landed", [True, False])
async def test_a_commit_of_unknown_outcome_is_tried_again_and_nothing_goes_out_twice(
    member: Member, writer: Writer, sink: ScriptedSink, placement: Placement, landed: bool
) -> None:
    meddling = Meddling(placement)
    await writer.write_each(["a", "b"], 2)
    batch = await member.batch()
    await member.deliver(batch)
    meddling.fail(OutcomeUnknown("who knows"), after=landed)
    meddling.fail(StoreUnavailable("away"))

    for _ in range(2):
        with pytest.raises((OutcomeUnknown, StoreUnavailable)):
            await member.relay.marker.flush()
        assert await member.relay.next() is None

    await member.flush()
    await member.settle()
    assert len(sink.taken) == 4
    assert await rows(placement, MESSAGES) == []


async def test_a_row_that_makes_no_sense_holds_up_its_key_and_is_looked_at_seldom(
    member: Member, writer: Writer, sink: ScriptedSink, clock: ManualClock, placement: Placement
) -> None:
    good = await writer.write("key")
    row = message_key(NS, order_of("key"), f"{'f' * 18}")
    await placement.ledger.commit([Put(key=row, value=b"not a message")])
    await writer.write("other")

    for _ in range(30):
        await member.settle()
        clock.advance(1_000)

    assert set(sink.taken) == writer.ids
    assert good[0] in sink.taken
    assert member.relay.figures().broken == 1
    assert await rows(placement, MESSAGES) == [row]
    clock.advance(60_000)
    await member.settle()
    assert member.relay.figures().broken == 2


async def test_namespaces_have_sinks_of_their_own_and_those_without_wait(placement: Placement) -> None:
    ours, theirs = ScriptedSink(), ScriptedSink()
    member = Member(placement, None, sinks={"ours": ours, "theirs": theirs})
    writers = {name: Writer(placement, name) for name in ("ours", "theirs", "nobody's", "aaa")}
    for writer in writers.values():
        await writer.write_each([f"key {number}" for number in range(20)], 2)

    await member.settle()

    assert first_deliveries(ours.log) == writers["ours"].committed
    assert first_deliveries(theirs.log) == writers["theirs"].committed
    assert len(await rows(placement, MESSAGES)) == 80


async def test_a_sink_that_is_away_does_not_keep_another_from_its_messages(placement: Placement) -> None:
    ours, theirs = ScriptedSink(), ScriptedSink()
    member = Member(placement, None, sinks={"a": ours, "b": theirs})
    ours.away = True
    writers = [Writer(placement, name) for name in ("a", "b")]
    for writer in writers:
        await writer.write_each([f"key {number}" for number in range(150)])

    await member.settle()

    assert first_deliveries(theirs.log) == writers[1].committed
    assert ours.opened == 1


async def test_many_namespaces_go_out(member: Member, sink: ScriptedSink, placement: Placement) -> None:
    writers = [Writer(placement, f"namespace {number}") for number in range(120)]
    for writer in writers:
        await writer.write("key", 2)

    await member.settle()

    assert set(sink.taken) == {name for writer in writers for name in writer.ids}
    assert len(sink.taken) == 240


async def test_it_leaves_when_there_has_been_nothing_for_a_while(
    member: Member, writer: Writer, clock: ManualClock, placement: Placement
) -> None:
    await member.settle()
    assert await rows(placement, "g/") == []
    await writer.write("key")
    await member.settle()
    assert len(await rows(placement, "g/")) == 17

    for _ in range(20):
        clock.advance(1_000)
        await member.settle()

    assert await rows(placement, "g/") == []
    await writer.write("key")
    await member.settle()
    assert await rows(placement, MESSAGES) == []


async def test_a_drain_ends_when_what_was_there_has_gone_out_as_far_as_it_can(
    member: Member, writer: Writer, sink: ScriptedSink, placement: Placement
) -> None:
    sink.refusals["poison"] = Refused("no")
    await writer.write_each(["poison", *(f"key {number}" for number in range(30))], 3)
    member.relay.drain()
    assert not member.relay.quiet

    await member.settle()

    assert member.relay.quiet
    assert len(sink.taken) == 90
    await member.relay.leave()
    assert await rows(placement, "g/") == []


async def test_writes_without_messages_are_read_after_ever_more_seldom(
    member: Member, placement: Placement, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = 0
    scan = placement.ledger.scan

    async def counted(*arguments: object, **options: object) -> object:
        nonlocal scans
        scans += 1
        return await scan(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(placement.ledger, "scan", counted)
    for _ in range(1_000):
        clock.advance(1)
        member.relay.heard()
        assert await member.relay.next() is None

    assert 20 <= scans <= 60
    assert await placement.authority.get(LEDGER, ["x"]) == [None]


async def test_what_was_committed_late_with_an_early_version_goes_out(
    member: Member, writer: Writer, sink: ScriptedSink, placement: Placement
) -> None:
    await writer.write_each(["a", "b", "c"], 2)
    await member.settle()
    late = replace(sink.log[0].message, id=message_id(1, 0), version=1, key="late", order=order_of("late"))

    await placement.ledger.commit([Put(key=late.row, value=late.encode())])
    await member.settle()

    assert sink.taken[-1] == late.id


async def test_a_message_is_kept_until_the_sink_has_confirmed_it(
    member: Member, writer: Writer, sink: ScriptedSink, placement: Placement
) -> None:
    await writer.write_each(["a", "b"])
    batch = await member.batch()
    sink.go_on = asyncio.Event()
    publishing = asyncio.create_task(member.deliver(batch))
    await sink.until(lambda: bool(sink.log))

    await member.flush()

    assert len(await rows(placement, MESSAGES)) == 2
    sink.go_on.set()
    await publishing
    await member.flush()
    assert await rows(placement, MESSAGES) == []
