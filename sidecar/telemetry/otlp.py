"""Spans and metrics on their way to a collector, by OTLP over gRPC, from a thread of their own.

A collector that is away, hangs or refuses costs the daemon nothing but that thread's patience: spans wait in a bounded
queue, what doesn't fit is dropped and counted, and the log has a line when it goes and one when it is back. The SDK's own
log is silenced; it would repeat itself, with texts that others made.

The OTEL_EXPORTER_OTLP_* variables are the exporters' own: headers, certificates, compression, timeout.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar import __version__
from sidecar.telemetry.figures import ExportFigures, Figures
from sidecar.telemetry.metrics import collect
from sidecar.telemetry.tracing import BATCH, Span, SpanQueue

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.resources import Resource

    from sidecar.telemetry.otlp_spans import SpanExporter

log = logging.getLogger(__name__)

SERVICE = "state-sidecar"
TRACES, METRICS = "traces", "metrics"
SPANS_INTERVAL_S = 1.0
"""A span waits at most so long, unless the collector is away."""
PATIENCE_S_MAX = 5.0
"""Between attempts while the collector is away: from a second on, doubled with each."""
ATTEMPTS_MAX = 10
"""Of a batch of spans: one that the collector never takes must not hold up the others."""
STOP_S = 2.0
"""What is there when the daemon stops has so long to go out."""


@dataclass(frozen=True, slots=True)
class _Exporters:
    """The SDK's, of one resource."""

    spans: SpanExporter
    metrics: OTLPMetricExporter
    resource: Resource

    def shutdown(self) -> None:
        """A call under way ends now, too."""
        self.spans.shutdown()
        self.metrics.shutdown()


