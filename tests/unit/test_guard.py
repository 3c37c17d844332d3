"""The guard before a tier: refusing at once, retries within a budget, a bound of calls, the ramp after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sidecar.core.cache import CacheUnavailable
from sidecar.core.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    LimitExceeded,
    OutcomeUnknown,
    StoreCorrupt,
    StoreUnavailable,
)
from sidecar.core.modes import Tier
from sidecar.tiers import guard as guards
from sidecar.tiers.guard import Guard
from tests.support.clock import ManualClock
from tests.support.ports import ManualPorts

SLOW_S = 1.0


class Backend:
    """Answers what it is told to, one after the other; the last for ever. Each takes `seconds` of the clock."""

    def __init__(self, clock: ManualClock, *answers: object, seconds: float = 0.0) -> None:
        self.calls = 0
        self._clock = clock
        self._answers = list(answers)
        self._seconds = seconds

    async def __call__(self) -> object:
        self.calls += 1
        self._clock.advance(int(self._seconds * 1000))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def ports() -> ManualPorts:
    return ManualPorts(ManualClock())


def guard(ports: ManualPorts, probe: Callable[[], Awaitable[object]] | None = None, *, slow_s: float = SLOW_S) -> Guard:
    return Guard(Tier.WARM, ports=ports, probe=probe or Backend(ports.clock, "there"), slow_s=slow_s)


AWAY = StoreUnavailable("switched off")


async def test_while_it_is_open_the_backend_is_not_asked(ports: ManualPorts) -> None:
    subject, backend = guard(ports), Backend(ports.clock, AWAY, seconds=SLOW_S)
    with pytest.raises(StoreUnavailable, match="switched off"):
        await subject.call("get", backend)
    with pytest.raises(StoreUnavailable, match="not asked for now: switched off"):
        await subject.call("get", backend)

    assert backend.calls == 1
    assert subject.stats.rejected == 1


@pytest.mark.parametrize(
    "error",
    [AWAY, CacheUnavailable("gone"), OutcomeUnknown("lost"), DeadlineExceeded("late"), asyncio.CancelledError()],
)
async def test_what_was_not_answered_in_its_time_opens_it(ports: ManualPorts, error: BaseException) -> None:
    subject = guard(ports)
    with pytest.raises(type(error)):
        await subject.call("get", Backend(ports.clock, error, seconds=SLOW_S))

    assert not subject.passes


@pytest.mark.parametrize("error", [FailedPrecondition("no"), LimitExceeded("full"), StoreCorrupt("spoilt")])
async def test_an_answer_that_is_a_refusal_does_not(ports: ManualPorts, error: Exception) -> None:
    subject = guard(ports)
    for _ in range(50):
        with pytest.raises(type(error)):
            await subject.call("get", Backend(ports.clock, error))

    assert subject.passes


async def test_a_caller_that_goes_away_at_once_says_nothing_about_the_backend(ports: ManualPorts) -> None:
    subject = guard(ports)
    for _ in range(50):
        with pytest.raises(asyncio.CancelledError):
            await subject.call("get", Backend(ports.clock, asyncio.CancelledError(), seconds=0.001))

    assert subject.passes


async def test_a_quick_failure_is_tried_again_where_that_is_allowed(ports: ManualPorts) -> None:
    subject, backend = guard(ports), Backend(ports.clock, AWAY, AWAY, "answer")
    assert await subject.call("get", backend, again=True) == "answer"

    once = Backend(ports.clock, AWAY, "answer")
    with pytest.raises(StoreUnavailable):
        await subject.call("get", once)
    assert (backend.calls, once.calls, subject.stats.retries) == (3, 1, 2)


async def test_what_took_its_time_is_not_tried_again(ports: ManualPorts) -> None:
    subject, backend = guard(ports), Backend(ports.clock, AWAY, "answer", seconds=0.5)
    with pytest.raises(StoreUnavailable):
        await subject.call("get", backend, again=True)

    assert backend.calls == 1


async def test_nothing_is_tried_again_when_the_deadline_is_near(ports: ManualPorts) -> None:
    subject, backend = guard(ports), Backend(ports.clock, AWAY, "answer")
    with pytest.raises(StoreUnavailable):
        await subject.call("get", backend, again=True, deadline=ports.clock.monotonic() + 0.01)

    assert backend.calls == 1


async def test_retries_are_a_tenth_of_the_calls(ports: ManualPorts) -> None:
    subject = guard(ports)
    failed = 0
    for _ in range(1_000):
        for _ in range(3):
            await subject.call("get", Backend(ports.clock, "answer"))
        try:
            await subject.call("get", Backend(ports.clock, AWAY, "answer"), again=True)
        except StoreUnavailable:
            failed += 1

    assert 400 <= subject.stats.retries <= 410
    assert failed == 1_000 - subject.stats.retries


async def test_a_retry_that_wrote_nothing_leaves_the_first_attempt_unknown(ports: ManualPorts) -> None:
    for second in (AWAY, LimitExceeded("full"), DeadlineExceeded("late")):
        with pytest.raises(OutcomeUnknown, match="lost"):
            await guard(ports).call("get", Backend(ports.clock, OutcomeUnknown("lost"), second), again=True)


async def test_it_heals_by_probes_and_not_by_callers(ports: ManualPorts) -> None:
    probe = Backend(ports.clock, AWAY, "there")
    subject = guard(ports, probe)
    subject.trip(StoreUnavailable("it was known"))
    for _ in range(100):
        ports.clock.advance(100)
        await subject.probe()
        if subject.passes:
            break

    assert probe.calls == 3
    assert (subject.stats.up, subject.stats.last_error) == (True, "")
    assert await subject.call("get", Backend(ports.clock, "answer")) == "answer"


async def test_calls_beyond_the_bound_wait_for_those_before_them(ports: ManualPorts) -> None:
    subject = guard(ports)
    subject.calls_max = 2
    gate, under_way, most = asyncio.Event(), 0, 0

    async def slow() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1

    tasks = [asyncio.create_task(subject.call("get", slow)) for _ in range(10)]
    await asyncio.sleep(0)
    tasks[5].cancel()
    gate.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)

    assert most == 2
    assert [type(one) for one in done if one is not None] == [asyncio.CancelledError]


async def test_who_waits_hears_at_once_when_it_opens(ports: ManualPorts) -> None:
    subject = guard(ports)
    subject.calls_max = 1
    gate = asyncio.Event()

    async def hangs() -> None:
        await gate.wait()

    first = asyncio.create_task(subject.call("get", hangs))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(subject.call("get", hangs))
    await asyncio.sleep(0)
    subject.trip(StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        await waiting
    gate.set()
    await first


async def test_the_line_is_bounded(ports: ManualPorts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "WAITING_MAX", 3)
    subject = guard(ports)
    subject.calls_max = 1
    gate = asyncio.Event()

    async def slow() -> None:
        await gate.wait()

    tasks = [asyncio.create_task(subject.call("get", slow)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(LimitExceeded):
        await tasks[4]
    gate.set()
    await asyncio.gather(*tasks[:4])


async def test_after_an_outage_it_is_let_through_slowly(ports: ManualPorts) -> None:
    subject = guard(ports, slow_s=100.0)
    subject.calls_max = 100
    subject.trip(StoreUnavailable("away"))
    while not subject.passes:
        ports.clock.advance(100)
        await subject.probe()
    gate, under_way = asyncio.Event(), 0

    async def slow() -> None:
        nonlocal under_way
        under_way += 1
        await gate.wait()

    allowed = []
    tasks = []
    for _ in range(3):
        tasks += [asyncio.create_task(subject.call("get", slow)) for _ in range(100)]
        await asyncio.sleep(0)
        allowed.append(under_way)
        ports.clock.advance(15_000)
    gate.set()
    await asyncio.gather(*tasks)

    assert allowed[0] == 10
    assert 50 <= allowed[1] <= 60
    assert allowed[2] == 100
