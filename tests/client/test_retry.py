"""The decisions about retries, without a clock or a wire."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statesidecar import DeadlineExceeded, RetryPolicy, StateSidecarError, Unavailable, WriteOutcomeUnknown
from statesidecar._effects import Attempt, Pause, Plan
from statesidecar._retry import (
    RetryBudget,
    attempt_timeout_s,
    backoff_s,
    outcome_open,
    outcome_unknown,
    pause_before_retry_s,
    repeatable,
)
from statesidecar._states import States
from statesidecar._status import ERROR_CLASSES, error_of
from statesidecar.v1 import state_service_pb2 as pb

Code = grpc.StatusCode
POLICY = RetryPolicy(attempts_max=4, backoff_initial_s=0.1, backoff_max_s=0.5)

codes = st.sampled_from([code for code in Code if code is not Code.OK])
reasons = st.sampled_from(["", "INTERNAL", *{reason for _, reason in ERROR_CLASSES}, "PASSTHROUGH", "EPOCH_CHANGED"])


def failure(code: grpc.StatusCode, reason: str = "", message: str = "") -> StateSidecarError:
    error = error_of(code, message, ())
    error.reason = reason
    return error


FAILED = failure(Code.UNAVAILABLE)


def unavailable(retry_after_s: float | None) -> Unavailable:
    return Unavailable("AUTHORITY_UNAVAILABLE", code=Code.UNAVAILABLE, retry_after_s=retry_after_s)


def test_pauses_grow_to_their_ceiling_and_are_drawn_from_zero() -> None:
    ceilings = [backoff_s(attempt, POLICY, lambda: 1.0) for attempt in (1, 2, 3, 4, 5000)]

    assert ceilings == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert backoff_s(3, POLICY, lambda: 0.0) == 0.0


def test_a_pause_is_at_least_what_the_daemon_asked_for() -> None:
    pause_s = pause_before_retry_s(
        unavailable(2.0), attempt=1, remaining_s=5.0, idempotent=True, policy=POLICY, random=lambda: 0.0
    )

    assert pause_s == 2.0


@given(codes, reasons, st.integers(1, 6), st.floats(0, 10), st.booleans(), st.floats(0, 1))
def test_no_retry_goes_past_the_deadline_or_the_last_attempt(
    code: grpc.StatusCode, reason: str, attempt: int, remaining_s: float, idempotent: bool, draw: float
) -> None:
    pause_s = pause_before_retry_s(
        failure(code, reason),
        attempt=attempt,
        remaining_s=remaining_s,
        idempotent=idempotent,
        policy=POLICY,
        random=lambda: draw,
    )

    assert pause_s is None or (attempt < POLICY.attempts_max and 0 <= pause_s < remaining_s)


@given(codes, reasons)
def test_what_may_have_landed_is_repeated_only_with_a_request_id(code: grpc.StatusCode, reason: str) -> None:
    error = failure(code, reason)

    assert not (outcome_open(error) and repeatable(error, idempotent=False))


@given(codes, reasons, st.booleans())
def test_an_open_outcome_is_never_told_as_anything_else(code: grpc.StatusCode, reason: str, before: bool) -> None:
    error = failure(code, reason)

    if outcome_open(error):
        assert outcome_unknown(error, open_before=before)
    if before and not outcome_unknown(error, open_before=before):
        assert code in {Code.ABORTED, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.NOT_FOUND}


def test_another_epoch_does_not_tell_what_the_earlier_attempt_did() -> None:
    error = failure(Code.FAILED_PRECONDITION, "EPOCH_CHANGED")

    assert outcome_unknown(error, open_before=True)
    assert not outcome_unknown(error, open_before=False)


def test_a_write_with_a_request_id_keeps_half_of_its_time_for_the_repetition() -> None:
    assert attempt_timeout_s(5.0, attempt=1, splits=True, policy=POLICY) == 2.5
    assert attempt_timeout_s(5.0, attempt=4, splits=True, policy=POLICY) == 5.0, "the last has no successor"
    assert attempt_timeout_s(0.1, attempt=1, splits=True, policy=POLICY) == 0.1, "too short to share"
    assert attempt_timeout_s(5.0, attempt=1, splits=False, policy=POLICY) == 5.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts_max": 0},
        {"backoff_initial_s": -1.0},
        {"backoff_initial_s": 2.0, "backoff_max_s": 1.0},
        {"calls_per_retry": -1},
        {"retries_saved_max": -1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="are needed"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_a_budget_begins_full_and_a_retry_is_earned_by_ten_calls() -> None:
    budget = RetryBudget(RetryPolicy())

    assert [budget.spend(FAILED) for _ in range(11)] == [True] * 10 + [False]
    for _ in range(9):
        budget.earn()
    assert not budget.allows()
    budget.earn()
    assert budget.allows()
    assert [budget.spend(FAILED), budget.spend(FAILED)] == [True, False]


def test_no_more_than_ten_retries_are_saved_up() -> None:
    budget = RetryBudget(RetryPolicy())
    for _ in range(1000):
        budget.earn()

    assert sum(budget.spend(FAILED) for _ in range(100)) == 10


@given(st.lists(st.booleans(), max_size=300))
def test_retries_are_at_most_a_tenth_of_the_calls_and_what_was_saved(calls: list[bool]) -> None:
    budget = RetryBudget(RetryPolicy(calls_per_retry=10, retries_saved_max=3))
    retries = 0
    for number, wants_a_retry in enumerate(calls, 1):
        budget.earn()
        retries += wants_a_retry and budget.spend(FAILED)
        assert retries <= 3 + number / 10


def test_threads_spend_a_budget_once() -> None:
    budget = RetryBudget(RetryPolicy(calls_per_retry=1, retries_saved_max=1000))
    spent: list[bool] = []

    def spend() -> None:
        spent.extend(budget.spend(FAILED) for _ in range(500))

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(spent) == 1000


def test_a_retry_that_costs_nothing_is_always_there() -> None:
    budget = RetryBudget(RetryPolicy(calls_per_retry=0))

    assert all(budget.spend(FAILED) for _ in range(100))


def test_an_attempt_that_found_no_daemon_costs_nothing() -> None:
    budget = RetryBudget(RetryPolicy(retries_saved_max=1))
    refused = failure(Code.UNAVAILABLE, message="failed to connect to all addresses; last error: refused")

    assert all(budget.spend(refused) for _ in range(50))
    assert budget.spend(FAILED)
    assert not budget.spend(FAILED)
    assert budget.spend(refused)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def play(plan: Plan[Any], clock: Clock, error: StateSidecarError) -> list[float]:
    """Lets every attempt take all its time and fail; the attempts' times, when the plan gave up."""
    taken: list[float] = []
    effect = next(plan)
    while True:
        try:
            if isinstance(effect, Attempt):
                taken.append(effect.timeout_s)
                clock.now += effect.timeout_s
                effect = plan.throw(error)
            else:
                assert isinstance(effect, Pause)
                clock.now += effect.seconds
                effect = plan.send(None)
        except WriteOutcomeUnknown:
            return taken


