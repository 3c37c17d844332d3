"""For each alert: series that make it fire, and such that come near and must not, as promtool writes them.

`10+2x5` is 10, then five more, each 2 larger. The labels of the target are added to each series.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TARGET = {"namespace": "shop", "app": "till", "pod": "till-0", "instance": "till-0:7421", "job": "state-sidecar"}

Series = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`fires` at the minute `at`, labelled with the target and `labels`; each of `silent` does not.

    `early`: a minute at which what `fires` is true already, and not for long enough; None: silent series show that.
    """

    fires: Series
    at: int
    silent: tuple[Series, ...] = ()
    early: int | None = None
    step: int = 1
    """Minutes between samples, and between evaluations."""
    labels: Mapping[str, str] = field(default_factory=dict)
    of_app: bool = False
    """The alert is of no pod: daemons of an app share what it is about."""


REQUESTS = "statesidecar_request_duration_seconds_count"
BUCKETS = "statesidecar_request_duration_seconds_bucket"
OK, LOST = '{rpc="CAS",kind="session",outcome="ok"}', '{rpc="CAS",kind="session",outcome="aborted"}'
CONFLICTS = 'statesidecar_conflicts_total{rpc="CAS",kind="session"}'
RATIO = "statesidecar:request_errors:ratio_rate"
LOOKUPS = 'statesidecar_tier_lookups_total{tier="hot",result="%s"}'
BREAKER = 'statesidecar_breaker_state{tier="warm",state="closed"}'
MODE = 'statesidecar_mode{mode="%s"}'
PASS = 'statesidecar_cleaning_pass_timestamp_seconds{tier="warm",cleaning_job="%s"}'
SIZE = 'statesidecar_entries_size_bytes{tier="warm",state_namespace="session"}'
EXPORTS = 'statesidecar_telemetry_exports_failed_total{signal="traces"}'
MIB, GIB = 1 << 20, 1 << 30


def _ratios(short: str, short_values: str, long: str, long_values: str) -> Series:
    return {f"{RATIO}{short}": short_values, f"{RATIO}{long}": long_values}


def _durations(fast: int, slow: int) -> Series:
    """Requests a minute below 0.05 s, and between 0.1 and 0.2 s."""
    at = {"0.05": fast, "0.1": fast, "0.2": fast + slow, "+Inf": fast + slow}
    buckets = {f'{BUCKETS}{{rpc="Get",le="{bound}"}}': f"0+{count}x30" for bound, count in at.items()}
    return {**buckets, f'{REQUESTS}{{rpc="Get"}}': f"0+{fast + slow}x30"}


def _lag(fast: int, slow: int) -> Series:
    at = {"0.05": fast, "0.1": fast, "0.2": fast + slow, "+Inf": fast + slow}
    name = "statesidecar_event_loop_lag_seconds_bucket"
    return {f'{name}{{le="{bound}"}}': f"0+{count}x30" for bound, count in at.items()}


def _day_ago(hits: int, misses: int, *, then_hits: int, then_misses: int) -> Series:
    """Lookups in five minutes for a day, and for an hour after it."""
    return {
        LOOKUPS % "hit": f"0+{hits}x288 {hits * 288}+{then_hits}x12",
        LOOKUPS % "miss": f"0+{misses}x288 {misses * 288}+{then_misses}x12",
    }


