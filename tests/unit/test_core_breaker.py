"""The breaker, the damper and the retry budget, on a clock that the test moves."""

from __future__ import annotations

import pytest

from sidecar.core.breaker import Breaker, BreakerPolicy, BreakerState, Damper, RetryBudget

SLOW_S = 1.0


def breaker(**policy: float) -> Breaker:
    return Breaker(BreakerPolicy(slow_s=SLOW_S, **policy), jitter=lambda: 1.0)  # type: ignore[arg-type]  # counts are whole here


def opened(now: float = 0.0) -> Breaker:
    subject = breaker()
    subject.trip(now)
    return subject


def test_failures_one_after_the_other_open_it() -> None:
    subject = breaker()
    for second in (1.0, 2.0):
        subject.failed(second, second + 0.1)
        assert subject.passes
    subject.failed(3.0, 3.1)

    assert subject.state is BreakerState.OPEN


def test_an_answer_in_between_keeps_it_closed() -> None:
    subject = breaker(calls_min=1_000)
    for second in range(10):
        subject.failed(second, second + 0.1)
        subject.failed(second + 0.2, second + 0.3)
        subject.answered(second + 0.5, second + 0.6)

    assert subject.passes


def test_calls_that_fail_together_are_one_failure() -> None:
    subject = breaker(calls_min=1_000)
    for _ in range(100):
        subject.failed(1.0, 1.5)

    assert subject.passes


def test_one_call_without_any_answer_in_its_time_opens_it() -> None:
    subject = breaker()
    subject.failed(1.0, 1.0 + SLOW_S)

    assert not subject.passes


def test_a_slow_failure_while_others_are_answered_does_not() -> None:
    subject = breaker()
    subject.answered(1.2, 1.3)
    subject.failed(1.0, 1.0 + 2 * SLOW_S)

    assert subject.passes


@pytest.mark.parametrize(("bad", "opens"), [(10, True), (9, False)])
def test_when_half_of_the_calls_of_the_window_fail_it_opens(bad: int, opens: bool) -> None:
    subject = breaker()
    for _ in range(20 - bad):
        subject.answered(1.0, 1.1)
    for _ in range(bad):
        subject.failed(1.0, 1.1)

    assert subject.passes is not opens


def test_slow_answers_count_as_failures() -> None:
    subject = breaker()
    for _ in range(20):
        subject.answered(1.0, 1.0 + SLOW_S)

    assert not subject.passes


def test_what_is_older_than_the_window_is_forgotten() -> None:
    subject = breaker()
    for _ in range(15):
        subject.failed(1.0, 1.1)
    subject.answered(1.2, 1.3)
    for _ in range(15):
        subject.failed(30.0, 30.1)

    assert subject.passes


def test_few_calls_say_nothing_about_a_ratio() -> None:
    subject = breaker()
    for _ in range(19):
        subject.failed(1.0, 1.1)

    assert subject.passes


def test_two_good_probes_close_it() -> None:
    subject = opened()
    assert not subject.probe_due(0.2)
    assert subject.probe_due(0.25)
    assert subject.state is BreakerState.HALF_OPEN
    subject.probed(good=True, now=0.3)
    assert not subject.passes
    assert subject.probe_due(0.6)
    subject.probed(good=True, now=0.6)

    assert subject.passes
    assert subject.closed_s == 0.6


def test_bad_probes_come_less_and_less_often_up_to_a_bound() -> None:
    subject = opened()
    now, pauses = 0.0, []
    for _ in range(6):
        began = now
        while not subject.probe_due(now):
            now += 0.05
        pauses.append(round(now - began, 1))
        subject.probed(good=False, now=now)

    assert pauses == pytest.approx([0.25, 0.5, 1.0, 2.0, 2.0, 2.0], abs=0.11)


def test_a_bad_probe_after_a_good_one_begins_anew() -> None:
    subject = opened()
    for good in (True, False, True):
        assert subject.probe_due(100.0)
        subject.probed(good=good, now=0.0)

    assert not subject.passes


def test_the_jitter_brings_probes_forward_by_up_to_half() -> None:
    subject = Breaker(BreakerPolicy(slow_s=SLOW_S), jitter=lambda: 0.0)
    subject.trip(0.0)

    assert subject.probe_due(0.125)


def test_a_straggler_that_is_answered_makes_it_look_at_once() -> None:
    subject = opened(now=10.0)
    subject.answered(9.0, 10.01)

    assert subject.probe_due(10.01)
    assert subject.state is BreakerState.HALF_OPEN


def test_what_failed_before_it_opened_is_not_held_against_it_afterwards() -> None:
    subject = breaker()
    for _ in range(15):
        subject.failed(1.0, 1.1)
    subject.trip(1.2)
    for now in (2.0, 3.0):
        assert subject.probe_due(now)
        subject.probed(good=True, now=now)
    for _ in range(10):
        subject.failed(3.1, 3.2)

    assert subject.passes


def test_bad_news_is_believed_at_once_and_good_news_after_a_while() -> None:
    damper = Damper(steady_s=1.0)
    assert damper.observe(up=True, now=0.0)
    assert not damper.observe(up=False, now=1.0)
    assert not damper.observe(up=True, now=2.0)
    assert not damper.observe(up=True, now=2.9)
    assert damper.observe(up=True, now=3.0)


def test_an_interruption_begins_the_while_anew() -> None:
    damper = Damper(steady_s=1.0)
    damper.observe(up=False, now=0.0)
    damper.observe(up=True, now=1.0)
    damper.observe(up=False, now=1.9)
    damper.observe(up=True, now=2.0)

    assert not damper.observe(up=True, now=2.5)
    assert damper.observe(up=True, now=3.0)


def test_whoever_comes_and_goes_every_six_seconds_changes_it_a_few_times_and_no_more() -> None:
    damper, changes, before = Damper(), 0, True
    for tick in range(6000):  # ten minutes of flaps, looked at ten times a second
        now = tick / 10
        steady = damper.observe(up=now % 6 < 3, now=now)
        changes += steady is not before
        before = steady

    assert 2 <= changes <= 4


def test_old_disappointments_are_forgotten() -> None:
    damper = Damper(steady_s=1.0, memory_s=60.0)
    for now in (0.0, 100.0, 200.0):
        damper.observe(up=False, now=now)
        damper.observe(up=True, now=now + 1.0)

        assert damper.observe(up=True, now=now + 2.0)


def test_each_disappointment_makes_the_while_longer_up_to_a_bound() -> None:
    damper, now, waits = Damper(steady_s=1.0, steady_s_max=20.0), 0.0, []
    for _ in range(4):
        damper.observe(up=False, now=now)
        began = now
        while not damper.observe(up=True, now=now):
            now += 0.5
        waits.append(now - began)

    assert waits == [1.0, 5.0, 20.0, 20.0]


def test_one_in_ten_may_be_a_retry() -> None:
    budget = RetryBudget(ratio=0.1, saved_max=10.0)
    retries = 0
    for _ in range(1_000):
        budget.called()
        retries += budget.take()

    assert 100 <= retries <= 110


def test_a_quiet_time_saves_no_more_than_the_bound() -> None:
    budget = RetryBudget(saved_max=5.0)
    for _ in range(1_000):
        budget.called()

    assert sum(budget.take() for _ in range(100)) == 5
