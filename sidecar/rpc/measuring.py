"""What is measured of every RPC, in one place around all of them: how long it took, how it ended, and its trace.

A histogram's `record` and two looks at a clock, some µs together: cheap enough for each call. What is sampled costs more.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import grpc

from sidecar.core.histograms import Exemplar, Histogram
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.tracing import TRACE, Trace, Tracer
from sidecar.core.windows import LastMinute
from sidecar.rpc.calls import Context
from sidecar.rpc.large import Carrying

Metadata = Iterable[tuple[str, str | bytes]]
UNARY = Callable[[Any, Context], Awaitable[Any]]
NO_KIND = "none"
"""The namespace kind of an RPC that has no namespace."""
OK, CANCELLED, UNKNOWN = "ok", "cancelled", "unknown"
ABORTED = "aborted"
"""A conflict: the contract's one law."""
_MODES = {mode.value: mode.name.lower() for mode in ServingMode}


class Series(NamedTuple):
    """What durations are told apart by: each bounded, none of a caller's making."""

    rpc: str
    kind: str
    mode: str
    outcome: str


class Requests:
    """The durations of all RPCs, in seconds, and the streams that are open.

    `kind_of` answers a namespace's kind, `mode` the daemon's: what replies don't say. `tracer` None: nothing is traced.
    """

    def __init__(
        self, *, kind_of: Callable[[str], str], mode: Callable[[], ServingMode], tracer: Tracer | None = None
    ) -> None:
        self.durations: dict[Series, Histogram] = {}
        self.last_minute = LastMinute(self.durations, time.monotonic)
        self.open_streams: Counter[str] = Counter()
        self._kind_of = kind_of
        self._mode = mode
        self._tracer = tracer

    def unary(self, service: str, rpc: str, behaviour: UNARY) -> UNARY:
        """The behaviour, measured."""
        monotonic = time.perf_counter

        async def measured(request: Any, context: Context) -> Any:
            began_s, outcome, mode, error, served = monotonic(), CANCELLED, 0, None, 0
            trace = None if self._tracer is None else self._traced(self._tracer, service, rpc, context)
            try:
                reply = await behaviour(request, context)
                outcome, mode = OK, getattr(reply, "mode", 0)
                if trace is not None:
                    served = getattr(reply, "served_by", 0)
                return reply
            except Exception as exc:
                outcome, error = outcome_of(context), exc
                raise
            finally:
                at = Series(rpc, self._kind(request), _MODES[mode or self._mode()], outcome)
                self._record(at, monotonic() - began_s, trace)
                if trace is not None:
                    trace.end(outcome.upper(), error, _labels(at, served))

        return measured

    @property
    def traces(self) -> bool:
        """Whether some requests are watched."""
        return self._tracer is not None

    def trace(self, service: str, rpc: str, metadata: Metadata) -> Trace | None:
        """A request has come that is to be watched; None: it is not."""
        return None if self._tracer is None else self._tracer.request(service, rpc, metadata)

    def answered(
        self, rpc: str, namespace: str, mode: ServingMode | None, outcome: str, *, seconds: float, count: int
    ) -> None:
        """Requests that were answered together, after so many seconds each. `mode` None: the daemon's."""
        at = Series(rpc, self._kind_of(namespace), _MODES[mode or self._mode()], outcome)
        self._histogram(at).record(seconds, count)

    def streaming(self, rpc: str, behaviour: UNARY) -> UNARY:
        """A behaviour that answers with a stream: counted while it is open."""

        async def counted(request: Any, context: Context) -> None:
            self.open_streams[rpc] += 1
            try:
                await behaviour(request, context)
            finally:
                self.open_streams[rpc] -= 1

        return counted

    # ----

    def _traced(self, tracer: Tracer, service: str, rpc: str, context: Context) -> Trace | None:
        trace = getattr(context, "trace", None) or tracer.request(service, rpc, context.invocation_metadata() or ())
        if trace is not None:
            TRACE.set(trace)  # each call has a task, so a context, of its own
        return trace

    def _kind(self, request: Any) -> str:
        message = request.message if isinstance(request, Carrying) else request
        namespace = getattr(message, "namespace", None)
        return NO_KIND if namespace is None else self._kind_of(namespace)

    def _record(self, at: Series, seconds: float, trace: Trace | None) -> None:
        histogram = self._histogram(at)
        histogram.record(seconds)
        if trace is not None:
            histogram.keep(Exemplar(seconds, time.time(), trace.trace_id, trace.span_id))

    def _histogram(self, at: Series) -> Histogram:
        histogram = self.durations.get(at)
        if histogram is None:
            histogram = self.durations[at] = Histogram()
        return histogram


def _labels(at: Series, served: int) -> dict[str, str]:
    """What a trace tells of a request beside its RPC and outcome."""
    told = {"namespace.kind": at.kind, "mode": at.mode}
    return told | {"tier": Tier(served).name.lower()} if served else told


def outcome_of(context: Context) -> str:
    """The status that a behaviour told before it raised, by `rpc.status.abort`."""
    code: Any = context.code()  # typed as a number, and a member of the enum
    return code.name.lower() if isinstance(code, grpc.StatusCode) else UNKNOWN
