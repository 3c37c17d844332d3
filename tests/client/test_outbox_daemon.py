"""Messages through both clients against a real daemon: with every kind of write, once each, in order, dead and back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from statesidecar import (
    AppendOp,
    CasOp,
    CheckOp,
    DeadLetter,
    DeleteOp,
    FailedPrecondition,
    IncrementOp,
    InvalidRequest,
    MergePatchOp,
    OutboxMessage,
    SetOp,
    StateClient,
    VersionConflict,
)
from statesidecar.testing import RunningSidecar, sidecar
from tests.client.conftest import Client
from tests.client.scripted import Blocking
from tests.client.streams import AsyncioConsumer, BlockingConsumer

Consumer = BlockingConsumer | AsyncioConsumer
QUICK = {"retry_delay_s": 0.01, "attempts_max": 2}


@pytest.fixture(scope="module")
def delivering() -> Iterator[RunningSidecar]:
    with sidecar(outbox=QUICK) as started:
        yield started


@pytest.fixture
def client(connect: Callable[..., Client], delivering: RunningSidecar) -> Client:
    return connect(delivering.target)


@pytest.fixture(params=[BlockingConsumer, AsyncioConsumer], ids=["blocking", "asyncio"])
def consume(request: pytest.FixtureRequest, delivering: RunningSidecar) -> Iterator[Callable[..., Consumer]]:
    made: list[Consumer] = []

    def make(*arguments: Any, **options: Any) -> Consumer:
        made.append(request.param(delivering.target, *arguments, client={}, **options))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def told(text: str) -> list[OutboxMessage]:
    return [OutboxMessage("told", text, "text/plain", {"from": "a test"})]


def received(delivering: RunningSidecar, namespace: str, count: int) -> dict[str, Any]:
    """The next messages by payload, acknowledged."""
    with delivering.client() as client, client.outbox.consume(namespace) as consumer:
        got = {}
        for message in consumer:
            message.ack()
            got[message.payload.decode()] = message
            if len(got) == count:
                return got
    raise AssertionError("the consumer ended")


def test_every_write_carries_messages(client: Client, delivering: RunningSidecar, key: str) -> None:
    space = key
    versions = {"set": client.call("set", space, "a", b"1", outbox=told("set")).version}
    done = client.call("cas", space, "a", b"2", expected_version=versions["set"], outbox=told("cas"))
    versions["cas"] = done.version
    versions["patch"] = client.call("merge_patch", space, "b", {"x": 1}, outbox=told("patch")).version
    versions["append"] = client.call("append", space, "c", [1], outbox=told("append")).version
    versions["increment"] = client.call("increment", space, "d", outbox=told("increment")).version
    versions["delete"] = client.call("delete", space, "a", outbox=told("delete")).version

    got = received(delivering, space, 6)

    assert {payload: message.version for payload, message in got.items()} == versions
    assert {payload: message.key for payload, message in got.items()} == {
        "set": "a",
        "cas": "a",
        "delete": "a",
        "patch": "b",
        "append": "c",
        "increment": "d",
    }
    one = got["set"]
    assert (one.namespace, one.topic, one.content_type, one.attributes) == (
        *(space, "told", "text/plain"),
        {"from": "a test"},
    )
    assert one.attempt == 1
    assert one.commit_time is not None


def test_operations_have_messages_of_their_own_and_a_transaction_has_its(
    client: Client, delivering: RunningSidecar, key: str
) -> None:
    client.call("set", key, "gone", b"1")
    operations = [
        SetOp("a", b"1", outbox=told("set")),
        CasOp("b", b"1", 0, outbox=told("cas")),
        DeleteOp("gone", outbox=told("delete")),
        MergePatchOp("c", {}, outbox=told("patch")),
        AppendOp("d", [1], outbox=told("append")),
        IncrementOp("e", outbox=told("increment")),
        CheckOp("f", 0),
    ]

    result = client.call("transact", key, operations, outbox=told("all"))
    got = received(delivering, key, 7)

    assert {message.version for message in got.values()} == {result.version}
    assert (got["all"].key, got["set"].key, got["delete"].key) == ("", "a", "gone")


def test_a_write_that_is_refused_sends_nothing_and_a_repeated_one_sends_once(
    client: Client, delivering: RunningSidecar, key: str
) -> None:
    with pytest.raises(VersionConflict):
        client.call("cas", key, "a", b"1", expected_version=7, outbox=told("lost"))
    for _ in range(3):
        client.call("set", key, "a", b"1", outbox=told("once"), request_id=f"{key} r")
    client.call("set", key, "a", b"2", outbox=told("last"))

    assert list(received(delivering, key, 2)) == ["once", "last"]


def test_a_session_sends_what_its_block_left_if_it_is_saved(
    client: Client, delivering: RunningSidecar, key: str
) -> None:
    with client.session(key, "s") as session:
        session.state["turn"] = 1
        session.outbox += told("changed")
    with client.session(key, "s") as session:
        session.outbox += told("unchanged")
    with suppress(KeyError), client.session(key, "s") as session:
        session.outbox += told("failed")
        raise KeyError
    with client.session(key, "s", on_conflict="merge") as session:
        client.call("set", key, "s", b'{"turn": 1, "other": 2}')
        session.state["mine"] = 3
        session.outbox += told("merged")

    assert list(received(delivering, key, 3)) == ["changed", "unchanged", "merged"]
    assert client.call("get", key, "s").entry.json() == {"turn": 1, "other": 2, "mine": 3}


def test_an_update_sends_what_is_made_of_the_state_that_was_saved(
    client: Client, delivering: RunningSidecar, key: str
) -> None:
    def counted(state: dict[str, int]) -> dict[str, int]:
        return {"n": state.get("n", 0) + 1}

    for _ in range(2):
        client.call("update", key, "s", counted, outbox=lambda state: told(f"n is {state['n']}"))
    client.call("update", key, "s", lambda state: state, outbox=told("nothing was done"))
    client.call("update", key, "s", counted, outbox=told("done"))

    assert list(received(delivering, key, 3)) == ["n is 1", "n is 2", "done"]


def test_a_message_that_can_not_be_is_refused_with_its_write(client: Client, key: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.call("set", key, "a", b"1", outbox=[OutboxMessage("")])

    assert refused.value.reason == "OUTBOX_MESSAGE_INVALID"
    assert not client.call("get", key, "a").found


# ---- consumers


def letters_of(operator: Client, namespace: str) -> list[DeadLetter]:
    """All dead letters, a page each."""
    if isinstance(operator, Blocking):
        return list(operator.client.outbox.dead_letters(namespace, page_size=1))
    outbox = operator.client.outbox

    async def collect() -> list[DeadLetter]:
        return [letter async for letter in outbox.dead_letters(namespace, page_size=1)]

    return operator._runner.run(collect())


def redriven(operator: Client, *arguments: Any, **options: Any) -> int:
    if isinstance(operator, Blocking):
        return operator.client.outbox.redrive(*arguments, **options)
    return operator._runner.run(operator.client.outbox.redrive(*arguments, **options))


def test_messages_of_a_key_come_in_order_each_once(
    consume: Callable[..., Consumer], delivering: RunningSidecar, key: str
) -> None:
    with delivering.client() as client:
        for number in range(60):
            client.set(key, f"key {number % 3}", b"", outbox=[OutboxMessage("n", str(number))])
    consumer = consume(key)
    got: list[int] = []
    while len(got) < 60:
        message = consumer.next()
        got.append(int(message.payload))
        message.ack()

    assert sorted(got) == list(range(60))
    for remainder in range(3):
        of_key = [number for number in got if number % 3 == remainder]
        assert of_key == sorted(of_key)


def test_consumers_of_the_same_topics_share_and_those_of_others_have_theirs(
    consume: Callable[..., Consumer], delivering: RunningSidecar, key: str
) -> None:
    def take(consumer: Consumer, into: list[str]) -> threading.Thread:
        def work() -> None:
            try:
                while True:
                    message = consumer.next()
                    into.append(message.topic)
                    message.ack()
                    counted.release()
            except StopIteration:
                return

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    counted = threading.Semaphore(0)
    got: list[list[str]] = [[], [], []]
    consumers = [consume(key, ["a"]), consume(key, ["a"]), consume(key, ["b"])]
    threads = [take(consumer, into) for consumer, into in zip(consumers, got, strict=True)]
    with delivering.client() as client:
        for number in range(20):
            for topic in ("a", "b"):
                client.set(key, f"key {number}", b"", outbox=[OutboxMessage(topic)])
    for _ in range(40):
        assert counted.acquire(timeout=30)
    for consumer in consumers:
        consumer.close()
    for thread in threads:
        thread.join(30)

    assert len(got[0]) + len(got[1]) == len(got[2]) == 20
    assert {topic for into in got[:2] for topic in into} == {"a"}
    assert set(got[2]) == {"b"}


def test_what_is_refused_is_dead_in_the_end_and_can_be_put_back(
    consume: Callable[..., Consumer], connect: Callable[..., Client], delivering: RunningSidecar, key: str
) -> None:
    with delivering.client() as setting:
        setting.set(key, "a", b"", outbox=[OutboxMessage("n", "bad")])
        setting.set(key, "a", b"", outbox=[OutboxMessage("n", "good")])
    consumer = consume(key)
    for attempt in (1, 2):
        bad = consumer.next()
        assert (bad.payload, bad.attempt) == (b"bad", attempt)
        bad.refuse("no such order")
    good = consumer.next()
    good.ack()
    operator = connect(delivering.target)
    [dead] = letters_of(operator, key)
    assert redriven(operator, key, [dead.id, "unknown"]) == 1
    again = consumer.next()
    again.refuse("never", permanent=True)
    consumer.close()
    [dead_again] = letters_of(operator, key)

    assert good.payload == b"good"
    assert (dead.id, dead.key, dead.payload, dead.reason, dead.attempts) == (
        *(again.id, "a", b"bad", "no such order"),
        2,
    )
    assert dead.dead_time is not None
    assert again.payload == b"bad"
    assert (dead_again.id, dead_again.reason) == (again.id, "never")
    assert redriven(operator, key, all_letters=True) == 1


def test_a_restart_of_the_daemon_is_borne(tmp_path: Any, key: str) -> None:
    settings: dict[str, Any] = {"data_dir": tmp_path, "outbox": QUICK, "listen": [f"unix://{tmp_path}/socket"]}
    with StateClient(f"unix://{tmp_path}/socket") as client, client.outbox.consume(key) as consumer:
        with sidecar(**settings):
            client.set(key, "a", b"", outbox=[OutboxMessage("n", "1")])
            first = next(consumer)
            client.set(key, "b", b"", outbox=[OutboxMessage("n", "2")])
            next(consumer).ack()
        with sidecar(**settings):
            first.ack()
            client.set(key, "a", b"", outbox=[OutboxMessage("n", "3")])
            third = next(consumer)
            third.ack()

    assert (first.payload, third.payload) == (b"1", b"3")


def test_a_namespace_with_a_sink_has_no_consumers(key: str) -> None:
    settings: dict[str, Any] = {"namespaces": {key: {"outbox": {"sink": "http://127.0.0.1:9/"}}}}
    with (
        sidecar(**settings) as running,
        running.client().outbox.consume(key) as consumer,
        pytest.raises(FailedPrecondition) as refused,
    ):
        next(consumer)

    assert refused.value.reason == "OUTBOX_HAS_SINK"
