"""Dead letters are listed, put back and end by themselves; what waits is counted, and too much of it refuses writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.core.errors import DataLoss, LimitExceeded, OutcomeUnknown
from sidecar.core.ledger import MESSAGES
from sidecar.core.limits import Limits
from sidecar.core.operations import Put
from sidecar.core.policy import PolicyTable
from sidecar.core.sinks import Refused
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.outbox.census import Census, Waiting
from sidecar.engine.outbox.letters import letters_of
from sidecar.tiers.placement import Placement
from tests.support.clock import START_MS, ManualClock
from tests.unit.outbox_support import CONFIG, NS, Meddling, Member, ScriptedSink, Writer, letters, placed, rows


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def placement(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Placement]:
    async with placed(request.param, clock, tmp_path) as placement:
        yield placement


@pytest.fixture
def sink() -> ScriptedSink:
    return ScriptedSink()


@pytest.fixture
def member(placement: Placement, sink: ScriptedSink) -> Member:
    return Member(placement, sink)


@pytest.fixture
async def dead(placement: Placement, member: Member, sink: ScriptedSink, clock: ManualClock) -> list[str]:
    """The ids of seven dead letters, one a second."""
    writer = Writer(placement)
    sink.refusals["key"] = Refused("no", permanent=True)
    ids: list[str] = []
    for _ in range(7):
        ids += await writer.write("key", payload=b"what it was")
        await member.settle()
        clock.advance(1_000)
    sink.refusals.clear()
    sink.log.clear()
    return ids


async def test_they_are_listed_oldest_first_page_by_page(placement: Placement, dead: list[str]) -> None:
    listed: list[str] = []
    after = ""
    while True:
        page = await letters(placement).list(NS, after=after, limit=3)
        listed += [letter.message.id for letter in page.letters]
        after = page.after
        if not after:
            break

    assert listed == dead
    [first, *_] = (await letters(placement).list(NS)).letters
    assert (first.message.key, first.message.payload, first.message.topic) == ("key", b"what it was", "placed")
    assert (first.reason, first.attempts) == ("no", 1)
    assert START_MS < first.time < START_MS + 1_000
    assert (await letters(placement).list("another")).letters == []


async def test_what_is_put_back_goes_out_under_its_id_with_attempts_of_its_own(
    placement: Placement, dead: list[str], member: Member, sink: ScriptedSink
) -> None:
    chosen = [dead[4], dead[1]]

    assert await letters(placement).redrive(NS, [*chosen, "0" * 18]) == 2
    await member.settle()

    assert sorted(sink.taken) == sorted(chosen)
    assert {one.attempt for one in sink.log} == {1}
    left = (await letters(placement).list(NS)).letters
    assert [letter.message.id for letter in left] == [one for one in dead if one not in chosen]
    assert await letters(placement).redrive(NS, chosen) == 0


async def test_all_are_put_back_and_those_that_die_again_meanwhile_are_not_tried_for_ever(
    placement: Placement, dead: list[str], member: Member, sink: ScriptedSink
) -> None:
    assert await letters(placement).redrive(NS, None) == len(dead)
    await member.settle()

    assert sink.taken == dead
    assert (await letters(placement).list(NS)).letters == []


@pytest.mark.parametrize("landed", [True, False])
async def test_a_redrive_that_was_not_answered_may_be_repeated(
    placement: Placement, dead: list[str], member: Member, sink: ScriptedSink, landed: bool
) -> None:
    Meddling(placement).fail(OutcomeUnknown("who knows"), after=landed)

    with pytest.raises(OutcomeUnknown):
        await letters(placement).redrive(NS, None)
    assert await letters(placement).redrive(NS, None) == len(dead) - landed

    await member.settle()
    assert sorted(sink.taken) == sorted(dead)


async def test_they_end_by_themselves(placement: Placement, dead: list[str], clock: ManualClock) -> None:
    assert dead
    clock.advance(int(CONFIG.dead_letter_retention_s * 1000))

    assert (await letters(placement).list(NS)).letters == []


async def test_one_that_makes_no_sense_is_told_as_lost(placement: Placement) -> None:
    await placement.ledger.commit([Put(key=letters_of(NS) + "0" * 30, value=b"?")])

    with pytest.raises(DataLoss):
        await letters(placement).list(NS)


async def test_what_waits_is_counted_by_namespace(
    placement: Placement, dead: list[str], clock: ManualClock, sink: ScriptedSink
) -> None:
    del sink
    census = Census(placement.ledger, pending_max=10_000)
    oldest = clock.now()
    for namespace, count in (("a", 700), (NS, 3)):
        writer = Writer(placement, namespace)
        for number in range(count // 10 or 1):
            await writer.write(f"key {number}", min(count, 10))
        clock.advance(1_000)

    pages = 1
    while await census.round():
        pages += 1

    assert pages == 3
    assert census.of("a") == Waiting(messages=700, oldest=oldest)
    assert census.of(NS) == Waiting(messages=3, oldest=oldest + 1_000, dead_letters=len(dead))
    assert census.of("nobody") == Waiting()
    assert census.lag_ms() == 2_000


async def test_too_many_refuse_more_until_there_is_room(placement: Placement, member: Member) -> None:
    census = Census(placement.ledger, pending_max=1_000)
    namespaces = Namespaces(PolicyTable(), Limits(), hot=None, warm=placement)
    namespaces.crowded = census.full
    writers = [Writer(placement, name) for name in (NS, "other")]
    for writer in writers[:1] * 60 + writers[1:]:
        await writer.write("key", 32)

    assert await census.round()
    assert await census.round()
    with pytest.raises(LimitExceeded) as raised:
        namespaces.of(NS).check_outbox()
    assert (raised.value.reason, raised.value.metadata) == ("OUTBOX_FULL", {"namespace": NS})
    namespaces.of("other").check_outbox()
    pages = 2
    while await census.round():
        pages += 1
    assert pages <= 4, "how much more than enough there is need not be known"
    assert census.of("other").messages == 32

    await member.settle()
    assert await rows(placement, MESSAGES) == []
    while await census.round():
        pass
    namespaces.of(NS).check_outbox()
