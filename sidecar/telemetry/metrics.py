"""Every instrument's name, unit and meaning, and their text form for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from sidecar import __version__
from sidecar.core.breaker import BreakerState
from sidecar.core.journal import DeadWrite, Settlement
from sidecar.core.modes import ServingMode, Tier
from sidecar.engine.cleaning.tally import Tally
from sidecar.tiers.stats import TierReport


class HealthFigures(Protocol):
    """The daemon's mode, and how long it was in which."""

    @property
    def changes(self) -> int:
        """Changes of the mode since the start."""
        ...

    @property
    def seconds(self) -> Mapping[ServingMode, float]:
        """Seconds in each mode since the start, up to a moment ago."""
        ...

    def mode(self) -> ServingMode:
        """The guarantee that answers carry now."""
        ...


class BufferFigures(Protocol):
    """What the journal holds, and what became of it. Read from another thread: nothing here waits or changes."""

    @property
    def depth(self) -> int:
        """Writes that the authority has not seen yet."""
        ...

    @property
    def bytes_held(self) -> int:
        """What those and the dead ones take."""
        ...

    @property
    def settled(self) -> Mapping[Settlement, int]:
        """Buffered writes that were settled since the start."""
        ...

    @property
    def oldest_time(self) -> int | None:
        """When the oldest write that is not settled was acknowledged, in milliseconds; None: there is none."""
        ...

    def dead(self) -> Sequence[DeadWrite]:
        """Dead writes that are kept."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxFigures:
    """What waits in the outboxes by the latest counts, and what this daemon has delivered since the start."""

    pending: int = 0
    lag_s: float = 0.0
    dead_letters: int = 0
    delivered: int = 0
    refused: int = 0
    buried: int = 0
    in_flight: int = 0
    parked: int = 0
    sinks_away: int = 0


class Figures(Protocol):
    """Where the figures come from."""

    @property
    def health(self) -> HealthFigures | None:
        """None: the mode's past is not known."""
        ...

    @property
    def buffer(self) -> BufferFigures | None:
        """None: there is no journal."""
        ...

    @property
    def cleaned(self) -> Tally | None:
        """What background jobs cleaned; None: there are none."""
        ...

    def outbox(self) -> OutboxFigures:
        """Of all authorities."""
        ...

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
        now = self._figures.mode()
        mode = GaugeMetricFamily("statesidecar_mode", "1 for the mode that answers carry now", labels=["mode"])
        for candidate in ServingMode:
            mode.add_metric([candidate.name.lower()], candidate is now)
        yield mode
        if self._figures.health is not None:
            yield from _health(self._figures.health)
        reports = list(self._figures.tier_reports())
        yield from _tiers(reports)
        yield from _guards(reports)
        if self._figures.buffer is not None:
            yield from _journal(self._figures.buffer)
        yield from _outbox(self._figures.outbox())
        if self._figures.cleaned is not None:
            yield from _cleaning(self._figures.cleaned)


_Reports = Sequence[tuple[Tier, TierReport, int]]


def _health(health: HealthFigures) -> Iterator[Metric]:
    yield CounterMetricFamily("statesidecar_mode_changes", "Changes of the mode since the start", value=health.changes)
    seconds = CounterMetricFamily("statesidecar_mode_seconds", "Seconds in each mode since the start", labels=["mode"])
    for mode, spent in health.seconds.items():
        seconds.add_metric([mode.name.lower()], spent)
    yield seconds


def _tiers(reports: _Reports) -> Iterator[Metric]:
    up = GaugeMetricFamily("statesidecar_tier_up", "Whether the tier's last operation was answered", labels=["tier"])
    operations = CounterMetricFamily("statesidecar_tier_operations", "Operations that were answered", labels=["tier"])
    lookups = CounterMetricFamily("statesidecar_tier_lookups", "Keys looked up", labels=["tier", "result"])
    held = GaugeMetricFamily("statesidecar_tier_held_bytes", "Bytes held in this process", labels=["tier"])
    latency = GaugeMetricFamily(
        "statesidecar_tier_operation_duration_seconds",
        "Duration of the last 1024 operations, by quantile",
        labels=["tier", "quantile"],
    )
    for tier, report, held_bytes in reports:
        name = tier.name.lower()
        up.add_metric([name], report.up is not False)
        operations.add_metric([name], report.count)
        lookups.add_metric([name, "hit"], report.hits)
        lookups.add_metric([name, "miss"], report.lookups - report.hits)
        held.add_metric([name], held_bytes)
        for quantile, seconds in zip(("0.5", "0.95", "0.99"), report.percentiles or (), strict=False):
            latency.add_metric([name, quantile], seconds)
    yield from (up, operations, lookups, held, latency)


