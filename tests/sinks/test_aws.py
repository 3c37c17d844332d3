"""Queues and topics: how messages are divided among calls, and what an answer says of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as boto  # type: ignore[import-untyped]  # it has no types

from servers.base import shared
from servers.ministack import CREDENTIALS, Ministack
from sidecar.core.sinks import UNTRIED, Refused, Sink, SinkUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.sinks import build
from sidecar.sinks.aws import sink as module
from sidecar.sinks.aws.client import CallRefused, Client, failure
from sidecar.sinks.aws.sink import ENTRIES_MAX, AwsSink, packed
from sidecar.sinks.aws.target import AwsTarget
from tests.sinks.harness_aws import SnsFifo, SqsFifo, SqsStandard, client
from tests.sinks.messages import APP, deliveries, expected, message

TARGET = AwsTarget(service="sqs", name="events.fifo")


@pytest.fixture(params=[SqsFifo, SqsStandard, SnsFifo])
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[SqsFifo]:
    harness: SqsFifo = request.param()
    await harness.start(own=False)
    yield harness
    await harness.stop()


@pytest.fixture
async def sink(queue: SqsFifo) -> AsyncIterator[Sink]:
    sink = build(queue.url, app=APP, clock=SystemClock())
    yield sink
    await sink.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    """The entries of each call, which goes on to the server."""
    found: list[list[dict[str, Any]]] = []
    real = Client.call

    async def call(self: Client, operation: str, **parameters: Any) -> dict[str, Any]:
        if "batch" in operation:
            found.append(parameters.get("Entries") or parameters["PublishBatchRequestEntries"])
        return await real(self, operation, **parameters)

    monkeypatch.setattr(Client, "call", call)
    return found


async def test_no_call_has_two_messages_of_an_order(
    queue: SqsFifo, sink: Sink, calls: list[list[dict[str, Any]]]
) -> None:
    sent = [message(f"key {number % 11}") for number in range(sink.batch_max)]

    assert await sink.publish(deliveries(sent)) == [None] * len(sent)

    assert sum(map(len, calls)) == len(sent)
    for entries in calls:
        bodies = [entry.get("MessageBody") or entry["Message"] for entry in entries]
        messages = [next(each for each in sent if expected(each).id in body) for body in bodies]
        assert len({each.order for each in messages}) == len(messages) <= ENTRIES_MAX
        told = [(entry.get("MessageGroupId"), entry.get("MessageDeduplicationId")) for entry in entries]
        assert told == [(each.order, expected(each).id) if queue.fifo else (None, None) for each in messages]


@pytest.mark.parametrize("kind", [SqsFifo, SnsFifo])
async def test_a_fifo_takes_an_id_once(kind: type[SqsFifo]) -> None:
    harness = kind()
    await harness.start(own=False)
    sent = [message("a"), message("b")]
    for _ in range(2):
        sink = build(harness.url, app=APP, clock=SystemClock())
        assert await sink.publish(deliveries(sent)) == [None, None]
        await sink.close()

    assert sorted(got.id for got in await harness.received(2)) == sorted(expected(each).id for each in sent)


async def test_calls_are_divided_by_size_too(queue: SqsFifo, sink: Sink, calls: list[list[dict[str, Any]]]) -> None:
    sent = [message(str(number), payload=bytes(150_000)) for number in range(12)]

    assert await sink.publish(deliveries(sent)) == [None] * 12

    assert len(calls) == (12 if isinstance(queue, SnsFifo) else 3)
    assert len(await queue.received(12)) == 12


async def test_a_call_that_is_refused_as_a_whole_is_made_again_one_by_one(
    queue: SqsFifo, sink: Sink, calls: list[list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.BYTES_MAX, "sqs", 100 << 20)
    monkeypatch.setitem(module.BYTES_MAX, "sns", 100 << 20)
    large = 300_000 if isinstance(queue, SnsFifo) else 1_000_000
    call = [message("a"), message("b", payload=bytes(large)), message("b"), message("c", payload=b"x" * 900)]

    receipts = await sink.publish(deliveries(call))

    assert (receipts[0], receipts[3]) == (None, None)
    assert isinstance(receipts[1], Refused)
    assert receipts[2] is UNTRIED
    assert len(await queue.received(2)) == 2


async def test_a_queue_that_is_not_there_is_told_at_the_start() -> None:
    endpoint_url = shared(Ministack).endpoint_url
    sink = build(f"sqs://missing?endpoint_url={endpoint_url}", app=APP, clock=SystemClock())
    with pytest.raises(SinkUnavailable, match="sqs://missing: there is no such queue"):
        await sink.open()
    await sink.close()


async def test_a_topic_that_is_not_there_is_told_with_the_first_message() -> None:
    url = f"sns://arn:aws:sns:us-east-1:000000000000:missing?endpoint_url={shared(Ministack).endpoint_url}"
    sink = build(url, app=APP, clock=SystemClock())
    await sink.open()
    with pytest.raises(SinkUnavailable, match="there is no such queue or topic"):
        await sink.publish(deliveries([message()]))
    await sink.close()


async def test_a_queue_that_goes_away_is_an_outage() -> None:
    harness = SqsFifo()
    await harness.start(own=False)
    sink = build(harness.url, app=APP, clock=SystemClock())
    assert await sink.publish(deliveries([message()])) == [None]
    await asyncio.to_thread(client("sqs", harness.server.endpoint_url).delete_queue, QueueUrl=harness.queue_url)

    with pytest.raises(SinkUnavailable, match="there is no such queue"):
        await sink.publish(deliveries([message("a"), message("b")]))
    await sink.close()


async def test_credentials_that_come_later_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    harness = SqsFifo()
    await harness.start(own=False)
    sink = build(harness.url, app=APP, clock=SystemClock())
    with pytest.raises(SinkUnavailable, match="no credentials"):
        await sink.open()

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert await sink.publish(deliveries([message()])) == [None]
    await sink.close()


async def test_a_call_that_failed_in_part_is_told_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a real service says and the emulator never does: some of a call, and not for the sender's fault."""
    sink = AwsSink(TARGET, app=APP)
    told: dict[str, Any] = {
        "Successful": [{"Id": "0"}],
        "Failed": [
            {"Id": "1", "Code": "InvalidMessageContents", "SenderFault": True},
            {"Id": "2", "Code": "SomethingElse", "SenderFault": False},
            {"Id": "3", "Code": "RequestThrottled", "SenderFault": False},
        ],
    }

    async def call(_: Client, operation: str, **parameters: Any) -> dict[str, Any]:
        return {"QueueUrl": "http://queue"} if operation == "get_queue_url" else told

    monkeypatch.setattr(Client, "call", call)
    receipts = await sink.publish(deliveries([message(str(number)) for number in range(4)]))
    await sink.close()

    assert receipts[0] is None
    permanent = [each.permanent if isinstance(each, Refused) else None for each in receipts]
    assert permanent == [None, True, False, None]
    assert receipts[3] is UNTRIED
    told["Successful"] = []
    told["Failed"] = told["Failed"][2:]
    with pytest.raises(SinkUnavailable, match="it takes nothing now"):
        await sink.publish(deliveries([message()]))
    await sink.close()


