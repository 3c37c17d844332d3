"""Blocking calls: time that runs out before they begin, while they run, and time that is added."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from threading import Event

import pytest

from sidecar.core.errors import OutcomeUnknown, StoreUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.stores.s3.pool import BYTES_PER_S_MIN, Budget, Pool
from tests.support.clock import ManualClock


def late() -> OutcomeUnknown:
    return OutcomeUnknown("late")


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(1)
    yield pool
    await asyncio.to_thread(pool.close)


def budget(seconds: float = 20) -> Budget:
    return Budget(SystemClock(), seconds)


async def test_what_began_and_takes_too_long_is_late(pool: Pool) -> None:
    released = Event()

    with pytest.raises(OutcomeUnknown, match="late"):
        await pool.run(released.wait, budget(0.05), late=late)

    released.set()
    assert await pool.run(lambda: "answer", budget(), late=late) == "answer"


async def test_what_never_began_is_unavailable_and_never_runs(pool: Pool) -> None:
    released, ran = Event(), Event()
    first = asyncio.ensure_future(pool.run(released.wait, budget(), late=late))
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match="no thread was free"):
        await pool.run(ran.set, budget(0.05), late=late)

    released.set()
    assert await first
    await pool.run(lambda: None, budget(), late=late)
    assert not ran.is_set()


async def test_what_a_cancelled_caller_left_in_the_queue_never_runs(pool: Pool) -> None:
    released, ran = Event(), Event()
    first = asyncio.ensure_future(pool.run(released.wait, budget(), late=late))
    second = asyncio.ensure_future(pool.run(ran.set, budget(), late=late))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second

    released.set()
    assert await first
    await pool.run(lambda: None, budget(), late=late)
    assert not ran.is_set()


async def test_time_that_is_added_while_it_runs_is_waited_for(pool: Pool) -> None:
    given, added = budget(0.05), Event()

    def work() -> str:
        given.extend(20 * BYTES_PER_S_MIN)
        added.wait(0.2)
        return "answer"

    assert await pool.run(work, given, late=late) == "answer"


@pytest.mark.parametrize("raised", [ValueError, StoreUnavailable])
async def test_what_is_raised_is_raised(pool: Pool, raised: Callable[[str], Exception]) -> None:
    def work() -> None:
        raise raised("by the work")

    with pytest.raises((ValueError, StoreUnavailable), match="by the work"):
        await pool.run(work, budget(), late=late)


def test_a_budget_runs_out_by_its_clock() -> None:
    clock = ManualClock()
    given = Budget(clock, 2)
    given.extend(3 * BYTES_PER_S_MIN)

    clock.advance(4_000)
    assert given.left() == 1
    clock.advance(1_000)
    assert given.left() == 0
