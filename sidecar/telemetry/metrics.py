"""Every instrument's name, unit and meaning, and their text form for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from sidecar import __version__
from sidecar.core.modes import ServingMode, Tier
from sidecar.tiers.stats import TierReport


class Figures(Protocol):
    """Where the figures come from."""

    def mode(self) -> ServingMode:
        """The guarantee that answers carry now."""
        ...

    def tier_reports(self) -> Iterator[tuple[Tier, TierReport, int]]:
        """Each tier, its figures, and the bytes it holds in this process."""
        ...


def exposition(figures: Figures) -> bytes:
    """The text that /metrics answers."""
    registry = CollectorRegistry()
    registry.register(_Collector(figures))
    return generate_latest(registry)


class _Collector:
    """Reads the figures when it is asked; nothing is counted twice, and nothing on the way of a request."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("statesidecar_build_info", "Version of the daemon; always 1", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        mode = GaugeMetricFamily("statesidecar_mode", "1 for the mode that answers carry now", labels=["mode"])
        for candidate in ServingMode:
            mode.add_metric([candidate.name.lower()], candidate is self._figures.mode())
        yield mode
        yield from self._tiers()

    def _tiers(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "statesidecar_tier_up", "Whether the tier's last operation was answered", labels=["tier"]
        )
        operations = CounterMetricFamily(
            "statesidecar_tier_operations", "Operations that were answered", labels=["tier"]
        )
        lookups = CounterMetricFamily("statesidecar_tier_lookups", "Keys looked up", labels=["tier", "result"])
        held = GaugeMetricFamily("statesidecar_tier_held_bytes", "Bytes held in this process", labels=["tier"])
        latency = GaugeMetricFamily(
            "statesidecar_tier_operation_duration_seconds",
            "Duration of the last 1024 operations, by quantile",
            labels=["tier", "quantile"],
        )
        for tier, report, held_bytes in self._figures.tier_reports():
            name = tier.name.lower()
            up.add_metric([name], report.up is not False)
            operations.add_metric([name], report.count)
            lookups.add_metric([name, "hit"], report.hits)
            lookups.add_metric([name, "miss"], report.lookups - report.hits)
            held.add_metric([name], held_bytes)
            for quantile, seconds in zip(("0.5", "0.95", "0.99"), report.percentiles or (), strict=False):
                latency.add_metric([name, quantile], seconds)
        yield from (up, operations, lookups, held, latency)
