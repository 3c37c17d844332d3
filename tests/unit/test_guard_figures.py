"""What the guard before a tier tells of it: durations by operation, spans of who is watched, seconds of its breaker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

import pytest

from sidecar.core.breaker import BreakerState
from sidecar.core.errors import DeadlineExceeded, FailedPrecondition, OutcomeUnknown, StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.tracing import TRACE
from tests.support.clock import ManualClock
from tests.support.ports import ManualPorts
from tests.unit.test_guard import AWAY, Backend, guard


class Span:
    """A span that remembers how it ended."""

    def __init__(self, tier: Tier, name: str) -> None:
        self.began = (tier, name)
        self.ends: list[BaseException | None] = []

    def end(self, error: BaseException | None = None) -> None:
        self.ends.append(error)


class Watched:
    """A trace that remembers its operations."""

    trace_id = span_id = traceparent = ""
    ended = False

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def operation(self, tier: Tier, name: str) -> Span:
        self.spans.append(Span(tier, name))
        return self.spans[-1]

    def end(self, code: str, error: BaseException | None, labels: Mapping[str, str]) -> None:
        raise AssertionError(code)


@pytest.fixture
def ports() -> ManualPorts:
    return ManualPorts(ManualClock())


@pytest.fixture
def watched() -> Iterator[Watched]:
    trace = Watched()
    token = TRACE.set(trace)
    yield trace
    TRACE.reset(token)


@pytest.mark.parametrize(
    ("answer", "answered"),
    [
        ("there", True),
        (FailedPrecondition("no", reason="X"), True),
        (AWAY, False),
        (OutcomeUnknown("lost"), False),
        (DeadlineExceeded("late"), False),
        (asyncio.CancelledError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_each_call_has_its_duration_by_its_name_and_whether_it_was_answered(
    ports: ManualPorts, answer: object, answered: bool
) -> None:
    subject = guard(ports)
    with contextlib.suppress(
        FailedPrecondition, StoreUnavailable, OutcomeUnknown, DeadlineExceeded, asyncio.CancelledError
    ):
        await subject.call("scan", Backend(ports.clock, answer, seconds=0.25))

    [(key, taken)] = subject.report().durations.items()
    assert key == ("scan", answered)
    assert (taken.count, taken.sum) == (1, 0.25)


async def test_what_is_refused_by_the_breaker_took_no_time_of_the_tier(ports: ManualPorts) -> None:
    subject = guard(ports)
    subject.trip(AWAY)
    with pytest.raises(StoreUnavailable):
        await subject.call("get", Backend(ports.clock, "there"))

    assert (subject.report().durations, subject.report().rejected) == ({}, 1)


async def test_who_is_watched_has_a_span_for_each_attempt(ports: ManualPorts, watched: Watched) -> None:
    subject = guard(ports)

    assert await subject.call("get", Backend(ports.clock, AWAY, "there"), again=True) == "there"

    assert [span.began for span in watched.spans] == [(Tier.WARM, "get")] * 2
    assert [span.ends for span in watched.spans] == [[AWAY], [None]]


async def test_who_goes_away_ends_its_span(ports: ManualPorts, watched: Watched) -> None:
    with pytest.raises(asyncio.CancelledError):
        await guard(ports).call("get", Backend(ports.clock, asyncio.CancelledError()))

    [[error]] = [span.ends for span in watched.spans]
    assert isinstance(error, asyncio.CancelledError)


async def test_the_seconds_of_each_state_of_the_breaker_add_up(ports: ManualPorts) -> None:
    subject = guard(ports, Backend(ports.clock, AWAY))
    for _ in range(10):
        ports.clock.advance(100)
        await subject.probe()
    subject.trip(AWAY)
    for _ in range(5):
        ports.clock.advance(100)
        await subject.probe()

    seconds = subject.report().breaker_seconds
    assert seconds[BreakerState.CLOSED] == pytest.approx(1.0)
    assert seconds[BreakerState.OPEN] + seconds[BreakerState.HALF_OPEN] == pytest.approx(0.5)


async def test_calls_under_way_and_those_that_wait_are_told(ports: ManualPorts) -> None:
    subject, end = guard(ports), asyncio.Event()
    subject.calls_max = 2
    tasks = [asyncio.create_task(subject.call("get", end.wait)) for _ in range(5)]
    await asyncio.sleep(0)

    assert (subject.report().in_flight, subject.report().waiting) == (2, 3)

    end.set()
    await asyncio.gather(*tasks)
    assert (subject.report().in_flight, subject.report().waiting) == (0, 0)
