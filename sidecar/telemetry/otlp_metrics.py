"""The families of `metrics.py` as the OpenTelemetry SDK has metrics, for its exporter: what Prometheus is told, too.

Histograms are exponential ones, with every bucket that was recorded into. Counters and histograms are cumulative: a
batch that was lost costs resolution, not truth.
"""

from __future__ import annotations

import resource as rusage
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sidecar.core.histograms import INDEX_MIN, SCALE, Distribution, upper_bound
from sidecar.telemetry.instruments import Form
from sidecar.telemetry.metrics import Family
from sidecar.telemetry.process import resident_bytes

_CUMULATIVE = AggregationTemporality.CUMULATIVE


@dataclass(frozen=True, slots=True)
class Counted:
    """Since when, and up to when, something was counted."""

    start_ns: int
    now_ns: int


def metrics_data(
    families: Iterable[Family], resource: Resource, scope: InstrumentationScope, counted: Counted
) -> MetricsData:
    """All of them, and the process's."""
    metrics = [_metric(family, counted) for family in families if family.points]
    found = ScopeMetrics(scope, [*metrics, *_process(counted)], "")
    return MetricsData([ResourceMetrics(resource, [found], "")])


def _metric(family: Family, counted: Counted) -> Metric:
    instrument, points = family
    labelled = [(dict(zip(instrument.labels, labels, strict=True)), value) for labels, value in points]
    if instrument.form is Form.HISTOGRAM:
        told = [_distribution(labels, value, counted) for labels, value in labelled if isinstance(value, Distribution)]
        return Metric(instrument.name, instrument.meaning, instrument.unit, ExponentialHistogram(told, _CUMULATIVE))
    numbers = [_number(labels, value, counted) for labels, value in labelled if not isinstance(value, Distribution)]
    counter = instrument.form is Form.COUNTER
    data = Sum(numbers, _CUMULATIVE, is_monotonic=True) if counter else Gauge(numbers)
    return Metric(instrument.name, instrument.meaning, instrument.unit, data)


def _number(labels: dict[str, str], value: float, counted: Counted) -> NumberDataPoint:
    number = int(value) if isinstance(value, bool) else value
    return NumberDataPoint(labels, counted.start_ns, counted.now_ns, number)


def _distribution(labels: dict[str, str], value: Distribution, counted: Counted) -> ExponentialHistogramDataPoint:
    """Without the empty buckets at both ends. The least and the largest value are told as their buckets' bounds."""
    counts = value.counts
    filled = [place for place, count in enumerate(counts) if count]
    first, last = (filled[0], filled[-1]) if filled else (0, -1)
    return ExponentialHistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=counted.start_ns,
        time_unix_nano=counted.now_ns,
        count=value.count,
        sum=value.sum,
        scale=SCALE,
        zero_count=0,
        positive=Buckets(offset=INDEX_MIN + first, bucket_counts=counts[first : last + 1]),
        negative=Buckets(offset=0, bucket_counts=[]),
        flags=0,
        min=upper_bound(first - 1) if filled else 0.0,
        max=upper_bound(last) if filled else 0.0,
        exemplars=[
            Exemplar({}, one.value, int(one.time * 1e9), int(one.span_id, 16), int(one.trace_id, 16))
            for one in value.exemplars.values()
        ],
    )


def _process(counted: Counted) -> Iterator[Metric]:
    """CPU time and memory, by the conventions for processes."""
    used = rusage.getrusage(rusage.RUSAGE_SELF)
    modes = (("user", used.ru_utime), ("system", used.ru_stime))
    spent = [_number({"cpu.mode": mode}, seconds, counted) for mode, seconds in modes]
    about = "CPU seconds that the process has used"
    yield Metric("process.cpu.time", about, "s", Sum(spent, _CUMULATIVE, is_monotonic=True))
    if resident := resident_bytes():
        held = Sum([_number({}, resident, counted)], _CUMULATIVE, is_monotonic=False)
        yield Metric("process.memory.usage", "Memory of the process that is resident", "By", held)
