"""Traces: which requests are watched, and the spans that they leave. No tracing library is needed for that.

A request that is not watched costs a look at its metadata and one at chance. A span is a small record until it is sent
(`otlp_spans.py`), so that a watched one is cheap, too. Names and attributes are those of OpenTelemetry's conventions for
RPCs, databases and messaging. No key, value, topic or error's text is in them.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from random import random
from typing import NamedTuple

from sidecar.core.cache import CacheUnavailable
from sidecar.core.errors import DataLoss, DeadlineExceeded, Defect, OutcomeUnknown, SidecarError, Unavailable
from sidecar.core.modes import Tier
from sidecar.core.tracing import Destination
from sidecar.telemetry.destinations import server_attributes

QUEUE_MAX = 4_096
"""Spans that wait to be sent; a megabyte or two."""
BATCH = 512
"""So many are sent together; when they are there, at once."""
STATE_CHARACTERS_MAX = 1024
"""Of a caller's tracestate; what is longer is not carried on."""

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
"""https://www.w3.org/TR/trace-context/#traceparent-header"""
_SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The statuses that make a server's span an error, by the conventions for gRPC."""
_TIER_ERRORS = (Unavailable, DeadlineExceeded, OutcomeUnknown, DataLoss, Defect, CacheUnavailable)
"""Of the errors of a tier, those that are none of its answers."""


class SpanForm(Enum):
    """OpenTelemetry's kind of a span."""

    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"


class Parent(NamedTuple):
    """The span that another continues, in whatever process. `state`: the tracestate that comes with it."""

    trace_id: str
    span_id: str
    state: str = ""
    remote: bool = False


@dataclass(slots=True, eq=False)
class Span:
    """One that has ended, or will. `linked`: it has a link to its parent, which had ended when it began."""

    name: str
    form: SpanForm
    trace_id: str
    span_id: str
    parent: Parent | None
    start_ns: int
    attributes: Mapping[str, str | int]
    state: str = ""
    end_ns: int = 0
    failed: bool = False
    linked: bool = False
    began_ns: int = field(default_factory=time.perf_counter_ns)

    def end(self) -> None:
        """Now, however the clock was set meanwhile."""
        self.end_ns = self.start_ns + time.perf_counter_ns() - self.began_ns


class SpanQueue:
    """Spans that wait to be sent, from any thread. When they are too many, the newest are dropped, and counted."""

    def __init__(self, spans_max: int = QUEUE_MAX) -> None:
        self.dropped = 0
        self.many = threading.Event()
        """There are enough to be sent now."""
        self._max = spans_max
        self._spans: deque[Span] = deque()

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, span: Span) -> None:
        """One that has ended."""
        if len(self._spans) >= self._max:
            self.dropped += 1
            return
        self._spans.append(span)
        if len(self._spans) == BATCH:
            self.many.set()

    def take(self) -> list[Span]:
        """The oldest, at most a batch."""
        return [self._spans.popleft() for _ in range(min(len(self._spans), BATCH))]


class Place(NamedTuple):
    """What is known of a backend. `system`: its name in the conventions."""

    system: str
    attributes: Mapping[str, str | int]


