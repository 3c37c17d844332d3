"""What every sink has to do, each against a real server that is asked what it has got."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest

from sidecar.core.outbox import Pending, order_of
from sidecar.core.sinks import UNTRIED, Receipt, Refused, Sink, SinkUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.sinks import build
from tests.sinks.harnesses import HARNESSES, ORDERED, Harness
from tests.sinks.leftovers import eventually, is_left, left
from tests.sinks.messages import APP, Got, deliveries, expected, message

WAIT_S = 20.0
T = TypeVar("T")


@asynccontextmanager
async def started(name: str, *, own: bool = False) -> AsyncIterator[tuple[Harness, Sink]]:
    """A sink that is open, and the other side of it."""
    harness = HARNESSES[name]()
    await harness.start(own=own)
    try:
        sink = build(harness.url, app=APP, clock=SystemClock())
        try:
            await sink.open()
            yield harness, sink
        finally:
            await sink.close()
    finally:
        await harness.stop()


@pytest.fixture(params=HARNESSES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Harness, Sink]]:
    async with started(request.param) as both:
        yield both


async def publish(sink: Sink, messages: Sequence[Pending]) -> list[Receipt]:
    """In calls as large as the sink takes."""
    receipts: list[Receipt] = []
    for begin in range(0, len(messages), sink.batch_max):
        receipts += await sink.publish(deliveries(messages[begin : begin + sink.batch_max]))
    return receipts


def by_id(found: Sequence[Got]) -> dict[str, Got]:
    return {got.id: got for got in found}


async def test_messages_arrive_with_all_that_they_carry(pair: tuple[Harness, Sink]) -> None:
    harness, sink = pair
    many = {f"attribute-{number}": "x" * (harness.attributes_max // 64 - 16) for number in range(60)}
    sent = [
        message("plain"),
        message(
            "unicode ключ/🔑%\u00a0\"'", topic="orders.héllo-世界" if "kafka" not in harness.url else "orders.hello"
        ),
        message("control \x01\x1f\x7f\t\r\n key"),
        message("empty", payload=b"", content_type=""),
        message("empty json", payload=b"", content_type="application/json"),
        message("binary", payload=bytes(range(256)) * 4, content_type="application/octet-stream"),
        message("untyped", payload=b"\xff\x00\xfe", content_type=""),
        message("json", payload=json.dumps({"a": [1, 2.5, None, "ü"]}).encode(), content_type="application/json"),
        message("no json", payload=b"{", content_type="application/json"),
        message("suffix", payload=b'"text"', content_type="application/vnd.shop+json; charset=utf-8"),
        message(
            "attributes", attributes={"tenant": "t 1", "Trace-Id": "ü\x00\n%", "id": "own", "empty": "", "a" * 99: "b"}
        ),
        message("many", attributes=many),
        message("", order="0123456789abcdef"),
        message("large", payload=random.Random(7).randbytes(harness.payload_max), content_type="image/png"),
    ]

    assert await publish(sink, sent) == [None] * len(sent)

    assert by_id(await harness.received(len(sent))) == by_id([expected(each) for each in sent])


async def test_equal_ids_are_equal_messages(pair: tuple[Harness, Sink]) -> None:
    """Versions are counted by each authority: daemons with a SQLite of their own have the same message ids."""
    harness, sink = pair
    first = message("a", payload=b"one")
    others = [
        replace(first, payload=b"two"),
        replace(first, namespace="another"),
        replace(first, key="b", order=order_of("b")),
        replace(first, commit_time=1),
    ]

    assert await publish(sink, [first, *others]) == [None] * 5
    assert await publish(sink, [first]) == [None]

    found = await harness.received(5)
    assert by_id(found) == by_id([expected(each) for each in (first, *others)])
    assert len(by_id(found)) == 5


@pytest.mark.parametrize("name", ORDERED)
async def test_equal_orders_arrive_in_their_order(name: str) -> None:
    async with started(name) as (harness, sink):
        keys = [f"key {number}" for number in range(7)]
        sent = [message(keys[number % 7 if number % 3 else 0]) for number in range(120)]

        assert await publish(sink, sent) == [None] * len(sent)

        found = await harness.received(len(sent))
        for key in keys:
            versions = [each.version for each in sent if each.key == key]
            assert [got.version for got in found if got.key == key] == versions


async def test_calls_beside_each_other_do_not_mix(pair: tuple[Harness, Sink]) -> None:
    harness, sink = pair
    calls = [[message(f"{caller} {number}") for number in range(sink.batch_max)] for caller in range(6)]

    told = await asyncio.gather(*(publish(sink, call) for call in calls))

    assert told == [[None] * sink.batch_max] * 6
    sent = [each for call in calls for each in call]
    assert by_id(await harness.received(len(sent))) == by_id([expected(each) for each in sent])


async def test_what_follows_a_refused_message_is_not_tried_and_others_are_delivered(
    pair: tuple[Harness, Sink],
) -> None:
    harness, sink = pair
    first, bad, after, last = message("k"), harness.refused(message("k")), message("k"), message("k")
    others = [message("other"), message("another"), message("other")]

    receipts = await publish(sink, [first, others[0], bad, others[1], after, last, others[2]])

    assert [receipts[index] for index in (0, 1, 3, 6)] == [None] * 4
    refused = receipts[2]
    assert isinstance(refused, Refused)
    assert refused.reason
    assert refused.permanent is harness.refused_permanently
    assert receipts[4:6] == [UNTRIED, UNTRIED]
    assert by_id(await harness.received(4)) == by_id([expected(each) for each in (first, *others)])

    assert await publish(sink, [after, last]) == [None, None]
    assert [got.version for got in await harness.received(6) if got.key == "k"] == [
        each.version for each in (first, after, last)
    ]


@pytest.mark.parametrize("name", HARNESSES)
async def test_a_server_that_is_killed_is_unavailable_and_used_again_when_it_is_back(name: str) -> None:
    async with started(name, own=True) as (harness, sink):
        before, during, after = message("before"), message("during"), message("after")
        assert await publish(sink, [before]) == [None]
        await harness.kill()

        with pytest.raises(SinkUnavailable) as told:
            await publish(sink, [during, message("also")])
        assert told.value.reason == "SINK_UNAVAILABLE"
        with pytest.raises(SinkUnavailable):
            await publish(sink, [during])

        await harness.restart()
        await retried(sink.open)
        assert await retried(lambda: publish(sink, [during, after])) == [None, None]
        found = by_id(await harness.received(2))
        assert {expected(during).id, expected(after).id} <= found.keys()


async def retried(call: Callable[[], Awaitable[T]]) -> T:
    """As the relay does: a sink may need a moment to be found again."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return await call()
        except SinkUnavailable:
            assert time.monotonic() < end
            await asyncio.sleep(0)