def test_all_attempts_and_pauses_together_stay_within_the_timeout() -> None:
    clock = Clock()
    calls = States(4.0, RetryPolicy(attempts_max=1000), clock=clock, random=lambda: 1.0)

    taken = play(calls.set("session", "alice", b"v", request_id="id"), clock, failure(Code.DEADLINE_EXCEEDED))

    assert clock.now <= 4.0
    assert taken[0] == 2.0
    assert len(taken) > 2


def test_without_a_retry_left_the_only_attempt_has_all_the_time() -> None:
    clock = Clock()
    calls = States(4.0, RetryPolicy(retries_saved_max=0), clock=clock, random=lambda: 0.0)

    taken = play(calls.set("session", "alice", b"v", request_id="id"), clock, failure(Code.DEADLINE_EXCEEDED))

    assert taken == [4.0]


def test_the_calls_of_a_client_share_its_retries() -> None:
    calls = States(5.0, RetryPolicy(calls_per_retry=10, retries_saved_max=2), clock=Clock(), random=lambda: 0.0)
    attempts = [attempts_of(calls.get("session", "alice")) for _ in range(12)]

    assert attempts == [3, *[1] * 8, 1, 2, 1], "two were saved up; the eleventh call since then is the tenth to earn"


def attempts_of(plan: Plan[Any]) -> int:
    """How often a call is sent that never succeeds."""
    attempts, effect = 0, next(plan)
    while True:
        try:
            if isinstance(effect, Attempt):
                attempts += 1
                effect = plan.throw(failure(Code.UNAVAILABLE))
            else:
                effect = plan.send(None)
        except Unavailable:
            return attempts


def test_a_pause_that_overran_the_deadline_sends_nothing() -> None:
    clock = Clock()
    calls = States(1.0, POLICY, clock=clock, random=lambda: 0.5)
    plan = calls.get("session", "alice")
    assert isinstance(next(plan), Attempt)
    assert isinstance(plan.throw(failure(Code.UNAVAILABLE)), Pause)
    clock.now = 2.0

    with pytest.raises(DeadlineExceeded):
        plan.send(None)


def test_the_request_of_every_attempt_is_the_same() -> None:
    calls = States(5.0, POLICY, clock=Clock(), random=lambda: 0.0)
    plan = calls.cas("session", "alice", b"v", expected_version=3)
    first = next(plan)
    plan.throw(failure(Code.UNAVAILABLE))
    second = plan.send(None)

    assert isinstance(first, Attempt)
    assert isinstance(second, Attempt)
    assert first.request == second.request
    assert isinstance(first.request, pb.CASRequest)
