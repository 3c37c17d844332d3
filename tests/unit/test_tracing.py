"""Who is watched, by W3C Trace Context, and what a sink's messages leave behind."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from sidecar.core.modes import Tier
from sidecar.core.outbox import Message, Pending, continued
from sidecar.core.sinks import UNTRIED, Delivery, Receipt, Refused, SinkUnavailable
from sidecar.core.tracing import TRACE, Destination
from sidecar.engine.outbox.traced import TracedSink
from sidecar.telemetry.destinations import destination
from sidecar.telemetry.tracing import STATE_CHARACTERS_MAX, Parent, Place, Span, SpanQueue, SpanTracer

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01"
AGENT = ("user-agent", "grpc-python-asyncio/1.85.1")
UNWATCHED_US = 2.0


def tracer(ratio: float) -> SpanTracer:
    return SpanTracer(SpanQueue(), ratio=ratio, places={tier: Place("memory", {}) for tier in Tier})


def parent(*metadata: tuple[str, str | bytes]) -> Parent | None:
    """That of a request that is watched whatever its caller says; None: the caller said nothing that is understood."""
    queue = SpanQueue()
    watched = SpanTracer(queue, ratio=1.0, places={})
    request = watched.request("s", "Get", (AGENT, *metadata))
    assert request is not None
    request.end("OK", None, {})
    return queue.take()[0].parent


@pytest.mark.parametrize(
    "header",
    [
        SAMPLED,
        f"00-{TRACE_ID}-{SPAN_ID}-ff",
        f"01-{TRACE_ID}-{SPAN_ID}-01",
        f"cc-{TRACE_ID}-{SPAN_ID}-01-what-later-versions-add",
    ],
)
def test_a_trace_is_continued(header: str) -> None:
    found = parent(("traceparent", header))

    assert found == Parent(TRACE_ID, SPAN_ID, "", remote=True)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"01-{TRACE_ID}-{SPAN_ID}-01more",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"{SAMPLED}\n",
        SAMPLED.encode(),
    ],
)
def test_what_is_no_traceparent_counts_as_none(header: str | bytes) -> None:
    assert parent(("traceparent", header)) is None


def test_two_traceparents_are_none() -> None:
    assert parent(("traceparent", SAMPLED), ("traceparent", SAMPLED)) is None


def test_the_tracestate_is_carried_however_many_headers_it_has() -> None:
    found = parent(("traceparent", SAMPLED), ("tracestate", "a=1"), ("tracestate", "b=2"))

    assert found == Parent(TRACE_ID, SPAN_ID, "a=1,b=2", remote=True)


def test_a_tracestate_that_is_too_long_is_dropped() -> None:
    found = parent(("traceparent", SAMPLED), ("tracestate", "a=" + "1" * STATE_CHARACTERS_MAX))

    assert found is not None
    assert found.state == ""


def test_the_share_that_is_watched_is_the_ratio() -> None:
    sampling = tracer(0.1)
    watched = sum(sampling.request("s", "Get", (AGENT,)) is not None for _ in range(20_000))

    assert watched == pytest.approx(2_000, rel=0.2)


@pytest.mark.parametrize("header", [None, f"00-{TRACE_ID}-{SPAN_ID}-00"])
def test_a_request_that_is_not_watched_costs_next_to_nothing(header: str | None) -> None:
    metadata = (AGENT,) if header is None else (AGENT, ("traceparent", header))
    unwatched = tracer(0.0)
    costs = []
    for _ in range(50):
        began_ns = time.thread_time_ns()
        for _ in range(200):
            unwatched.request("s", "Get", metadata)
        costs.append((time.thread_time_ns() - began_ns) / 200 / 1000)

    assert min(costs) < UNWATCHED_US


# ---- messages


def test_messages_of_a_watched_write_continue_its_trace() -> None:
    trace = tracer(1.0).request("s", "Set", ())
    token = TRACE.set(trace)
    try:
        plain, own = continued((Message(topic="t"), Message(topic="t", attributes={"traceparent": "mine"})))
    finally:
        TRACE.reset(token)

    assert trace is not None
    assert plain.attributes == {"traceparent": trace.traceparent}
    assert own.attributes == {"traceparent": "mine"}
    assert continued((Message(topic="t"),)) == (Message(topic="t"),)


class ScriptedSink:
    """Answers with these receipts, or raises."""

    batch_max = 10

    def __init__(self, receipts: list[Receipt] | Exception) -> None:
        self._receipts = receipts

    async def open(self) -> None:
        return

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        if isinstance(self._receipts, Exception):
            raise self._receipts
        return self._receipts

    async def close(self) -> None:
        return


def delivery(index: int, **attributes: str) -> Delivery:
    message = Pending(
        id=f"{index:018x}",
        namespace="n",
        order="0",
        key="canary",
        version=1,
        commit_time=0,
        topic="canary",
        payload=b"canary",
        attributes=attributes,
    )
    return Delivery(message, index + 1)


async def spans_of(receipts: list[Receipt] | Exception, *deliveries: Delivery) -> list[Span]:
    queue = SpanQueue()
    sink = TracedSink(ScriptedSink(receipts), SpanTracer(queue, ratio=0.0, places={}), Destination("kafka", "host", 1))
    if isinstance(receipts, Exception):
        with pytest.raises(type(receipts)):
            await sink.publish(deliveries)
    else:
        assert await sink.publish(deliveries) == receipts
    return queue.take()


async def test_each_watched_message_of_a_batch_has_a_span_with_its_own_outcome() -> None:
    watched = [delivery(index, traceparent=SAMPLED) for index in range(3)]
    others = [delivery(3), delivery(4, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00"), delivery(5, traceparent="x")]
    receipts: list[Receipt] = [None, Refused("canary"), UNTRIED, None, None, None]
    spans = await spans_of(receipts, *watched, *others)

    told = [(span.attributes["statesidecar.outbox.outcome"], span.failed) for span in spans]
    assert told == [("delivered", False), ("refused", True), ("untried", False)]
    assert [span.attributes["statesidecar.outbox.attempt"] for span in spans] == [1, 2, 3]
    assert all(span.linked and span.parent == Parent(TRACE_ID, SPAN_ID, "", remote=True) for span in spans)
    assert not any("canary" in str(span) for span in spans)


async def test_a_sink_that_is_away_leaves_the_outcome_unknown() -> None:
    [span] = await spans_of(SinkUnavailable("canary"), delivery(0, traceparent=SAMPLED))

    assert span.attributes["statesidecar.outbox.outcome"] == "unknown"
    assert span.attributes["error.type"] == "SINK_UNAVAILABLE"
    assert span.failed
    assert "canary" not in str(span)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://who:secret@db.example:5433/name?x=y", Destination("postgresql", "db.example", 5433)),
        ("redis://cache.example/0", Destination("redis", "cache.example")),
        ("redis+sentinel://a:1,b:2/name", Destination("redis")),
        ("sqlite:///secret/path/state.db", Destination("sqlite")),
        ("memory://", Destination("memory")),
        ("dynamodb://table", Destination("aws.dynamodb")),
    ],
)
def test_a_backend_is_told_by_what_it_is_and_where(url: str, found: Destination) -> None:
    assert destination(url) == found