CASES: Mapping[str, Case] = {
    "StateSidecarDown": Case(
        fires={"up": "1+0x5 0+0x10", 'statesidecar_build_info{version="1"}': "1+0x5"},
        at=9,
        silent=(
            {"up": "1+0x7 0+0x10", 'statesidecar_build_info{version="1"}': "1+0x7"},
            {"up": "0+0x20"},  # another's
            {"up": "1+0x20", 'statesidecar_build_info{version="1"}': "1+0x20"},
        ),
    ),
    "StateSidecarRestarting": Case(
        fires={"statesidecar_start_timestamp_seconds": "1000+0x5 2000+0x5 3000+0x5 4000+0x15"},
        at=20,
        silent=(
            {"statesidecar_start_timestamp_seconds": "1000+0x5 2000+0x5 3000+0x15"},
            {"statesidecar_start_timestamp_seconds": "1000+0x60"},
        ),
    ),
    "StateSidecarTierDown": Case(
        fires={BREAKER: "1+0x3 0+0x10"},
        at=6,
        silent=({BREAKER: "1+0x5 0+0x10"}, {BREAKER: "1+0x20"}),
        labels={"tier": "warm"},
    ),
    "StateSidecarTierFlapping": Case(
        fires={BREAKER: "1 0 1 0 1 0 1 0+0x10"},
        at=10,
        silent=({BREAKER: "1 0 1 0 1 0 1+0x10"},),
        labels={"tier": "warm"},
    ),
    "StateSidecarPassthrough": Case(
        fires={MODE % "passthrough": "0+0x3 1+0x10"},
        at=6,
        silent=(
            {MODE % "passthrough": "0+0x5 1+0x10"},
            {MODE % "passthrough": "0+0x20"},
            {MODE % "passthrough": "0+0x20", MODE % "normal": "1+0x20"},
        ),
    ),
    "StateSidecarDegraded": Case(
        fires={MODE % "degraded": "0+0x3 1+0x10"},
        at=10,
        silent=({MODE % "degraded": "0+0x5 1+0x10"}, {MODE % "degraded": "0+0x20"}),
    ),
    "StateSidecarErrorBudgetBurnsFast": Case(
        fires=_ratios("5m", "0.02+0x9", "1h", "0.02+0x9"),
        at=5,
        early=1,
        silent=(
            _ratios("5m", "0.014+0x9", "1h", "0.02+0x9"),  # over already
            _ratios("5m", "0.02+0x9", "1h", "0.014+0x9"),  # a moment's
            _ratios("30m", "0.005+0x9", "6h", "0.007+0x9"),
            _ratios("30m", "0.007+0x9", "6h", "0.005+0x9"),
        ),
    ),
    "StateSidecarErrorBudgetBurnsSlowly": Case(
        fires=_ratios("2h", "0.004+0x30", "1d", "0.004+0x30"),
        at=20,
        early=10,
        silent=(
            _ratios("2h", "0.0029+0x30", "1d", "0.004+0x30"),
            _ratios("2h", "0.004+0x30", "1d", "0.0029+0x30"),
            _ratios("6h", "0.0009+0x30", "3d", "0.002+0x30"),
            _ratios("6h", "0.002+0x30", "3d", "0.0009+0x30"),
        ),
    ),
    "StateSidecarSlow": Case(
        fires=_durations(1000, 20),
        at=20,
        early=8,
        silent=(_durations(1000, 5), _durations(10, 10)),
        labels={"rpc": "Get"},
    ),
    "StateSidecarConflictStorm": Case(
        fires={f"{REQUESTS}{OK}": "0+200x20", f"{REQUESTS}{LOST}": "0+120x20", CONFLICTS: "0+120x20"},
        at=12,
        early=4,
        silent=(
            {f"{REQUESTS}{OK}": "0+400x20", f"{REQUESTS}{LOST}": "0+120x20", CONFLICTS: "0+120x20"},
            {f"{REQUESTS}{OK}": "0+20x20", f"{REQUESTS}{LOST}": "0+50x20", CONFLICTS: "0+50x20"},
        ),
        labels={"rpc": "CAS", "kind": "session"},
    ),
    "StateSidecarEventLoopLagging": Case(fires=_lag(200, 20), at=12, early=4, silent=(_lag(240, 1), _lag(240, 0))),
    "StateSidecarFollowupsDropped": Case(
        fires={"statesidecar_followups_dropped_total": "5+0x5 6+0x5"},
        at=8,
        silent=({"statesidecar_followups_dropped_total": "5+0x20"},),
    ),
    "StateSidecarHitRatioCollapsed": Case(
        fires=_day_ago(4500, 500, then_hits=2000, then_misses=3000),
        at=1480,
        early=1460,
        step=5,
        silent=(
            _day_ago(4500, 500, then_hits=2500, then_misses=2500),
            _day_ago(4500, 500, then_hits=100, then_misses=150),  # nearly nothing is looked up
        ),
        labels={"tier": "hot"},
    ),
    "StateSidecarPoolSaturated": Case(
        fires={'statesidecar_pool_connections{tier="warm",state="waiting"}': "1+0x10"},
        at=7,
        early=3,
        silent=(
            {'statesidecar_pool_connections{tier="warm",state="waiting"}': "0+0x10"},
            {'statesidecar_pool_connections{tier="warm",state="in_use"}': "9+0x10"},
        ),
        labels={"tier": "warm"},
    ),
    "StateSidecarOutboxLagging": Case(
        fires={"statesidecar_outbox_lag_seconds": "61+0x10"},
        at=6,
        silent=({"statesidecar_outbox_lag_seconds": "59+0x10"}, {"statesidecar_outbox_lag_seconds": "0 0 61+0x10"}),
    ),
    "StateSidecarSinkAway": Case(
        fires={"statesidecar_outbox_sinks_away": "1+0x10"},
        at=3,
        silent=({"statesidecar_outbox_sinks_away": "0+0x10"}, {"statesidecar_outbox_sinks_away": "0 0 1+0x10"}),
    ),
    "StateSidecarDeadLetters": Case(
        fires={"statesidecar_outbox_dead_letters": "1+0x10"},
        at=6,
        silent=({"statesidecar_outbox_dead_letters": "0+0x10"}, {"statesidecar_outbox_dead_letters": "0 0 1+0x10"}),
    ),
    "StateSidecarJournalAging": Case(
        fires={"statesidecar_journal_age_seconds": "0+60x10"},
        at=6,
        silent=({"statesidecar_journal_age_seconds": "0+50x10"},),
    ),
    "StateSidecarJournalFilling": Case(
        fires={"statesidecar_journal_bytes": f"{MIB}+{5 * MIB}x20"},
        at=18,
        early=4,
        silent=(
            {"statesidecar_journal_bytes": f"{191 * MIB}+0x20"},
            {"statesidecar_journal_bytes": f"{17 * MIB}+{3 * MIB}x20"},
            {"statesidecar_journal_bytes": f"0+{MIB // 2}x20"},
            {"statesidecar_journal_bytes": f"{15 * MIB}+0x17 {15 * MIB}+{MIB // 3}x4"},
        ),
    ),
    "StateSidecarDeadWrites": Case(
        fires={"statesidecar_dead_writes": "3+0x10"},
        at=6,
        silent=({"statesidecar_dead_writes": "0+0x10"}, {"statesidecar_dead_writes": "0 0 3+0x10"}),
    ),
    "StateSidecarGrowing": Case(
        fires={SIZE: f"{2 * GIB}+{5 * MIB}x96"},
        at=470,
        early=40,
        step=5,
        silent=(
            {SIZE: f"{2 * GIB}+5000x96"},
            {SIZE: f"{MIB}+{5 * MIB}x96"},  # it is small yet
            {SIZE: f"{2 * GIB}+0x96"},
        ),
        labels={"tier": "warm", "state_namespace": "session"},
    ),
    "StateSidecarOrphans": Case(
        fires={'statesidecar_cleaned_total{kind="orphans"}': "0+0x5 2+0x10"},
        at=10,
        silent=(
            {'statesidecar_cleaned_total{kind="orphans"}': "2+0x20"},
            {'statesidecar_cleaned_total{kind="blobs"}': "0+1x20"},
        ),
    ),
    "StateSidecarCleaningBehind": Case(
        fires={'statesidecar_cleaning_behind{tier="warm",cleaning_job="settle"}': "1+0x200"},
        at=190,
        silent=(
            {'statesidecar_cleaning_behind{tier="warm",cleaning_job="settle"}': "1+0x99 0 1+0x100"},
            {'statesidecar_cleaning_behind{tier="warm",cleaning_job="settle"}': "0+0x200"},
        ),
        labels={"tier": "warm", "cleaning_job": "settle"},
    ),
    "StateSidecarCleaningStale": Case(
        fires={PASS % "orphans": "0+0x150"},
        at=1480,
        early=1450,
        step=10,
        silent=(
            {PASS % "orphans": "7200+0x150"},
            {PASS % "orphans": "0+600x150"},
            {PASS % "sweep": "78300+0x150"},  # 10,500 s before
        ),
        labels={"tier": "warm", "cleaning_job": "orphans"},
        of_app=True,
    ),
    "StateSidecarTelemetryDropped": Case(
        fires={EXPORTS: "0+1x60"},
        at=30,
        early=12,
        silent=({EXPORTS: "0+0x60"}, {"statesidecar_telemetry_spans_dropped_total": "7+0x60"}, {EXPORTS: "0 0 1+0x60"}),
    ),
}

OTHERS: tuple[tuple[str, Case], ...] = (
    ("StateSidecarErrorBudgetBurnsFast", Case(fires=_ratios("30m", "0.007+0x9", "6h", "0.007+0x9"), at=5)),
    ("StateSidecarErrorBudgetBurnsSlowly", Case(fires=_ratios("6h", "0.002+0x30", "3d", "0.002+0x30"), at=20)),
    ("StateSidecarJournalFilling", Case(fires={"statesidecar_journal_bytes": f"{193 * MIB}+0x20"}, at=18)),
    (
        "StateSidecarCleaningStale",
        Case(fires={PASS % "sweep": "0+0x300"}, at=200, labels={"tier": "warm", "cleaning_job": "sweep"}),
    ),
    (
        "StateSidecarTelemetryDropped",
        Case(fires={"statesidecar_telemetry_spans_dropped_total": "0+1x60"}, at=30),
    ),
)
"""What makes the other half of an `or` true."""
