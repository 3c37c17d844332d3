"""Consumers of both clients against a server that does what the test says: order, ids, broken streams, the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from statesidecar import CapabilityMissing, FailedPrecondition, InvalidRequest, Unavailable
from tests.client.conftest import QUICK
from tests.client.scripted import status
from tests.client.streams import WAIT_S, AsyncioConsumer, BlockingConsumer, StreamServer

Consumer = BlockingConsumer | AsyncioConsumer
CUT = status(grpc.StatusCode.UNAVAILABLE)
DRAINING = status(grpc.StatusCode.UNAVAILABLE, "DRAINING", retry_after_s=0.001)


@pytest.fixture
def server() -> Iterator[StreamServer]:
    running = StreamServer()
    yield running
    running.stop()


@pytest.fixture(params=[BlockingConsumer, AsyncioConsumer], ids=["blocking", "asyncio"])
def consume(request: pytest.FixtureRequest, server: StreamServer) -> Iterator[Callable[..., Consumer]]:
    made: list[Consumer] = []

    def make(*arguments: object, **options: object) -> Consumer:
        made.append(request.param(server.target, *(arguments or ("orders",)), client={"retry": QUICK}, **options))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def ahead(consumer: Consumer, into: list[int]) -> threading.Thread:
    """Takes messages in another thread, until there are no more."""

    def work() -> None:
        try:
            while True:
                into.append(consumer.next().version)
        except StopIteration:
            return

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def one(consumer: Consumer, into: list[int]) -> threading.Thread:
    """Takes a message in another thread."""
    thread = threading.Thread(target=lambda: into.append(consumer.next().version))
    thread.start()
    return thread


def test_what_is_asked_for_is_said_first(server: StreamServer, consume: Callable[..., Consumer]) -> None:
    consumer = consume("orders", ["placed", "paid"], in_flight_max=7)
    thread = one(consumer, [])
    stream = server.accept()
    stream.send(1)
    thread.join(WAIT_S)

    assert (stream.first.namespace, list(stream.first.topics), stream.first.in_flight_max) == (
        *("orders", ["placed", "paid"]),
        7,
    )
    stream.end()


def test_messages_come_in_order_and_are_acknowledged(server: StreamServer, consume: Callable[..., Consumer]) -> None:
    consumer = consume()
    thread = one(consumer, [])
    stream = server.accept()
    stream.send(1)
    thread.join(WAIT_S)
    stream.send(2, 3)
    second, third = consumer.next(), consumer.next()
    third.ack()
    stream.acked(3)
    second.refuse("é" * 600, permanent=True)
    [refusal] = stream.said().refused

    assert (second.namespace, second.id, second.key, second.version) == ("orders", "id 2", "key", 2)
    assert (second.topic, second.payload, second.json(), second.attempt) == ("placed", b"2", 2, 1)
    assert (refusal.id, refusal.reason, refusal.permanent) == ("id 2", "é" * 512, True)
    stream.end()


def test_acknowledgements_that_gather_go_together(server: StreamServer, consume: Callable[..., Consumer]) -> None:
    consumer = consume()
    thread = one(consumer, [])
    stream = server.accept()
    stream.send(*range(1, 101))
    thread.join(WAIT_S)
    for _ in range(99):
        consumer.next().ack()
    stream.acked(*range(2, 101))
    stream.end()


@pytest.mark.parametrize("how", [CUT, DRAINING, None], ids=["cut", "draining", "ended"])
def test_a_broken_stream_is_made_again(server: StreamServer, consume: Callable[..., Consumer], how: Any) -> None:
    consumer = consume("orders", ["placed"])
    got: list[int] = []
    thread = one(consumer, got)
    server.accept().end(how)
    stream = server.accept()
    stream.send(1)
    thread.join(WAIT_S)

    assert got == [1]
    assert (stream.first.namespace, list(stream.first.topics)) == ("orders", ["placed"])
    stream.end()


def test_each_id_is_shown_once_over_all_streams(server: StreamServer, consume: Callable[..., Consumer]) -> None:
    consumer = consume()
    got: list[int] = []
    first = threading.Thread(target=lambda: got.append(consumer.next().version))
    first.start()
    stream = server.accept()
    stream.send(1, 2)
    first.join(WAIT_S)
    held = consumer.next()
    stream.end(CUT)
    thread = one(consumer, got)
    stream = server.accept()
    stream.send(1, 2, 3)
    thread.join(WAIT_S)
    held.ack()

    assert got == [1, 3]
    stream.acked(2)
    stream.end()


def test_one_whose_acknowledgement_was_lost_is_acknowledged_again(
    server: StreamServer, consume: Callable[..., Consumer]
) -> None:
    consumer = consume()
    thread = one(consumer, [])
    stream = server.accept()
    stream.send(1, 2)
    thread.join(WAIT_S)
    consumer.next().ack()
    stream.acked(2)
    stream.end(CUT)
    got: list[int] = []
    thread = one(consumer, got)
    stream = server.accept()
    stream.send(2, 3)
    thread.join(WAIT_S)

    stream.acked(2)
    assert got == [3]
    stream.end()


def test_a_refused_message_is_shown_again(server: StreamServer, consume: Callable[..., Consumer]) -> None:
    consumer = consume()
    thread = one(consumer, [])
    stream = server.accept()
    stream.send(1)
    thread.join(WAIT_S)
    stream.send(2)
    consumer.next().refuse()
    assert [refusal.id for refusal in stream.said().refused] == ["id 2"]
    stream.send(2, attempt=2)

    assert consumer.next().attempt == 2
    stream.end()


def test_what_was_not_shown_when_a_stream_broke_is_not_shown(
    server: StreamServer, consume: Callable[..., Consumer]
) -> None:
    """Others may have it by now."""
    consumer = consume()
    got: list[int] = []
    thread = one(consumer, got)
    stream = server.accept()
    stream.send(1, 2, 3)
    thread.join(WAIT_S)
    got.append(consumer.next().version)
    broken = threading.Event()
    consumer.when_broken(broken.set)
    stream.end(CUT)
    assert broken.wait(WAIT_S)
    thread = one(consumer, got)
    stream = server.accept()
    stream.send(4)
    thread.join(WAIT_S)
    stream.end()

    assert got == [1, 2, 4]


def test_without_memory_all_that_comes_is_shown(server: StreamServer, consume: Callable[..., Consumer]) -> None:
    consumer = consume(remember=0)
    thread = one(consumer, [])
    stream = server.accept()
    stream.send(1, 1)
    thread.join(WAIT_S)

    assert consumer.next().version == 1
    stream.end()


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (status(grpc.StatusCode.INVALID_ARGUMENT, "CONSUMER_INVALID"), InvalidRequest),
        (status(grpc.StatusCode.FAILED_PRECONDITION, "OUTBOX_HAS_SINK"), FailedPrecondition),
        (status(grpc.StatusCode.UNIMPLEMENTED, "CAPABILITY_MISSING"), CapabilityMissing),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_another_stream_could_do_no_better_is_raised(
    server: StreamServer, consume: Callable[..., Consumer], refusal: Any, error: type[Exception]
) -> None:
    server.refusal = refusal
    consumer = consume()

    with pytest.raises(error):
        consumer.next()


def test_a_bound_on_the_outage_raises_what_is_the_matter(
    server: StreamServer, consume: Callable[..., Consumer]
) -> None:
    consumer = consume(reconnect_s=0.0)
    thread = one(consumer, [])
    stream = server.accept()
    stream.send(1)
    thread.join(WAIT_S)
    stream.end(status(grpc.StatusCode.UNAVAILABLE, "PASSTHROUGH", retry_after_s=1.0))

    with pytest.raises(Unavailable) as raised:
        consumer.next()

    assert raised.value.reason == "PASSTHROUGH"


# ---- the end


def test_the_end_waits_until_the_daemon_has_the_acknowledgements(
    server: StreamServer, consume: Callable[..., Consumer]
) -> None:
    consumer = consume()
    thread = one(consumer, [])
    stream = server.accept()
    stream.send(1, 2)
    thread.join(WAIT_S)
    consumer.next().ack()
    closing = threading.Thread(target=consumer.close)
    closing.start()
    stream.acked(2)
    stream.half_closed()
    closing.join(0.1)
    assert closing.is_alive()
    stream.send(3)
    stream.end()
    closing.join(WAIT_S)

    assert not closing.is_alive()


def test_whoever_waits_for_a_message_is_told_of_the_end(server: StreamServer, consume: Callable[..., Consumer]) -> None:
    consumer = consume()
    got: list[int] = []
    thread = ahead(consumer, got)
    stream = server.accept()
    stream.send(1)
    if isinstance(consumer, AsyncioConsumer):
        closing = threading.Thread(target=lambda: consumer.run(consumer.consumer.close()))
    else:
        closing = threading.Thread(target=consumer.consumer.close)
    closing.start()
    stream.half_closed()
    stream.end()
    closing.join(WAIT_S)
    thread.join(WAIT_S)

    assert not thread.is_alive()
    assert got in ([], [1])
    with pytest.raises(StopIteration):
        consumer.next()


def test_an_end_does_not_wait_for_a_daemon_that_says_nothing(
    server: StreamServer, consume: Callable[..., Consumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statesidecar._consumers.CLOSE_S", 0.05)
    consumer = consume()
    thread = one(consumer, [])
    stream = server.accept()
    stream.send(1)
    thread.join(WAIT_S)

    consumer.close()
    stream.half_closed()
