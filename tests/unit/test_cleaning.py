"""Jobs that several daemons could do: one does them, and whoever lost one changes nothing any more."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.errors import ColdUnavailable
from sidecar.core.operations import Put
from sidecar.engine.cleaning.owners import LEASE_MS, Owner, look, owner_key
from sidecar.engine.cleaning.worker import REST_S
from sidecar.stores.memory import MemoryStore
from tests.support.clock import START_MS, ManualClock
from tests.support.switched import SwitchedStore
from tests.unit.cleaning_support import JOB, Member, contents, done, litter, memory


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return memory(clock)


@pytest.fixture
def one(store: MemoryStore, clock: ManualClock) -> Member:
    return Member(store, clock)


@pytest.fixture
def other(store: MemoryStore, clock: ManualClock) -> Member:
    return Member(store, clock)


async def test_a_pass_does_everything_once_in_small_steps(one: Member) -> None:
    await litter(one.ledger, 10)

    assert await one.rounds() == 3

    assert await done(one.ledger) == [1] * 10
    assert one.job.steps == ["", "x/0002", "x/0005", "x/0008"]
    assert one.tally.counts["dust"] == 10
    [told] = one.tally.jobs
    assert (told.job, told.behind, told.pass_time) == (JOB, False, START_MS)


async def test_while_it_is_the_turn_of_one_the_other_does_nothing(one: Member, other: Member) -> None:
    await litter(one.ledger, 10)
    assert await one.worker.round()

    assert not await other.worker.round()
    assert other.job.steps == []
    assert await one.rounds() == 2
    assert await done(one.ledger) == [1] * 10


async def test_who_is_stopped_in_a_step_for_longer_than_its_lease_changes_nothing_any_more(
    one: Member, other: Member, clock: ManualClock
) -> None:
    await litter(one.ledger, 10)
    assert await one.worker.round()
    one.job.hold()
    stopped = asyncio.create_task(one.worker.round())
    one.job.reached.clear()
    await one.job.reached.wait()

    clock.advance(LEASE_MS)
    assert await other.rounds() == 2
    one.job.go_on.set()

    assert await stopped is False
    assert await done(one.ledger) == [1] * 10
    assert other.job.steps[0] == "x/0002", "the other goes on where the first was"
    assert one.tally.counts["dust"] + other.tally.counts["dust"] == 10


async def test_who_is_stopped_between_two_steps_finds_out_before_the_next(
    one: Member, other: Member, clock: ManualClock
) -> None:
    await litter(one.ledger, 12)
    assert await one.worker.round()
    clock.advance(LEASE_MS)
    assert await other.worker.round()

    assert not await one.worker.round()
    assert len(one.job.steps) == 1
    assert await other.rounds() == 1
    assert await done(one.ledger) == [1] * 12


async def test_two_who_take_over_at_the_same_instant_are_one(
    store: MemoryStore, one: Member, clock: ManualClock
) -> None:
    await litter(one.ledger, 10)
    switched = SwitchedStore(store)
    members = [Member(switched, clock), Member(switched, clock)]
    hold = switched.hold("commit")
    rounds = [asyncio.create_task(member.worker.round()) for member in members]
    while switched.calls["commit"] < 2:  # noqa: ASYNC110  # a count that has no signal
        await asyncio.sleep(0)
    hold.release()

    assert sorted([await one_round for one_round in rounds]) == [False, True]
    assert sorted(len(member.job.steps) for member in members) == [0, 1]


async def test_a_killed_one_is_followed_by_another_from_its_cursor(
    one: Member, other: Member, clock: ManualClock
) -> None:
    await litter(one.ledger, 10)
    assert await one.worker.round()
    assert await one.worker.round()

    clock.advance(LEASE_MS - 1)
    assert not await other.worker.round()
    clock.advance(1)
    await other.rounds()

    assert other.job.steps == ["x/0005", "x/0008"]
    assert await done(one.ledger) == [1] * 10


async def test_one_that_stops_in_good_order_is_followed_at_once(one: Member, other: Member) -> None:
    await litter(one.ledger, 10)
    assert await one.worker.round()
    await one.worker.release()
    await one.worker.release()

    await other.rounds()

    assert other.job.steps == ["x/0002", "x/0005", "x/0008"]


async def test_an_owner_that_goes_on_keeps_its_job_beyond_a_lease(
    one: Member, other: Member, clock: ManualClock
) -> None:
    await litter(one.ledger, 0, clean=30)
    await litter(one.ledger, 1)
    more = True
    while more:
        more = await one.worker.round()
        clock.advance(LEASE_MS // 2)
        assert not more or not await other.worker.round()

    assert len(one.job.steps) == 10
    assert other.job.steps == []


async def test_a_step_that_finds_nothing_costs_no_commit(store: MemoryStore, one: Member) -> None:
    await litter(one.ledger, 1, clean=30)
    await one.worker.round()
    version = (await look(one.ledger, JOB))._version

    assert await one.worker.round()

    assert (await look(one.ledger, JOB))._version == version


async def test_where_there_is_nothing_to_do_nothing_is_written(store: MemoryStore, one: Member) -> None:
    await litter(one.ledger, 0, clean=3)
    before = await contents(store)

    assert not await one.worker.round()

    assert await contents(store) == before
    assert one.job.steps == []
    assert [job.pass_time for job in one.tally.jobs] == [START_MS]


async def test_a_pass_begins_an_interval_after_the_last_whoever_did_that(
    store: MemoryStore, clock: ManualClock
) -> None:
    one, other = (Member(store, clock, interval_ms=60_000) for _ in range(2))
    await litter(one.ledger, 10)
    await one.rounds()

    clock.advance(59_999)
    assert await one.rounds() + await other.rounds() == 0
    clock.advance(1)
    await other.rounds()

    assert (len(one.job.steps), len(other.job.steps)) == (4, 4)


async def test_a_failure_is_told_again_until_the_job_has_rested_and_others_may_try(
    one: Member, other: Member, clock: ManualClock
) -> None:
    await litter(one.ledger, 10)
    await one.worker.round()
    one.job.error = ColdUnavailable("gone")
    for _ in range(3):
        with pytest.raises(ColdUnavailable, match="gone"):
            await one.worker.round()
    assert len(one.job.steps) == 2

    assert await other.worker.round()
    await other.worker.release()
    one.job.error = None
    clock.advance(int(REST_S * 1000))
    await one.rounds()

    assert await done(one.ledger) == [1] * 10


async def test_a_pass_that_can_do_nothing_of_what_there_is_rests(
    one: Member, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await litter(one.ledger, 3)
    step = one.job.step

    async def blocked(cursor: str, **options: object) -> object:
        found = await step(cursor, **options)  # type: ignore[arg-type]  # as it was called
        return found if options["dry_run"] else type(found)(cursor=found.cursor)

    monkeypatch.setattr(one.job, "step", blocked)
    assert not await one.worker.round()
    assert not await one.worker.round()
    assert len(one.job.steps) == 1

    clock.advance(int(REST_S * 1000))
    assert not await one.worker.round()
    assert len(one.job.steps) == 2


@pytest.mark.parametrize("stored", [b"", b"[]", b'{"unknown": 1}', b"\xff"])
async def test_a_row_that_can_not_be_read_is_nobodys(one: Member, stored: bytes) -> None:
    await litter(one.ledger, 10)
    await one.ledger.commit([Put(key=owner_key(JOB), value=stored)])

    await one.rounds()

    assert await done(one.ledger) == [1] * 10


async def test_a_lease_of_a_clock_that_was_wrong_is_not_waited_for(one: Member, clock: ManualClock) -> None:
    await litter(one.ledger, 10)
    far = Owner(owner="other", until=START_MS + 10 * LEASE_MS, cursor="", pass_time=START_MS + 10 * LEASE_MS)
    await one.ledger.commit([Put(key=owner_key(JOB), value=far.encode())])

    await one.rounds()

    assert await done(one.ledger) == [1] * 10