class SpanTracer:
    """Implements `core.tracing.Tracer`: sampling by the caller's decision, and by `ratio` where there is none."""

    def __init__(self, queue: SpanQueue, *, ratio: float, places: Mapping[Tier, Place]) -> None:
        self.add = queue.add
        self._ratio = ratio
        self._places = places
        self._operations: dict[tuple[Tier, str], tuple[str, Mapping[str, str | int]]] = {}

    def request(self, service: str, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> RequestSpan | None:
        """A request has come; None: it is not watched."""
        parent, sampled = None, None
        for name, _ in metadata:
            if name == "traceparent":
                parent, sampled = _continued(metadata)
                break
        if sampled is None:
            sampled = random() < self._ratio  # noqa: S311  # a share of all is no secret
        return RequestSpan(self, f"{service}/{method}", parent) if sampled else None

    def delivery(self, traceparent: str, to: Destination, message_id: str, attempt: int) -> DeliverySpan | None:
        """A message goes out; None: nobody watched the write that it came with."""
        parent, sampled = _parse(traceparent)
        return DeliverySpan(self, parent, to, message_id, attempt) if parent is not None and sampled else None

    def named(self, tier: Tier, operation: str) -> tuple[str, Mapping[str, str | int]]:
        """The name and attributes of an operation's span; made once."""
        known = self._operations.get((tier, operation))
        if known is None:
            place = self._places[tier]
            attributes: dict[str, str | int] = {
                "db.system.name": place.system,
                "db.operation.name": operation,
                "statesidecar.tier": tier.name.lower(),
                **place.attributes,
            }
            known = self._operations[tier, operation] = (f"{operation} {place.system}", attributes)
        return known


class RequestSpan:
    """Implements `core.tracing.Trace`: the server's span of an RPC."""

    __slots__ = ("_method", "_span", "_tracer")

    def __init__(self, tracer: SpanTracer, method: str, parent: Parent | None) -> None:
        self._tracer = tracer
        self._method = method
        ids = os.urandom(24).hex()
        trace_id, state = (ids[:32], "") if parent is None else (parent.trace_id, parent.state)
        self._span = Span(method, SpanForm.SERVER, trace_id, ids[32:], parent, time.time_ns(), {}, state)

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return self._span.trace_id

    @property
    def span_id(self) -> str:
        """16 hex digits."""
        return self._span.span_id

    @property
    def traceparent(self) -> str:
        """For whoever continues the trace."""
        return f"00-{self._span.trace_id}-{self._span.span_id}-01"

    @property
    def ended(self) -> bool:
        """Whether it was answered."""
        return self._span.end_ns != 0

    def operation(self, tier: Tier, name: str) -> OperationSpan:
        """A call to a tier begins."""
        return OperationSpan(self._tracer, self._span, *self._tracer.named(tier, name))

    def end(self, code: str, error: BaseException | None, labels: Mapping[str, str]) -> None:
        """It was answered."""
        span = self._span
        attributes: dict[str, str | int] = {
            "rpc.system.name": "grpc",
            "rpc.method": self._method,
            "rpc.response.status_code": code,
        }
        for name, value in labels.items():
            attributes[f"statesidecar.{name}"] = value
        if code != "OK":
            attributes["error.type"] = _reason(error) or code
        span.attributes = attributes
        span.failed = code in _SERVER_ERRORS
        span.end()
        self._tracer.add(span)


class OperationSpan:
    """Implements `core.tracing.Operation`."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: SpanTracer, parent: Span, name: str, attributes: Mapping[str, str | int]) -> None:
        self._tracer = tracer
        above = Parent(parent.trace_id, parent.span_id, parent.state)
        span_id = os.urandom(8).hex()
        self._span = Span(
            name, SpanForm.CLIENT, parent.trace_id, span_id, above, time.time_ns(), attributes, parent.state
        )

    def end(self, error: BaseException | None = None) -> None:
        """It was answered, or not; a refusal is an answer."""
        span = self._span
        if error is not None:
            span.failed = isinstance(error, _TIER_ERRORS) or not isinstance(error, SidecarError)
            name = "error.type" if span.failed else "statesidecar.refusal"
            span.attributes = {**span.attributes, name: _reason(error) or type(error).__name__}
        span.end()
        self._tracer.add(span)


class DeliverySpan:
    """Implements `core.tracing.Publication`: in the trace of the write, and with a link to it, whose span has ended."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: SpanTracer, parent: Parent, to: Destination, message_id: str, attempt: int) -> None:
        self._tracer = tracer
        attributes: dict[str, str | int] = {
            "messaging.system": to.system,
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.message.id": message_id,
            "statesidecar.outbox.attempt": attempt,
            **server_attributes(to.address, to.port),
        }
        span_id = os.urandom(8).hex()
        name = f"publish {to.system}"
        self._span = Span(
            name, SpanForm.PRODUCER, parent.trace_id, span_id, parent, time.time_ns(), attributes, linked=True
        )

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        """What became of it."""
        span = self._span
        told: dict[str, str | int] = {"statesidecar.outbox.outcome": outcome}
        if error is not None or outcome == "refused":
            span.failed = True
            told["error.type"] = "refused" if error is None else _reason(error) or type(error).__name__
        span.attributes = {**span.attributes, **told}
        span.end()
        self._tracer.add(span)


def _reason(error: BaseException | None) -> str:
    """The constant that names an error: ours, or of the one that gRPC's own was raised for."""
    for one in (error, error.__context__ if error is not None else None):
        if isinstance(one, SidecarError):
            return one.reason
    return ""


def _continued(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[Parent | None, bool | None]:
    """What the caller says: its span, and whether the trace is watched. None: nothing that can be understood."""
    traceparent, state = None, ""
    for name, value in metadata:
        if name == "traceparent":
            if traceparent is not None:
                return None, None
            traceparent = value
        elif name == "tracestate" and isinstance(value, str):
            state = f"{state},{value}" if state else value
    return _parse(traceparent, state if len(state) <= STATE_CHARACTERS_MAX else "")


def _parse(traceparent: str | bytes | None, state: str = "") -> tuple[Parent | None, bool | None]:
    found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if found is None:
        return None, None
    version, trace_id, span_id, flags, more = found.groups()
    if more is not None and version == "00":
        return None, None
    if not int(flags, 16) & 1:
        return None, False
    return Parent(trace_id, span_id, state, remote=True), True