def client_error(code: str, status: int) -> Exception:
    error: Exception = boto.ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "SendMessageBatch"
    )
    return error


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (client_error("AWS.SimpleQueueService.NonExistentQueue", 400), "there is no such queue"),
        (client_error("AccessDenied", 403), "access denied"),
        (client_error("ExpiredTokenException", 403), "access denied"),
        (client_error("ThrottlingException", 400), "takes nothing now"),
        (client_error("KMS.DisabledException", 400), "encryption key"),
        (client_error("KMSNotFound", 400), "encryption key"),
        (client_error("Unheard", 500), "answers 500"),
        (client_error("", 503), "answers 503"),
        (boto.EndpointConnectionError(endpoint_url="http://host"), "no answer"),
        (boto.ReadTimeoutError(endpoint_url="http://host"), "no answer"),
        (boto.NoCredentialsError(), "no credentials"),
        (OSError("broken"), "no answer"),
    ],
)
def test_what_says_nothing_of_the_messages_is_an_outage(exc: Exception, said: str) -> None:
    found = failure(exc, TARGET)

    assert isinstance(found, SinkUnavailable)
    assert said in found.message
    assert "sqs://events.fifo" in found.message


@pytest.mark.parametrize("exc", [client_error("BatchRequestTooLong", 400), client_error("InvalidParameterValue", 400)])
def test_what_says_something_of_the_messages_refuses_them(exc: Exception) -> None:
    assert isinstance(failure(exc, TARGET), CallRefused)


def test_entries_are_packed_into_as_few_calls_as_may_be() -> None:
    def entry(size: int) -> dict[str, Any]:
        return {"MessageBody": "x" * size, "MessageAttributes": {}}

    def sizes(given: list[int], bytes_max: int) -> list[list[int]]:
        entries = {index: entry(size) for index, size in enumerate(given)}
        return [[len(each["MessageBody"]) for each in call.values()] for call in packed(entries, bytes_max)]

    assert sizes([], 1000) == []
    assert sizes([1] * 21, 10_000) == [[1] * 10, [1] * 10, [1]]
    assert sizes([400, 400, 400], 1000) == [[400, 400], [400]]
    assert sizes([5000, 1, 5000], 1000) == [[5000], [1], [5000]]
