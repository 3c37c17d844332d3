"""A collector of a test's own: OTLP's gRPC services, which keep what they are sent, and can be told to refuse or to hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

WAIT_S = 30.0
"""Bounds how long a failing test waits."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span, its attributes as a dictionary, and those of who sent it."""

    span: Span
    attributes: dict[str, Any]
    resource: dict[str, Any]

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()


class Receiver:
    """What came so far. `refusal`: the status that exports get now; `hanging`: they get no answer."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.metrics: dict[str, Metric] = {}
        """The latest of each name."""
        self.resource: dict[str, Any] = {}
        """Of the metrics."""
        self.metadata: list[tuple[str, str | bytes]] = []
        self.raw = b""
        """All that came, as bytes."""
        self.exports = 0
        self.asked = 0
        self.refusal: grpc.StatusCode | None = None
        self.hanging = False
        self.port = 0
        self._news = threading.Condition()
        self._released = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def until(self, found: Callable[[], T]) -> T:
        """What `found` answers, once that is something. Blocks: call it in a thread from an event loop."""
        end_s = time.monotonic() + WAIT_S
        with self._news:
            result = found()
            while not result:
                if not self._news.wait(max(end_s - time.monotonic(), 0.0)):
                    names = sorted({one.span.name for one in self.spans})
                    raise AssertionError(f"not received in time; spans {names}, metrics {sorted(self.metrics)}")
                result = found()
            return result

    def named(self, name: str) -> list[ReceivedSpan]:
        """The spans of that name."""
        return [one for one in self.spans if one.span.name == name]

    def release(self) -> None:
        """Whoever hangs goes on."""
        self._released.set()

    def took_traces(self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any) -> Any:
        with self._taking(request.SerializeToString(), context):
            for of_resource in request.resource_spans:
                resource = attributes(of_resource.resource.attributes)
                self.spans += [
                    ReceivedSpan(span, attributes(span.attributes), resource)
                    for of_scope in of_resource.scope_spans
                    for span in of_scope.spans
                ]
        return trace_service_pb2.ExportTraceServiceResponse()

    def took_metrics(self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: Any) -> Any:
        with self._taking(request.SerializeToString(), context):
            for of_resource in request.resource_metrics:
                self.resource = attributes(of_resource.resource.attributes)
                for of_scope in of_resource.scope_metrics:
                    self.metrics |= {metric.name: metric for metric in of_scope.metrics}
        return metrics_service_pb2.ExportMetricsServiceResponse()

    @contextmanager
    def _taking(self, raw: bytes, context: Any) -> Iterator[None]:
        with self._news:
            self.asked += 1
            self._news.notify_all()
        if self.hanging:
            self._released.wait()
        if self.refusal is not None:
            context.abort(self.refusal, "the test wants it so: secret-of-the-collector")
        with self._news:
            yield
            self.exports += 1
            self.raw += raw
            self.metadata = list(context.invocation_metadata())
            self._news.notify_all()


def attributes(pairs: Any) -> dict[str, Any]:
    """As a dictionary."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def receiving(port: int = 0, receiver: Receiver | None = None, credentials: Any = None) -> Iterator[Receiver]:
    """A receiver that listens; with its port and itself given, one that is back."""
    mine = receiver or Receiver()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's
            return mine.took_traces(request, context)

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
            return mine.took_metrics(request, context)

    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)  # type: ignore[no-untyped-call]  # generated
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)  # type: ignore[no-untyped-call]
    address = f"127.0.0.1:{port}"
    mine.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield mine
    finally:
        mine.release()
        server.stop(grace=None).wait()