def _guards(reports: _Reports) -> Iterator[Metric]:
    """Of the tiers that have a breaker."""
    states = GaugeMetricFamily(
        "statesidecar_breaker_state", "1 for the state of the tier's breaker", labels=["tier", "state"]
    )
    rejected = CounterMetricFamily(
        "statesidecar_tier_rejected", "Calls that the tier's open breaker refused", labels=["tier"]
    )
    retries = CounterMetricFamily("statesidecar_retries", "Calls to the tier that were made again", labels=["tier"])
    for tier, report, _ in reports:
        if report.breaker is None:
            continue
        name = tier.name.lower()
        for state in BreakerState:
            states.add_metric([name, state.name.lower()], state is report.breaker)
        rejected.add_metric([name], report.rejected)
        retries.add_metric([name], report.retries)
    yield from (states, rejected, retries)


def _journal(buffer: BufferFigures) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "statesidecar_journal_depth", "Writes in the journal that the authority has not seen yet", value=buffer.depth
    )
    yield GaugeMetricFamily(
        "statesidecar_journal_bytes", "Bytes of writes that the journal holds, dead ones too", value=buffer.bytes_held
    )
    settled = CounterMetricFamily(
        "statesidecar_journal_settled", "Buffered writes that were settled since the start", labels=["outcome"]
    )
    for outcome in Settlement:
        settled.add_metric([outcome.value], buffer.settled.get(outcome, 0))
    yield settled
    yield GaugeMetricFamily(
        "statesidecar_dead_writes",
        "Buffered writes that the authority could not take, kept until redriven or discarded",
        value=len(buffer.dead()),
    )


def _outbox(outbox: OutboxFigures) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "statesidecar_outbox_pending",
        "Committed messages that are not delivered yet, as this daemon counted last",
        value=outbox.pending,
    )
    yield GaugeMetricFamily(
        "statesidecar_outbox_lag_seconds", "Age of the oldest of those; 0: there is none", value=outbox.lag_s
    )
    yield GaugeMetricFamily(
        "statesidecar_outbox_dead_letters", "Messages that were given up on and are kept", value=outbox.dead_letters
    )
    yield GaugeMetricFamily(
        "statesidecar_outbox_in_flight", "Messages that this daemon publishes now", value=outbox.in_flight
    )
    yield GaugeMetricFamily(
        "statesidecar_outbox_parked", "Keys that a refused message of theirs holds up here", value=outbox.parked
    )
    yield GaugeMetricFamily(
        "statesidecar_outbox_sinks_away", "Sinks that take nothing from this daemon now", value=outbox.sinks_away
    )
    attempts = CounterMetricFamily(
        "statesidecar_outbox_messages", "Attempts to deliver a message since the start", labels=["outcome"]
    )
    for outcome, count in (("delivered", outbox.delivered), ("refused", outbox.refused), ("dead", outbox.buried)):
        attempts.add_metric([outcome], count)
    yield attempts


def _cleaning(tally: Tally) -> Iterator[Metric]:
    cleaned = CounterMetricFamily(
        "statesidecar_cleaned", "Things that background jobs cleaned since the start", labels=["kind"]
    )
    for kind, count in sorted(tally.counts.items()):
        cleaned.add_metric([kind], count)
    yield cleaned
    behind = GaugeMetricFamily(
        "statesidecar_cleaning_behind", "1 while the job's latest step left more to do", labels=["tier", "job"]
    )
    passed = GaugeMetricFamily(
        "statesidecar_cleaning_pass_timestamp_seconds",
        "When this daemon last ended a whole pass of the job, by the authority's clock",
        labels=["tier", "job"],
    )
    for job in tally.jobs:
        labels = [job.tier.name.lower(), job.job]
        behind.add_metric(labels, job.behind)
        if job.pass_time is not None:
            passed.add_metric(labels, job.pass_time / 1000)
    yield from (behind, passed)
