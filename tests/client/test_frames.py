"""What a stream's frames hold, whose each answer is, and what its end means for each call; without a stream."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from statesidecar import errors
from statesidecar._frames import CALL_BYTES_MAX, CALLS_MAX, CARRIED, FRAME_BYTES_MAX, IN_FLIGHT_MAX, Frames, timed_out
from statesidecar._retry import never_sent, outcome_open, repeatable
from statesidecar._status import error_of
from statesidecar.errors import LimitExceeded, StateSidecarError, Unavailable
from statesidecar.v1 import state_service_pb2 as pb

GET = pb.GetRequest(namespace="n", key="k")


class Clock:
    """Stands until a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def frames(clock: Clock) -> Frames[str]:
    return Frames(clock=clock)


def sent(frames: Frames[str], *waiters: str) -> list[int]:
    """Adds calls and sends them; their ids."""
    ids = [frames.add("get", GET, 5.0, waiter) for waiter in waiters]
    assert frames.next_frame() is not None
    return ids


def result(call_id: int, **told: Any) -> pb.ConnectResponse:
    return pb.ConnectResponse(results=[pb.CallResult(id=call_id, **told)])


def gone(code: grpc.StatusCode, message: str = "", reason: str = "") -> StateSidecarError:
    error = error_of(code, message, ())
    error.reason = reason
    return error


def test_every_call_that_the_protocol_carries_is_carried() -> None:
    fields = {field.name for field in pb.Call.DESCRIPTOR.oneofs_by_name["request"].fields}
    results = {field.name for field in pb.CallResult.DESCRIPTOR.oneofs_by_name["result"].fields}

    assert set(CARRIED.values()) == fields == results - {"status"}
    methods = pb.DESCRIPTOR.services_by_name["StateService"].methods_by_name
    for rpc, field in CARRIED.items():
        assert methods[rpc].input_type is pb.Call.DESCRIPTOR.fields_by_name[field].message_type
        assert methods[rpc].output_type is pb.CallResult.DESCRIPTOR.fields_by_name[field].message_type


def test_a_lone_call_is_a_frame_and_what_queues_meanwhile_the_next(frames: Frames[str]) -> None:
    first = frames.add("get", GET, 5.0, "first")
    frame = frames.next_frame()
    assert frame is not None
    assert [(call.id, call.get) for call in frame.calls] == [(first, GET)]
    assert not frames.waiting

    ids = [frames.add("get", GET, 5.0, str(number)) for number in range(3)]
    assert frames.waiting
    frame = frames.next_frame()
    assert frame is not None
    assert [call.id for call in frame.calls] == ids
    assert frames.next_frame() is None
    assert frames.in_flight == 4


def test_frames_are_bounded_in_calls_and_bytes(frames: Frames[str]) -> None:
    for _ in range(2 * CALLS_MAX + 1):
        frames.add("get", GET, 5.0, "small")
    fat = pb.SetRequest(namespace="n", key="k", value=bytes(CALL_BYTES_MAX - 100))
    fits = FRAME_BYTES_MAX // fat.ByteSize()
    for _ in range(fits + 1):
        frames.add("set", fat, 5.0, "fat")

    sizes = []
    while (frame := frames.next_frame()) is not None:
        sizes.append(len(frame.calls))
    assert sizes == [CALLS_MAX, CALLS_MAX, 1 + fits, 1]


@pytest.mark.parametrize(("calls", "sizes"), [(1, [1]), (16, [16]), (17, [16, 1]), (32, [16, 16]), (100, [50, 50])])
def test_half_of_many_calls_go_together(frames: Frames[str], calls: int, sizes: list[int]) -> None:
    """So that there is something to do while the daemon answers the other half."""
    for _ in range(calls):
        frames.add("get", GET, 5.0, "small")

    sent = []
    while (frame := frames.next_frame()) is not None:
        sent.append(len(frame.calls))
    assert sent == sizes


def test_a_large_request_is_not_taken(frames: Frames[str]) -> None:
    fat = pb.SetRequest(value=bytes(CALL_BYTES_MAX))

    assert frames.add("set", fat, 5.0, "fat") == 0
    assert not frames.waiting
    assert frames.in_flight == 0


def test_unanswered_calls_are_bounded_sent_or_not(frames: Frames[str]) -> None:
    for _ in range(IN_FLIGHT_MAX):
        frames.add("get", GET, 5.0, "w")
    frames.next_frame()
    with pytest.raises(LimitExceeded) as caught:
        frames.add("get", GET, 5.0, "one more")

    assert caught.value.reason == errors.CLIENT_QUEUE_FULL
    assert repeatable(caught.value, idempotent=False), "it was not sent"
    frames.give_up(1)
    assert frames.add("get", GET, 5.0, "fits now")


