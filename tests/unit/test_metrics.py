"""The text of /metrics: every instrument, its unit in its name, its value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.breaker import BreakerState
from sidecar.core.journal import DeadWrite, Settlement
from sidecar.core.modes import ServingMode, Tier
from sidecar.engine.cleaning.tally import KINDS, Tally
from sidecar.telemetry.metrics import OutboxFigures, exposition
from sidecar.tiers.stats import TierReport, TierStats
from tests.rpc.graves import dead_write


@dataclass
class Health:
    """Half an hour of a daemon."""

    changes: int = 3
    seconds: Mapping[ServingMode, float] = field(
        default_factory=lambda: {ServingMode.NORMAL: 1700.5, ServingMode.DEGRADED: 99.5, ServingMode.PASSTHROUGH: 0.0}
    )

    def mode(self) -> ServingMode:
        return ServingMode.DEGRADED


@dataclass
class Buffer:
    """A journal in use."""

    depth: int = 12
    bytes_held: int = 4096
    settled: Mapping[Settlement, int] = field(default_factory=lambda: {Settlement.APPLIED: 5, Settlement.DEAD: 2})
    oldest_time: int | None = 1

    def dead(self) -> Sequence[DeadWrite]:
        return [dead_write(1), dead_write(2)]


@dataclass
class Figures:
    """Of a daemon with or without journal."""

    reports: list[tuple[Tier, TierReport, int]]
    health: Health | None = None
    buffer: Buffer | None = None
    cleaned: Tally | None = None

    def mode(self) -> ServingMode:
        return ServingMode.DEGRADED

    def outbox(self) -> OutboxFigures:
        return OutboxFigures(
            pending=7, lag_s=1.5, dead_letters=2, delivered=40, refused=3, buried=1, in_flight=4, parked=5, sinks_away=6
        )

    def tier_reports(self) -> Iterator[tuple[Tier, TierReport, int]]:
        yield from self.reports


def report(breaker: BreakerState | None, *, rejected: int = 0, retries: int = 0) -> TierReport:
    stats = TierStats()
    stats.succeeded(0.25)
    stats.looked_up(3, 4)
    stats.rejected, stats.retries = rejected, retries
    return stats.report(breaker)


@pytest.fixture
def figures() -> Figures:
    near = (Tier.NEAR, report(None), 10)
    hot = (Tier.HOT, report(BreakerState.CLOSED, retries=2), 20)
    warm = (Tier.WARM, report(BreakerState.HALF_OPEN, rejected=7, retries=1), 0)
    return Figures([near, hot, warm], Health(), Buffer())


Samples = dict[tuple[str, ...], float]


def samples(figures: Figures) -> Samples:
    """Each sample by its name and the values of its labels."""
    families = text_string_to_metric_families(exposition(figures).decode())
    found = [((sample.name, *_values(sample.labels)), sample.value) for family in families for sample in family.samples]
    assert len(dict(found)) == len(found)
    return dict(found)


def _values(labels: Mapping[str, str]) -> list[str]:
    """The tier first: the names of the others come before it."""
    return [value for _, value in sorted(labels.items(), reverse=True)]


def of(name: str, found: Samples) -> dict[tuple[str, ...], float]:
    return {labels[1:]: value for labels, value in found.items() if labels[0] == name}


def test_each_breaker_is_in_one_state_and_a_tier_without_one_in_none(figures: Figures) -> None:
    found = of("statesidecar_breaker_state", samples(figures))

    assert {labels for labels, value in found.items() if value == 1} == {("hot", "closed"), ("warm", "half_open")}
    assert len(found) == 6
    assert sum(found.values()) == 2


def test_what_breakers_refused_and_what_was_tried_again_is_counted_by_tier(figures: Figures) -> None:
    found = samples(figures)

    assert of("statesidecar_tier_rejected_total", found) == {("hot",): 0, ("warm",): 7}
    assert of("statesidecar_retries_total", found) == {("hot",): 2, ("warm",): 1}


def test_the_mode_its_changes_and_its_seconds(figures: Figures) -> None:
    found = samples(figures)

    assert of("statesidecar_mode", found) == {("normal",): 0, ("degraded",): 1, ("passthrough",): 0}
    assert found["statesidecar_mode_changes_total",] == 3
    assert of("statesidecar_mode_seconds_total", found) == {
        ("normal",): 1700.5,
        ("degraded",): 99.5,
        ("passthrough",): 0,
    }


def test_what_the_journal_holds_and_what_became_of_it(figures: Figures) -> None:
    found = samples(figures)

    assert found["statesidecar_journal_depth",] == 12
    assert found["statesidecar_journal_bytes",] == 4096
    assert of("statesidecar_journal_settled_total", found) == {("applied",): 5, ("merged",): 0, ("dead",): 2}
    assert found["statesidecar_dead_writes",] == 2


def test_a_daemon_without_a_journal_has_none_of_its_metrics(figures: Figures) -> None:
    figures.buffer = None

    assert not [labels for labels in samples(figures) if "journal" in labels[0] or "dead_writes" in labels[0]]


def test_a_mode_whose_past_is_not_known_is_told_without_it(figures: Figures) -> None:
    figures.health = None

    assert {labels[0] for labels in samples(figures) if "mode" in labels[0]} == {"statesidecar_mode"}


def test_every_tier_has_its_figures(figures: Figures) -> None:
    found = samples(figures)

    for tier, held in {"near": 10, "hot": 20, "warm": 0}.items():
        assert found["statesidecar_tier_up", tier] == 1
        assert found["statesidecar_tier_operations_total", tier] == 1
        assert found["statesidecar_tier_lookups_total", tier, "hit"] == 3
        assert found["statesidecar_tier_lookups_total", tier, "miss"] == 1
        assert found["statesidecar_tier_held_bytes", tier] == held
        assert found["statesidecar_tier_operation_duration_seconds", tier, "0.99"] == 0.25


def test_what_waits_in_the_outbox_and_what_went_out(figures: Figures) -> None:
    found = samples(figures)

    gauges = {"pending": 7, "lag_seconds": 1.5, "dead_letters": 2, "in_flight": 4, "parked": 5, "sinks_away": 6}
    for name, value in gauges.items():
        assert found[f"statesidecar_outbox_{name}",] == value
    assert of("statesidecar_outbox_messages_total", found) == {("delivered",): 40, ("refused",): 3, ("dead",): 1}


def test_what_was_cleaned_and_how_far_each_job_is(figures: Figures) -> None:
    figures.cleaned = Tally()
    figures.cleaned.add({"expired": 5, "blobs": 2, "corrupt": 1})
    figures.cleaned.add({"expired": 1})
    figures.cleaned.worked(Tier.WARM, "sweep", now=5_500, more=False)
    figures.cleaned.worked(Tier.WARM, "sweep", now=9_000, more=True)
    figures.cleaned.worked(Tier.HOT, "settle", now=7_000, more=True)

    found = samples(figures)

    counted = of("statesidecar_cleaned_total", found)
    assert set(counted) == {(kind,) for kind in (*KINDS, "corrupt")}
    assert {kind: count for (kind,), count in counted.items() if count} == {"expired": 6, "blobs": 2, "corrupt": 1}
    assert of("statesidecar_cleaning_behind", found) == {("warm", "sweep"): 1, ("hot", "settle"): 1}
    assert of("statesidecar_cleaning_pass_timestamp_seconds", found) == {("warm", "sweep"): 5.5}


def test_a_daemon_that_cleans_nothing_has_no_metrics_of_it(figures: Figures) -> None:
    assert not [labels for labels in samples(figures) if "clean" in labels[0]]
