"""Spans as OTLP has them, and the SDK's exporter given those.

The SDK makes five objects of its own of each span, and then the message: five times the CPU time, all of it under the
lock that requests are answered under, too. So the message is made here, and the exporter has what is left: where to,
headers, certificates, compression, statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, SpanFlags, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource

from sidecar.telemetry.tracing import Span, SpanForm

_FORMS = {
    SpanForm.SERVER: SpanMessage.SPAN_KIND_SERVER,
    SpanForm.CLIENT: SpanMessage.SPAN_KIND_CLIENT,
    SpanForm.PRODUCER: SpanMessage.SPAN_KIND_PRODUCER,
}
_SAMPLED = 1
_LOCAL = _SAMPLED | SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = _LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_ERROR = Status(code=Status.STATUS_CODE_ERROR)
_ATTRIBUTES_KEPT = 1_024
"""Attributes that are made once: nearly all of ours have few values."""


class SpanExporter(OTLPSpanExporter):
    """The SDK's, which is given the request that it would have made."""

    def _translate_data(self, data: Any) -> ExportTraceServiceRequest:
        assert isinstance(data, ExportTraceServiceRequest)
        return data

    def _count_data(self, data: Any) -> int:
        assert isinstance(data, ExportTraceServiceRequest)
        return len(data.resource_spans[0].scope_spans[0].spans)


def request(spans: Sequence[Span], resource: Resource, name: str, version: str) -> Any:
    """All of them, of one resource, for `SpanExporter.export`. `name`, `version`: of the library that made them: us."""
    told = ResourceMessage(attributes=[_attribute(key, value) for key, value in resource.attributes.items()])
    scope = InstrumentationScope(name=name, version=version)
    by_scope = ScopeSpans(scope=scope, spans=[_message(span) for span in spans])
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=told, scope_spans=[by_scope])])


def _message(span: Span) -> SpanMessage:
    parent = span.parent
    flags = _REMOTE if parent is not None and parent.remote else _LOCAL
    message = SpanMessage(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        trace_state=span.state,
        parent_span_id=b"" if parent is None else bytes.fromhex(parent.span_id),
        name=span.name,
        kind=_FORMS[span.form],
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=[_attribute(key, value) for key, value in span.attributes.items()],
        status=_ERROR if span.failed else None,
        flags=flags,
    )
    if span.linked and parent is not None:
        message.links.add(trace_id=message.trace_id, span_id=message.parent_span_id, flags=flags)
    return message


@lru_cache(_ATTRIBUTES_KEPT, typed=True)
def _attribute(key: str, value: object) -> KeyValue:
    match value:
        case bool():
            told = AnyValue(bool_value=value)
        case int():
            told = AnyValue(int_value=value)
        case float():
            told = AnyValue(double_value=value)
        case _:
            told = AnyValue(string_value=str(value))
    return KeyValue(key=key, value=told)
