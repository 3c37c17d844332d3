"""Caller, daemon, a third party's collector, receiver: one request is one trace, with the caller's trace id."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.instrumentation.grpc import aio_client_interceptors
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servers.rotel import Rotel
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub
from tests.support.otlp import Receiver, receiving
from tests.telemetry.test_otlp_trouble import exports, failed
from tests.telemetry.traces import SERVICE, children, consumed, message, received, traced_daemon, written


class Caller:
    """An instrumented client's SDK: what it sampled, and nothing sent anywhere."""

    def __init__(self) -> None:
        self._ended = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._ended))

    @property
    def ids(self) -> list[tuple[str, str]]:
        """Trace and span of each call that has ended."""
        contexts = [span.get_span_context() for span in self._ended.get_finished_spans()]
        return [(f"{one.trace_id:032x}", f"{one.span_id:016x}") for one in contexts if one is not None]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


async def test_one_request_with_a_message_is_one_trace(tmp_path: Path, receiver: Receiver) -> None:
    caller = Caller()
    with Rotel(receiver.endpoint) as collector:
        telemetry = {"otlp_endpoint": collector.endpoint, "trace_ratio": 0.0}
        async with traced_daemon(tmp_path, receiver, telemetry=telemetry) as daemon:
            interceptors = aio_client_interceptors(tracer_provider=caller.provider)  # type: ignore[no-untyped-call]  # its own
            target = daemon.daemon.addresses[0]
            async with grpc.aio.insecure_channel(target, interceptors=interceptors) as channel:
                await StateServiceStub(channel).Set(written("k", message()))
            await consumed(daemon)
            await received(receiver, "publish state-sidecar")
            await received(receiver, f"{SERVICE}/Set")
            await asyncio.to_thread(receiver.until, lambda: "statesidecar.request.duration" in receiver.metrics)

    [(trace_id, span_id)] = caller.ids
    assert {one.trace_id for one in receiver.spans} == {trace_id}
    [server] = receiver.named(f"{SERVICE}/Set")
    assert server.parent_id == span_id
    assert {one.span.name for one in children(receiver.spans, server)} == {
        "lease memory",
        "commit sqlite",
        "fill memory",
        "publish state-sidecar",
    }
    [delivery] = receiver.named("publish state-sidecar")
    assert delivery.span.links[0].span_id == server.span.span_id
    durations = receiver.metrics["statesidecar.request.duration"].exponential_histogram.data_points
    assert {exemplar.span_id for point in durations for exemplar in point.exemplars} == {server.span.span_id}


async def test_a_collector_that_was_killed_gets_what_waited_once_it_is_back(tmp_path: Path, receiver: Receiver) -> None:
    with Rotel(receiver.endpoint) as collector:
        async with traced_daemon(tmp_path, receiver, telemetry={"otlp_endpoint": collector.endpoint}) as daemon:
            collector.kill()
            await daemon.state.Set(written())
            await failed(daemon, "traces")
            collector.restart()
            await received(receiver, f"{SERVICE}/Set")
            assert exports(daemon).spans_dropped == 0