def test_a_frame_says_what_time_is_left_and_leaves_out_who_has_none(frames: Frames[str], clock: Clock) -> None:
    frames.add("get", GET, 5.25, "long")
    frames.add("get", GET, 1.0, "short")
    clock.now += 2.0
    frame = frames.next_frame()

    assert frame is not None
    assert [(call.id, call.timeout.ToMilliseconds()) for call in frame.calls] == [(1, 3250)]
    frames.add("get", GET, 0.0, "none")
    assert frames.next_frame() is None
    assert frames.expired() == (["short", "none"], clock.now + 3.25)
    clock.now += 3.25
    assert frames.expired() == (["long"], None)
    assert frames.in_flight == 0


def test_answers_come_in_any_order_and_unknown_ones_are_dropped(frames: Frames[str]) -> None:
    one, two, three = sent(frames, "one", "two", "three")
    frames.give_up(two)
    response = pb.ConnectResponse(
        results=[
            pb.CallResult(id=three, get=pb.GetResponse(stale_possible=True)),
            pb.CallResult(id=two, get=pb.GetResponse()),
            pb.CallResult(id=99, get=pb.GetResponse()),
            pb.CallResult(id=one, get=pb.GetResponse()),
            pb.CallResult(id=one, get=pb.GetResponse()),
        ]
    )

    assert frames.came(response) == [("three", pb.GetResponse(stale_possible=True)), ("one", pb.GetResponse())]
    assert frames.in_flight == 0
    assert frames.answers == 2


def test_what_is_given_up_before_it_is_sent_never_is(frames: Frames[str]) -> None:
    first, second = frames.add("get", GET, 5.0, "first"), frames.add("get", GET, 5.0, "second")
    frames.give_up(first)
    frame = frames.next_frame()

    assert frame is not None
    assert [call.id for call in frame.calls] == [second]


def test_a_status_is_an_error(frames: Frames[str]) -> None:
    one, two, three = sent(frames, "one", "two", "three")
    status = bytes([8, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]]) + b"\x12\x04full"

    [(_, limit)] = frames.came(result(one, status=status))
    [(_, other)] = frames.came(result(two, set=pb.SetResponse()))
    [(_, garbled)] = frames.came(result(three, status=b"\xff"))
    assert (type(limit), limit.message) == (LimitExceeded, "full")
    assert outcome_open(other), "a result of another kind tells nothing"
    assert outcome_open(garbled)


def test_after_a_break_what_was_sent_is_open_and_what_was_not_is_repeatable(frames: Frames[str]) -> None:
    for end in (gone(grpc.StatusCode.UNAVAILABLE, "Socket closed"), gone(grpc.StatusCode.RESOURCE_EXHAUSTED), None):
        sent(frames, "sent")
        frames.add("get", GET, 5.0, "unsent")
        (first, open_), (second, unsent) = frames.ended(end)

        assert (first, second) == ("sent", "unsent")
        assert outcome_open(open_)
        assert not repeatable(open_, idempotent=False)
        assert never_sent(unsent)
        assert repeatable(unsent, idempotent=False)
        assert frames.in_flight == 0
        assert not frames.waiting


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED])
def test_a_reason_of_the_daemon_holds_for_all_that_it_has_not_answered(
    frames: Frames[str], code: grpc.StatusCode
) -> None:
    sent(frames, "sent")
    frames.add("get", GET, 5.0, "unsent")
    end = gone(code, reason="DRAINING")
    told = [error for _, error in frames.ended(end)]

    assert [(type(error), error.reason, error.code) for error in told] == [(type(end), "DRAINING", code)] * 2
    assert not any(outcome_open(error) for error in told)
    assert len({id(error) for error in [*told, end]}) == 3, "an error each"


def test_a_connection_that_was_never_made_has_sent_nothing(frames: Frames[str]) -> None:
    sent(frames, "written")
    end = gone(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: ...")

    assert all(never_sent(error) for _, error in frames.ended(end))


def test_unimplemented_tells_that_there_is_no_connect_unless_calls_were_answered(frames: Frames[str]) -> None:
    end = gone(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    [one] = sent(frames, "one")
    assert [error.code for _, error in frames.ended(end)] == [grpc.StatusCode.UNIMPLEMENTED]

    one, _ = sent(frames, "one", "two")
    frames.came(result(one, get=pb.GetResponse()))
    assert [type(error) for _, error in frames.ended(end)] == [Unavailable]


def test_time_that_is_over_leaves_a_write_open() -> None:
    assert outcome_open(timed_out("Set"))
    assert not timed_out("Set").reason, "so that a silent connection is given up"
