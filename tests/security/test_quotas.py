from __future__ import annotations

from contextlib import suppress

import pytest

from sidecar.core.errors import LimitExceeded
from sidecar.rpc.quotas import Quota
from tests.support.clock import ManualClock


def quota(clock: ManualClock, ops: float | None = None, size: float | None = None, watches: int | None = None) -> Quota:
    return Quota(ops_per_s=ops, bytes_per_s=size, watches=watches, monotonic=clock.monotonic)


def admitted(one: Quota, calls: int, request_bytes: int = 0) -> int:
    count = 0
    for _ in range(calls):
        with suppress(LimitExceeded):
            one.admit(request_bytes)
            count += 1
    return count


def test_ten_times_the_quota_gets_the_quota() -> None:
    clock = ManualClock()
    one = quota(clock, ops=100)
    assert admitted(one, 1000) == 100
    for _ in range(50):
        clock.advance(100)
        assert admitted(one, 100) == 10
    assert one.refused == 900 + 50 * 90


def test_the_time_that_a_refusal_says_is_enough_and_not_too_long() -> None:
    clock = ManualClock()
    one = quota(clock, ops=4)
    assert admitted(one, 4) == 4
    with pytest.raises(LimitExceeded) as refused:
        one.admit(0)
    assert refused.value.retry_after_s == 0.25
    assert (refused.value.reason, refused.value.metadata) == ("QUOTA_EXCEEDED", {"quota": "ops_per_s"})
    clock.advance(249)
    assert admitted(one, 1) == 0
    clock.advance(1)
    assert admitted(one, 2) == 1


def test_a_quiet_caller_saves_no_more_than_a_second() -> None:
    clock = ManualClock()
    one = quota(clock, ops=10)
    clock.advance(3_600_000)
    assert admitted(one, 100) == 10


def test_less_than_one_call_a_second() -> None:
    clock = ManualClock()
    one = quota(clock, ops=0.1)
    assert admitted(one, 2) == 1
    clock.advance(9_999)
    assert admitted(one, 1) == 0
    clock.advance(1)
    assert admitted(one, 1) == 1


def test_bytes_of_requests_and_responses_are_paid_back_before_the_next_call() -> None:
    clock = ManualClock()
    one = quota(clock, size=1000)
    one.admit(3000)  # larger than a second's worth: let in, because something was left
    one.charge(2000)
    with pytest.raises(LimitExceeded) as refused:
        one.admit(1)
    assert refused.value.metadata == {"quota": "bytes_per_s"}
    assert refused.value.retry_after_s == pytest.approx(4.001)
    clock.advance(4_000)
    assert admitted(one, 1) == 0
    clock.advance(1)
    assert admitted(one, 2, request_bytes=100) == 1


def test_a_refusal_for_bytes_takes_no_call() -> None:
    clock = ManualClock()
    one = quota(clock, ops=1, size=10)
    one.charge(20)
    assert admitted(one, 5) == 0
    clock.advance(1_100)
    assert admitted(one, 1) == 1


def test_watches_are_counted_while_they_are_open() -> None:
    one = quota(ManualClock(), watches=2)
    one.enter_watch()
    one.enter_watch()
    with pytest.raises(LimitExceeded, match="watches"):
        one.enter_watch()
    one.leave_watch()
    one.enter_watch()


def test_what_is_not_set_is_not_bounded() -> None:
    one = quota(ManualClock())
    assert admitted(one, 10_000, request_bytes=1 << 20) == 10_000
    for _ in range(1000):
        one.enter_watch()
