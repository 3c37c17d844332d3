"""What a consumer remembers, and when it connects again, without any stream."""

from __future__ import annotations

import grpc
import pytest

from statesidecar import LimitExceeded, RetryPolicy, StateSidecarError, Unavailable
from statesidecar._consuming import LASTING_S, Asked, Consuming
from statesidecar.v1 import outbox_service_pb2 as pb
from tests.client.streams import message


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


POLICY = RetryPolicy(backoff_initial_s=1.0, backoff_max_s=8.0)
AWAY = Unavailable("AUTHORITY_UNAVAILABLE", code=grpc.StatusCode.UNAVAILABLE)


def consuming(clock: Clock | None = None, *, remember: int = 10, reconnect_s: float | None = None) -> Consuming:
    """One that has a stream. Pauses are half of what they may be."""
    asked = Asked(namespace="orders", topics=(), in_flight_max=0, remember=remember, reconnect_s=reconnect_s)
    made = Consuming(asked, POLICY, clock=clock or Clock(), random=lambda: 0.5)
    made.begin(lambda: None)
    return made


def came(consumer: Consuming, *numbers: int) -> list[int]:
    """Which of these are shown."""
    consumer.received(pb.ConsumeResponse(messages=[message(number) for number in numbers]))
    shown = []
    while (found := consumer.message()) is not None:
        shown.append(found.version)
    return shown


def acked(consumer: Consuming, stream: int = 1) -> list[str]:
    request = consumer.request(stream)
    return [] if request is None else list(request.acknowledged_ids)


def test_the_oldest_ids_are_forgotten_first_and_only_beyond_the_bound() -> None:
    consumer = consuming(remember=3)
    assert came(consumer, 1, 2, 3) == [1, 2, 3]
    assert came(consumer, 1, 2, 3) == []
    assert came(consumer, 4) == [4]
    assert came(consumer, 2, 3, 4, 1) == [1]


def test_one_that_comes_again_is_acknowledged_if_it_was_and_else_when_it_is() -> None:
    consumer = consuming()
    consumer.received(pb.ConsumeResponse(messages=[message(1), message(2)]))
    first, second = consumer.message(), consumer.message()
    assert first is not None
    assert second is not None
    first.ack()
    stream = consumer.begin(lambda: None)
    assert consumer.request(stream) is None

    assert came(consumer, 1, 2) == []
    assert acked(consumer, stream) == ["id 1"]
    second.ack()
    assert acked(consumer, stream) == ["id 2"]
    assert consumer.request(stream) is None


def test_a_stream_that_is_over_takes_nothing_from_the_one_that_follows() -> None:
    consumer = consuming()
    woken: list[int] = []
    consumer.received(pb.ConsumeResponse(messages=[message(1)]))
    first = consumer.message()
    assert first is not None
    consumer.begin(lambda: woken.append(2))
    first.ack()

    assert acked(consumer, 1) == []
    assert acked(consumer, 2) == ["id 1"]
    assert woken == [2]


def test_the_last_word_on_a_message_counts() -> None:
    consumer = consuming()
    consumer.received(pb.ConsumeResponse(messages=[message(1)]))
    first = consumer.message()
    assert first is not None
    first.ack()
    first.refuse("after all")
    request = consumer.request(1)

    assert request is not None
    assert not request.acknowledged_ids
    assert [refusal.reason for refusal in request.refused] == ["after all"]
    assert came(consumer, 1) == [1]


def test_pauses_grow_up_to_their_bound_until_something_comes() -> None:
    consumer = consuming()
    assert [consumer.broken(AWAY) for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    came(consumer, 1)
    assert consumer.broken(AWAY) == 0.5


def test_a_pause_is_at_least_what_the_daemon_asks_for() -> None:
    draining = Unavailable("DRAINING", code=grpc.StatusCode.UNAVAILABLE, retry_after_s=7.0)
    full = LimitExceeded("QUEUE_FULL", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=3.0)

    assert consuming().broken(draining) == 7.5
    assert consuming().broken(full) == 3.5


def test_a_stream_that_lasted_was_one_also_if_nothing_came() -> None:
    clock = Clock()
    consumer = consuming(clock, reconnect_s=10.0)
    for _ in range(20):
        clock.now_s += LASTING_S
        assert consumer.broken(AWAY) == 0.5
        consumer.begin(lambda: None)


def test_an_outage_is_borne_as_long_as_was_said() -> None:
    clock = Clock()
    consumer = consuming(clock, reconnect_s=10.0)
    for _ in range(5):
        consumer.broken(AWAY)
        clock.now_s += 2.0
        consumer.begin(lambda: None)

    with pytest.raises(Unavailable):
        consumer.broken(AWAY)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (grpc.StatusCode.UNAVAILABLE, True),
        (grpc.StatusCode.CANCELLED, True),
        (grpc.StatusCode.INTERNAL, True),
        (grpc.StatusCode.UNKNOWN, True),
        (grpc.StatusCode.INVALID_ARGUMENT, False),
        (grpc.StatusCode.PERMISSION_DENIED, False),
        (grpc.StatusCode.DATA_LOSS, False),
    ],
)
def test_what_comes_from_the_transport_is_tried_again(code: grpc.StatusCode, again: bool) -> None:
    error = StateSidecarError("", "from a proxy", code=code)
    if again:
        assert consuming().broken(error) == 0.5
    else:
        with pytest.raises(StateSidecarError):
            consuming().broken(error)


@pytest.mark.parametrize("wrong", [{"topics": "placed"}, {"remember": -1}, {"reconnect_s": -1.0}], ids=str)
def test_what_can_not_be_meant_is_refused(wrong: dict[str, object]) -> None:
    right = {"namespace": "orders", "topics": (), "in_flight_max": 0, "remember": 0, "reconnect_s": None}

    with pytest.raises(ValueError, match="are needed"):
        Asked(**right | wrong)  # type: ignore[arg-type]  # which is the point
