"""The whole pass that an operator asks for, the stores' own sweeps, and how much of the time both may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from sidecar.core.errors import StoreUnavailable
from sidecar.core.operations import Put, Remove
from sidecar.core.store import Store, SweepOrder
from sidecar.engine.cleaning.cleaner import Cleaner
from sidecar.engine.cleaning.owners import LEASE_MS
from sidecar.engine.cleaning.progress import Progress, State
from sidecar.engine.cleaning.sweeper import DUTY, HASTE_EVERY_S, HASTE_MAX, PATIENCE_S, Sweeper
from sidecar.engine.cleaning.tally import Tally
from sidecar.runtime.tasks import Rounds
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, request, write
from tests.support.ports import ManualPorts
from tests.support.sqlite_files import closing
from tests.support.switched import SwitchedStore
from tests.unit.cleaning_support import JOB, Member, contents, done, litter, memory, placed

HOUR_MS = 3_600_000
ORDER = SweepOrder(limit=2, tombstone_retention_ms=HOUR_MS, request_retention_ms=HOUR_MS)


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


def sweeper(store: Store, clock: ManualClock, tally: Tally | None = None) -> Sweeper:
    return Sweeper(placed(store, clock), ORDER, ports=ManualPorts(clock), tally=tally or Tally())


async def told(progress: AsyncGenerator[Progress, None]) -> list[Progress]:
    return [one async for one in progress]


def states(progress: list[Progress]) -> list[State]:
    return [one.state for one in progress]


async def with_ends(store: Store, count: int, *, begin: int = 0) -> None:
    for number in range(begin, begin + count):
        await store.commit(write(Put(key=f"ends/{number}", value=b"", ttl_ms=1000), request=request(f"r{number}")))


# ---- a collection


async def test_a_collection_is_a_whole_pass_wherever_the_last_one_was(one: Member) -> None:
    await litter(one.ledger, 10)
    await one.worker.round()

    progress = await told(one.worker.collect(dry_run=False))

    assert states(progress) == [State.RUNNING] * 3 + [State.DONE]
    assert [dict(step.counts) for step in progress] == [{"dust": count} for count in (3, 6, 9, 10)]
    assert await done(one.ledger) == [2] * 3 + [1] * 7


async def test_a_dry_run_counts_everything_and_changes_nothing(store: MemoryStore, clock: ManualClock) -> None:
    member = Member(store, clock)
    await litter(member.ledger, 10, clean=5)
    await with_ends(store, 5)
    clock.advance(HOUR_MS)
    cleaner = Cleaner([member.worker, sweeper(store, clock, member.tally)], member.tally)
    before = await contents(store, NAMESPACE)

    progress = await told(cleaner.collect(dry_run=True))

    assert await contents(store, NAMESPACE) == before
    assert [(step.job, step.state) for step in progress[-2:]] == [(JOB, State.DONE), ("sweep", State.NOT_COUNTED)]
    assert dict(progress[-2].counts) == {"dust": 10}
    assert sum(member.tally.counts.values()) == 0
    assert member.tally.jobs == []
    assert member.job.steps == []


async def test_a_dry_run_asks_nobody_whose_turn_it_is(one: Member, other: Member) -> None:
    await litter(one.ledger, 10)
    await one.worker.round()

    progress = await told(other.worker.collect(dry_run=True))

    assert states(progress)[-1] is State.DONE
    assert await one.rounds() == 2


async def test_another_daemons_turn_is_waited_for_within_a_bound(one: Member, other: Member) -> None:
    await litter(one.ledger, 10)
    await one.worker.round()

    progress = []
    async for step in other.worker.collect(dry_run=False):
        progress.append(step)
        await one.worker._turn.renew("x/0002")  # type: ignore[union-attr]  # it is ours

    assert states(progress) == [State.WAITING] * (len(progress) - 1) + [State.BUSY]
    assert len(progress) < 100
    assert other.job.steps == []


async def test_a_dead_ones_turn_is_over_in_time(one: Member, other: Member) -> None:
    await litter(one.ledger, 10)
    await one.worker.round()

    progress = await told(other.worker.collect(dry_run=False))

    assert State.WAITING in states(progress)
    assert progress[-1].state is State.DONE
    assert await done(one.ledger) == [2] * 3 + [1] * 7


async def test_our_own_background_makes_room_when_its_step_is_done(one: Member) -> None:
    await litter(one.ledger, 10)
    one.job.hold()
    background = asyncio.create_task(one.worker.round())
    await one.job.reached.wait()
    async with aclosing(one.worker.collect(dry_run=False)) as collecting:
        assert (await anext(collecting)).state is State.WAITING
        one.job.go_on.set()
        assert await background
        progress = await told(collecting)
        assert progress[-1].state is State.DONE

    assert await done(one.ledger) == [2] * 3 + [1] * 7


async def test_while_a_collection_is_under_way_the_background_rests_and_another_waits(one: Member) -> None:
    await litter(one.ledger, 10)
    async with aclosing(one.worker.collect(dry_run=False)) as collecting:
        await anext(collecting)
        assert not await one.worker.round()
        async with aclosing(one.worker.collect(dry_run=False)) as second:
            assert (await anext(second)).state is State.WAITING
        await told(collecting)

    assert await done(one.ledger) == [1] * 10


async def test_one_that_is_given_up_leaves_the_job_to_anybody(one: Member, other: Member) -> None:
    await litter(one.ledger, 10)
    async with aclosing(one.worker.collect(dry_run=False)) as collecting:
        await anext(collecting)

    assert await other.rounds() == 2
    assert await done(one.ledger) == [1] * 10


async def test_a_turn_that_is_lost_in_the_middle_is_told_as_anothers(
    one: Member, other: Member, clock: ManualClock
) -> None:
    await litter(one.ledger, 10)
    async with aclosing(one.worker.collect(dry_run=False)) as collecting:
        await anext(collecting)
        clock.advance(LEASE_MS)
        assert await other.rounds() == 2

        assert states(await told(collecting)) == [State.BUSY]
    assert await done(one.ledger) == [1] * 10


async def test_a_job_that_fails_is_told_and_the_others_go_on(store: MemoryStore, clock: ManualClock) -> None:
    members = [Member(store, clock), Member(store, clock)]
    await litter(members[0].ledger, 3)
    members[0].job.error = StoreUnavailable("gone")
    members[0].job.name = "first"
    cleaner = Cleaner([member.worker for member in members], Tally())

    failed, finished = await told(cleaner.collect(dry_run=False))

    assert (failed.job, failed.state, str(failed.error)) == ("first", State.FAILED, "gone")
    assert (finished.job, finished.state, dict(finished.counts)) == (JOB, State.DONE, {"dust": 3})


# ---- sweeps


async def test_every_kind_that_a_sweep_cleans_is_counted(tmp_path: Path, clock: ManualClock) -> None:
    tally = Tally()
    async with closing(tmp_path / "state.db", clock) as store:
        await store.open()
        await with_ends(store, 5)
        for number in range(3):
            await store.commit(write(Put(key=f"deleted/{number}", value=b"")))
            await store.commit(write(Remove(key=f"deleted/{number}")))
        clock.advance(1000)
        first = await told(sweeper(store, clock, tally).collect(dry_run=False))
        assert {kind: count for kind, count in tally.counts.items() if count} == {"expired": 5}
        clock.advance(HOUR_MS + 1)
        last = await told(sweeper(store, clock, tally).collect(dry_run=False))

    assert dict(first[-1].counts) == {"expired": 5, "tombstones": 0, "request_ids": 0, "changes": 0}
    assert dict(last[-1].counts) == {"expired": 0, "tombstones": 8, "request_ids": 5, "changes": 5 + 2 * 3 + 5}
    assert states(last) == [State.RUNNING] * (len(last) - 1) + [State.DONE]
    assert {kind: count for kind, count in tally.counts.items() if count} == {
        "expired": 5,
        "tombstones": 8,
        "request_ids": 5,
        "changes": 16,
    }


async def test_a_sweep_hastens_only_when_it_has_been_behind_for_long(store: MemoryStore, clock: ManualClock) -> None:
    switched = SwitchedStore(store)
    cleaning = sweeper(switched, clock)
    seen = []
    for number in range(9):
        await with_ends(store, 40, begin=100 * number)
        clock.advance(1000)
        assert await cleaning.round(), "more is left"
        seen.append((len(switched.answers["sweep"][-1].expired), round(cleaning.duty / DUTY)))
        clock.advance(int(max(PATIENCE_S / 2, HASTE_EVERY_S) * 1000) - 1000)
    while await cleaning.round():
        pass

    assert [swept for swept, _ in seen] == [2, 2, 2, 8, 16, 16, 16, 16, 16]
    assert max(duty for _, duty in seen) == HASTE_MAX
    assert cleaning.duty == DUTY


async def test_a_store_that_is_away_is_told(store: MemoryStore, clock: ManualClock) -> None:
    switched = SwitchedStore(store)
    switched.away()

    [failed] = await told(sweeper(switched, clock).collect(dry_run=False))

    assert (failed.state, failed.error is switched.error) == (State.FAILED, True)


# ---- rounds


async def test_rounds_rest_as_their_duty_says_and_stop_at_once() -> None:
    loop = asyncio.get_running_loop()
    began: list[float] = []
    twice = asyncio.Event()

    async def work() -> bool:
        began.append(loop.time())
        while loop.time() < began[-1] + 0.002:  # noqa: ASYNC110  # time that it takes
            await asyncio.sleep(0)
        if len(began) == 2:
            twice.set()
        return True

    duties = iter([0.1, 1e-9])
    rounds = Rounds("work", work, interval_s=3600.0, duty=lambda: next(duties))
    rounds.start()
    await twice.wait()
    async with asyncio.timeout(5.0):
        await rounds.stop()

    assert began[1] - began[0] > 0.01
    assert len(began) == 2
