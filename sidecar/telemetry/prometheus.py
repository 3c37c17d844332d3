"""The text of /metrics, as Prometheus and OpenMetrics have it. https://prometheus.io/docs/specs/om/open_metrics_spec/"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector

from sidecar.core.histograms import Distribution, Exemplar, upper_bound
from sidecar.telemetry.figures import Figures
from sidecar.telemetry.instruments import Form, Instrument
from sidecar.telemetry.metrics import Family, collect


def exposition(figures: Figures, accept: str = "") -> tuple[str, bytes]:
    """The content type and the text: OpenMetrics, which has exemplars, for whoever accepts that."""
    families = list(collect(figures))
    registry = CollectorRegistry()
    registry.register(_Collector([family for family in families if family.instrument.form is not Form.HISTOGRAM]))
    ProcessCollector(registry=registry)
    open_metrics = "application/openmetrics-text" in accept
    # Most of the text is buckets. The library takes twenty times as long for them, while others wait for the interpreter.
    histograms = "".join(
        line
        for family in families
        if family.instrument.form is Form.HISTOGRAM
        for line in _histogram(family, exemplars=open_metrics)
    ).encode()
    if open_metrics:
        from prometheus_client.openmetrics import exposition as openmetrics  # noqa: PLC0415  # not at rest

        return openmetrics.CONTENT_TYPE_LATEST, histograms + openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # its own
    return CONTENT_TYPE_PLAIN_0_0_4, histograms + generate_latest(registry)


class _Collector:
    """What was read from the figures, but for histograms."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._families)


def _metric(family: Family) -> Metric:
    instrument, points = family
    form = CounterMetricFamily if instrument.form is Form.COUNTER else GaugeMetricFamily
    metric = form(instrument.prometheus, instrument.meaning, labels=instrument.labels)
    for labels, value in points:
        assert not isinstance(value, Distribution), instrument.name
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, *, exemplars: bool) -> Iterator[str]:
    instrument, points = family
    name = instrument.prometheus
    yield f"# HELP {name} {_escaped(instrument.meaning)}\n# TYPE {name} histogram\n"
    for labels, value in points:
        assert isinstance(value, Distribution), instrument.name
        buckets, others = _heads(instrument, labels)
        total, begin = 0, 0
        for end, head in buckets:
            total += sum(value.counts[begin:end])
            kept = _exemplar(value, begin, end) if exemplars and value.exemplars else None
            yield f"{head}{total}\n" if kept is None else f"{head}{total} {_shown(kept)}\n"
            begin = end or 0
        yield f"{name}_sum{others} {value.sum!r}\n{name}_count{others} {total}\n"


@cache  # as many as there are series, which are bounded
def _heads(instrument: Instrument, labels: tuple[str, ...]) -> tuple[tuple[tuple[int | None, str], ...], str]:
    """The end of each bucket in a distribution, with what its line begins with; and the labels of the other lines."""
    told = [f'{label}="{_escaped(value)}"' for label, value in zip(instrument.labels, labels, strict=True)]
    bounds: list[tuple[int | None, str]] = [(place + 1, f"{upper_bound(place):.6g}") for place in instrument.places]
    buckets = tuple(
        (end, instrument.prometheus + "_bucket" + _braced([*told, f'le="{bound}"']) + " ")
        for end, bound in [*bounds, (None, "+Inf")]
    )
    return buckets, _braced(told)


def _braced(labels: list[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _shown(exemplar: Exemplar) -> str:
    labels = f'{{trace_id="{exemplar.trace_id}",span_id="{exemplar.span_id}"}}'
    return f"# {labels} {exemplar.value!r} {exemplar.time!r}"


def _exemplar(value: Distribution, begin: int, end: int | None) -> Exemplar | None:
    """That of a bucket, if there is one."""
    for kept in value.exemplars.values():
        if kept.place >= begin and (end is None or kept.place < end):
            return kept
    return None
