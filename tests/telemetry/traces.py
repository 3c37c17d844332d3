"""What the tests of traces share: a daemon that sends them to a receiver, and the spans of a trace as a tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from statesidecar.v1 import outbox_service_pb2, types_pb2
from statesidecar.v1 import state_service_pb2 as pb
from tests.support.daemon import RunningDaemon, Stubs, running_daemon
from tests.support.otlp import ReceivedSpan, Receiver

SERVICE = "statesidecar.v1.StateService"
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01"
NS = "session"


@asynccontextmanager
async def traced_daemon(
    data_dir: Path, receiver: Receiver, *, telemetry: dict[str, Any] | None = None, **given: Any
) -> AsyncIterator[RunningDaemon]:
    """A daemon on SQLite that samples all that it is not told about, and exports ten times a second."""
    chosen = {"otlp_endpoint": receiver.endpoint, "export_interval_s": 0.1, "trace_ratio": 1.0, **(telemetry or {})}
    defaults: dict[str, Any] = {"tiers": {"cold": "none://"}}
    async with running_daemon(data_dir, telemetry=chosen, **(defaults | given)) as daemon:
        yield daemon


async def received(receiver: Receiver, name: str, count: int = 1) -> list[ReceivedSpan]:
    """So many spans of a name, once they are there."""

    def found() -> list[ReceivedSpan]:
        spans = receiver.named(name)
        return spans if len(spans) >= count else []

    return await asyncio.to_thread(receiver.until, found)


def message(payload: bytes = b"done", **attributes: str) -> types_pb2.OutboxMessage:
    return types_pb2.OutboxMessage(topic="turn.done", payload=payload, attributes=attributes)


def written(key: str = "k", *messages: types_pb2.OutboxMessage, **fields: Any) -> pb.SetRequest:
    return pb.SetRequest(namespace=NS, key=key, value=b"v", outbox=messages, **fields)


async def consumed(daemon: Stubs, count: int = 1) -> list[types_pb2.OutboxMessage]:
    """The next messages, acknowledged."""
    call = daemon.outbox.Consume()
    await call.write(outbox_service_pb2.ConsumeRequest(namespace=NS))
    got: list[outbox_service_pb2.DeliveredMessage] = []
    while len(got) < count:
        got += (await call.read()).messages
    await call.write(outbox_service_pb2.ConsumeRequest(acknowledged_ids=[one.id for one in got]))
    await call.done_writing()
    while await call.read():
        pass
    return [one.message for one in got]


def children(spans: list[ReceivedSpan], of: ReceivedSpan) -> list[ReceivedSpan]:
    """The spans that one has right below it."""
    return [one for one in spans if one.trace_id == of.trace_id and one.parent_id == of.span_id]