class Exports:
    """Sends what `queue` gets at once, and `figures` each `interval_s`. `start`, then `stop`, from any thread."""

    def __init__(
        self, queue: SpanQueue, figures: Callable[[], Figures | None], *, endpoint: str, interval_s: float, app: str
    ) -> None:
        self._queue = queue
        self._figures = figures
        self._endpoint = endpoint
        self._interval_s = interval_s
        self._app = app
        self._dropped = 0
        self._failed: Counter[str] = Counter({TRACES: 0, METRICS: 0})
        self._away: dict[str, str] = {}
        self._batch: list[Span] = []
        self._attempts = 0
        self._metrics_s = time.monotonic() + interval_s
        self._exporters: _Exporters | None = None
        self._reasons = _Reasons()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def figures(self) -> ExportFigures:
        """What did not go out."""
        return ExportFigures(spans_dropped=self._queue.dropped + self._dropped, failed=dict(self._failed))

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is there, for at most about STOP_S. Idempotent."""
        if not self._thread.is_alive():
            return
        self._stopping.set()
        self._queue.many.set()
        self._thread.join(STOP_S)
        if self._thread.is_alive() and self._exporters is not None:
            self._exporters.shutdown()
            self._thread.join(STOP_S / 4)

    # ---- the thread

    def _run(self) -> None:
        try:
            self._exporters = exporters = self._open()
            while not self._stopping.is_set():
                self._queue.many.wait(self._pause_s())
                self._queue.many.clear()
                self._send(exporters)
            self._metrics_s = 0.0
            self._send(exporters)
        except Exception as exc:  # noqa: BLE001  # a thread that ends unheard exports nothing ever after
            log.error("telemetry is not exported any more: %s", type(exc).__name__)  # noqa: TRY400  # texts of others
        finally:
            self._dropped += len(self._batch) + len(self._queue)
            self._batch = []
            if self._exporters is not None:
                self._exporters.shutdown()

    def _pause_s(self) -> float:
        if self._attempts:
            return min(2.0 ** (self._attempts - 1), PATIENCE_S_MAX)
        until_metrics_s = max(self._metrics_s - time.monotonic(), 0.0)
        return min(until_metrics_s, SPANS_INTERVAL_S, self._interval_s)

    def _send(self, exporters: _Exporters) -> None:
        """All the spans that are there, unless the collector is away, then the metrics, if it is time."""
        while self._batch or len(self._queue):
            if not self._send_spans(exporters) or len(self._batch) + len(self._queue) < BATCH:
                break
        if time.monotonic() >= self._metrics_s:
            self._metrics_s = time.monotonic() + self._interval_s
            self._send_metrics(exporters)

    def _send_spans(self, exporters: _Exporters) -> bool:
        from sidecar.telemetry.otlp_spans import request  # noqa: PLC0415  # only where something is exported

        self._batch = self._batch or self._queue.take()
        batch, resource = self._batch, exporters.resource
        taken = self._taken(lambda: exporters.spans.export(request(batch, resource, SERVICE, __version__)))
        self._told(TRACES, taken)
        self._attempts = 0 if taken else self._attempts + 1
        if not taken and self._attempts < ATTEMPTS_MAX:
            return False
        if not taken:
            self._dropped += len(self._batch)
        self._batch, self._attempts = [], 0
        return taken

    def _send_metrics(self, exporters: _Exporters) -> None:
        from sidecar.telemetry.otlp_metrics import Counted, metrics_data  # noqa: PLC0415

        figures = self._figures()
        if figures is None:
            return
        counted = Counted(figures.start_time * 1_000_000, time.time_ns())
        resource, scope = exporters.resource, _scope()
        taken = self._taken(lambda: exporters.metrics.export(metrics_data(collect(figures), resource, scope, counted)))
        self._told(METRICS, taken)

    def _taken(self, export: Callable[[], Any]) -> bool:
        try:
            taken: bool = export().name == "SUCCESS"
        except Exception as exc:  # noqa: BLE001  # a bug in one export is no reason to make no others
            self._reasons.latest = type(exc).__name__
            return False
        return taken

    def _told(self, signal: str, taken: bool) -> None:
        """Count, and log what is news: that something is not taken any more, that all is again."""
        if not taken:
            self._failed[signal] += 1
            if not self._away:
                told = {"signal": signal, "endpoint": self._endpoint, "code": self._reasons.latest}
                log.warning("the collector does not take telemetry", extra=told)
            self._away[signal] = self._reasons.latest
        elif self._away.pop(signal, None) is not None and not self._away:
            log.info("the collector takes telemetry again", extra={"endpoint": self._endpoint})

    def _open(self) -> _Exporters:
        from grpc import StatusCode  # noqa: PLC0415  # all of these only where something is exported
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

        from sidecar.telemetry.otlp_spans import SpanExporter  # noqa: PLC0415

        self._reasons.listen()
        # None but the impossible: the repetition is ours, where a stop is heard and others don't wait.
        given: dict[str, Any] = {"retryable_error_codes": frozenset({StatusCode.OK})}
        if self._endpoint:
            given["endpoint"] = self._endpoint
        return _Exporters(SpanExporter(**given), OTLPMetricExporter(**given), _resource(self._app))


class _Reasons(logging.Handler):
    """Hears the SDK's log in its place, for why an export failed: a status's name, none of the texts."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.latest = ""

    def listen(self) -> None:
        """From now on, of this process: all of it, where they would not repeat themselves within a minute."""
        logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").filters.clear()
        logger = logging.getLogger("opentelemetry")
        logger.propagate = False
        logger.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """A line of theirs."""
        names = [getattr(each, "name", "") for each in record.args] if isinstance(record.args, tuple) else []
        self.latest = next(filter(None, names), self.latest)


def _scope() -> Any:
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

    return InstrumentationScope(SERVICE, __version__)


def _resource(app: str) -> Resource:
    """Who tells; what the environment says of it counts more."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415

    ours = {"service.name": SERVICE, "service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    if app:
        ours["statesidecar.app"] = app
    return Resource.create(ours).merge(OTELResourceDetector().detect())