@pytest.mark.parametrize("name", [name for name in HARNESSES if not name.startswith("webhook")])
async def test_a_server_that_is_not_there_is_told_when_the_sink_is_opened(name: str) -> None:
    async with started(name, own=True) as (harness, _):
        await harness.kill()
        sink = build(harness.url, app=APP, clock=SystemClock())
        if not harness.url.startswith("sns"):  # there is nothing to ask about a topic without more rights
            with pytest.raises(SinkUnavailable):
                await sink.open()

        await harness.restart()
        await retried(sink.open)
        assert await retried(lambda: publish(sink, [message()])) == [None]
        await sink.close()


@pytest.mark.parametrize("name", HARNESSES)
async def test_a_sink_that_is_closed_leaves_nothing(name: str) -> None:
    harness = HARNESSES[name]()
    await harness.start(own=False)
    try:
        before = left()
        sink = build(harness.url, app=APP, clock=SystemClock())
        await sink.close()
        await sink.open()
        assert await publish(sink, [message(str(number)) for number in range(20)]) == [None] * 20
        await sink.close()
        await sink.close()
        await eventually(partial(is_left, before), f"{left()} were {before}")

        await sink.open()
        assert await publish(sink, [message()]) == [None]
        await sink.close()
        await eventually(partial(is_left, before), f"{left()} were {before}")
    finally:
        await harness.stop()


async def test_a_sink_that_is_closed_in_the_middle_leaves_nothing(pair: tuple[Harness, Sink]) -> None:
    harness, opened = pair
    await opened.close()
    before = left()
    sink = build(harness.url, app=APP, clock=SystemClock())
    publishing = asyncio.create_task(publish(sink, [message(str(number)) for number in range(sink.batch_max)]))
    for _ in range(5):
        await asyncio.sleep(0)

    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    await sink.close()

    await eventually(partial(is_left, before), f"{left()} were {before}")


async def test_a_publish_that_is_cancelled_does_not_harm_the_next(pair: tuple[Harness, Sink]) -> None:
    harness, sink = pair
    random_ = random.Random(3)
    sent: list[Pending] = []
    for _ in range(40):
        call = [message(f"key {number % 3}") for number in range(min(6, sink.batch_max))]
        sent += call
        publishing = asyncio.create_task(publish(sink, call))
        for _ in range(random_.randrange(12)):
            await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        assert await publish(sink, call) == [None] * len(call)

    found = await harness.received(len(sent))
    assert by_id(found) == by_id([expected(each) for each in sent])
    for key in {each.key for each in sent}:
        versions = [got.version for got in found if got.key == key]
        firsts = list(dict.fromkeys(versions))
        assert firsts == sorted(firsts), "after duplicates are dropped by their ids"
