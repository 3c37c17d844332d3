"""The text of /metrics: every instrument, its unit in its name, its value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.breaker import BreakerState
from sidecar.core.histograms import Distribution, Exemplar, Histogram
from sidecar.core.journal import DeadWrite, Settlement
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.observed import Pool, Size
from sidecar.engine.cleaning.tally import KINDS, Tally
from sidecar.telemetry.figures import ExportFigures, OutboxFigures, RequestFigures
from sidecar.telemetry.instruments import INSTRUMENTS, Form
from sidecar.telemetry.metrics import collect
from sidecar.telemetry.prometheus import exposition
from sidecar.tiers.stats import TierReport, TierStats
from tests.rpc.graves import dead_write


@dataclass
class Health:
    """Half an hour of a daemon."""

    changes: int = 3
    since: int = 0
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
    start_time: int = 1_500
    asked: RequestFigures = field(default_factory=RequestFigures)
    kept: Sequence[Size] = ()
    exported: ExportFigures | None = None

    def now(self) -> int:
        return 2_001

    def requests(self) -> RequestFigures:
        return self.asked

    def sizes(self) -> Sequence[Size]:
        return self.kept

    def pools(self) -> Mapping[Tier, Pool]:
        return {Tier.WARM: Pool(in_use=3, idle=1, size_max=16, waiting=2)}

    def batches(self) -> Mapping[Tier, Distribution]:
        return {Tier.WARM: distribution(1, 1, 40)}

    def exports(self) -> ExportFigures | None:
        return self.exported

    def mode(self) -> ServingMode:
        return ServingMode.DEGRADED

    def outbox(self) -> OutboxFigures:
        return OutboxFigures(
            pending=7, lag_s=1.5, dead_letters=2, delivered=40, refused=3, buried=1, in_flight=4, parked=5, sinks_away=6
        )

    def tier_reports(self) -> Iterator[tuple[Tier, TierReport, int]]:
        yield from self.reports


def distribution(*values: float) -> Distribution:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram.distribution()


def report(breaker: BreakerState | None, *, rejected: int = 0, retries: int = 0) -> TierReport:
    stats = TierStats()
    stats.succeeded(0.25)
    stats.took("get", 0.25, answered=True)
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
    families = text_string_to_metric_families(exposition(figures)[1].decode())
    found = [
        ((sample.name, *_values(sample.labels)), sample.value)
        for family in families
        for sample in family.samples
        if not sample.name.startswith("process_")
    ]
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
        assert found["statesidecar_tier_operation_duration_seconds_count", tier, "answered", "get"] == 1
        assert found["statesidecar_tier_operation_duration_seconds_sum", tier, "answered", "get"] == 0.25


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


def test_the_buckets_of_a_histogram_add_up_and_end_with_all(figures: Figures) -> None:
    figures.asked = RequestFigures(
        durations={("Get", "session", "normal", "ok"): distribution(0.000001, 0.003, 0.003, 500)}
    )

    buckets = {
        sample.labels["le"]: sample.value
        for family in text_string_to_metric_families(exposition(figures)[1].decode())
        for sample in family.samples
        if sample.name == "statesidecar_request_duration_seconds_bucket"
    }

    counts = list(buckets.values())
    assert counts == sorted(counts)
    assert (counts[0], counts[-2], counts[-1]) == (1, 3, 4)
    assert [float(bound) for bound in buckets] == sorted(float(bound) for bound in buckets)
    at = next(bound for bound, count in buckets.items() if count == 3)
    assert 0.003 <= float(at) < 0.003 * 1.1


def test_conflicts_are_the_requests_that_were_aborted(figures: Figures) -> None:
    figures.asked = RequestFigures(
        durations={
            ("CAS", "session", "normal", "aborted"): distribution(1, 1),
            ("CAS", "session", "degraded", "aborted"): distribution(1),
            ("CAS", "session", "normal", "ok"): distribution(1, 1, 1, 1),
        },
        conflicts_last_minute={"session": 2},
    )

    found = samples(figures)

    assert of("statesidecar_conflicts_total", found) == {("CAS", "session"): 3}
    assert of("statesidecar_conflicts_last_minute", found) == {("session",): 2}


def test_what_is_kept_grows_where_that_is_known(figures: Figures) -> None:
    grows = Size(tier=Tier.WARM, namespace="a", entries=5, bytes=50, time=7_000, entries_per_s=0.5, bytes_per_s=5.0)
    figures.kept = [grows, Size(tier=Tier.WARM, namespace="b", entries=1, bytes=9, time=7_000)]

    found = samples(figures)

    assert of("statesidecar_entries", found) == {("warm", "a"): 5, ("warm", "b"): 1}
    assert of("statesidecar_entries_size_bytes", found) == {("warm", "a"): 50, ("warm", "b"): 9}
    assert of("statesidecar_entries_growth_per_second", found) == {("warm", "a"): 0.5}
    assert of("statesidecar_entries_size_growth_bytes_per_second", found) == {("warm", "a"): 5}
    assert of("statesidecar_entries_counted_timestamp_seconds", found) == {("warm",): 7}


def test_pools_and_what_was_committed_together(figures: Figures) -> None:
    found = samples(figures)

    assert of("statesidecar_pool_connections", found) == {
        ("warm", "in_use"): 3,
        ("warm", "idle"): 1,
        ("warm", "waiting"): 2,
    }
    assert of("statesidecar_pool_limit", found) == {("warm",): 16}
    assert of("statesidecar_commit_writes_count", found) == {("warm",): 3}
    assert of("statesidecar_commit_writes_sum", found) == {("warm",): 42}


def test_exemplars_are_for_those_who_accept_open_metrics(figures: Figures) -> None:
    histogram = Histogram()
    histogram.record(0.003)
    histogram.keep(Exemplar(0.003, 12.5, "a" * 32, "b" * 16))
    figures.asked = RequestFigures(durations={("Get", "session", "normal", "ok"): histogram.distribution()})

    kind, text = exposition(figures, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    exemplars = [
        (sample.labels["le"], sample.exemplar)
        for family in openmetrics.text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]  # its own
        for sample in family.samples
        if sample.exemplar is not None
    ]

    assert kind.startswith("application/openmetrics-text")
    [(bound, exemplar)] = exemplars
    assert (exemplar.labels, exemplar.value, float(exemplar.timestamp)) == (
        {"trace_id": "a" * 32, "span_id": "b" * 16},
        0.003,
        12.5,
    )
    assert 0.003 <= float(bound) < 0.0033
    assert b"trace_id" not in exposition(figures)[1]


def test_every_instrument_is_told_once_under_its_own_name_with_its_own_labels(figures: Figures) -> None:
    figures.exported, figures.cleaned = ExportFigures(failed={"traces": 1}), Tally()
    families = list(collect(figures))

    assert [family.instrument.name for family in families if family.instrument not in INSTRUMENTS] == []
    assert len({family.instrument.exposed for family in families}) == len(families)
    missing = {one.name for one in INSTRUMENTS} - {family.instrument.name for family in families}
    assert missing == {"statesidecar.event_loop.lag"}
    for instrument, points in families:
        assert all(len(labels) == len(instrument.labels) for labels, _ in points)
        assert all(isinstance(value, Distribution) == (instrument.form is Form.HISTOGRAM) for _, value in points)
    assert all(one.meaning and one.unit for one in INSTRUMENTS)
