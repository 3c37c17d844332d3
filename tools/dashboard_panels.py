"""What the dashboard shows: rows of panels, each with its queries and their legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DAEMON = ("namespace", "app", "pod")
"""The labels that choose daemons: of the target, not ours."""

Query = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Panel:
    """One of them. `unit` is Grafana's."""

    title: str
    unit: str
    queries: Sequence[Query]
    description: str = ""
    type: str = "timeseries"
    width: int = 8
    exemplars: bool = False


FAILED = 'outcome=~"unavailable|unknown|internal|data_loss|deadline_exceeded|resource_exhausted"'
"""What the daemon failed, as in alerts.yaml."""
REQUESTS, BUCKETS = "statesidecar_request_duration_seconds_count", "statesidecar_request_duration_seconds_bucket"
TIER, TIER_BUCKETS = (f"statesidecar_tier_operation_duration_seconds_{part}" for part in ("count", "bucket"))
WINDOW = "[$__rate_interval]"


def _stat(title: str, unit: str, expression: str, legend: str = "", *, width: int = 4, description: str = "") -> Panel:
    return Panel(title, unit, [(expression, legend)], description, "stat", width)


def _graph(title: str, unit: str, expression: str, legend: str, description: str = "", *, width: int = 8) -> Panel:
    return Panel(title, unit, [(expression, legend)], description, width=width)


def _rate(metric: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({metric}{WINDOW}))"


def _quantile(q: float, buckets: str, *by: str) -> str:
    return f"histogram_quantile({q}, {_rate(buckets, *by, 'le')})"


def _quantiles(title: str, buckets: str, unit: str = "s", *, exemplars: bool = False) -> Panel:
    queries = [(_quantile(q, buckets), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)]
    return Panel(title, unit, queries, exemplars=exemplars)


def _or_none(part: str, whole: str) -> str:
    """`part`, and 0 where there is nothing of it."""
    return f"({part} or 0 * {whole})"


def _new(metric: str, *by: str) -> str:
    """What was counted within a window. A series that began in it counts as a whole, where `increase` knows no before."""
    now, before = (f"sum by ({', '.join(by)}) ({metric}{at})" for at in ("", " offset $__rate_interval"))
    return f"clamp_min({now} - ({before} or 0 * {now}), 0)"


def _share_failed(window: str) -> str:
    whole = f"sum (increase({REQUESTS}[{window}]))"
    return _or_none(f"sum (increase({REQUESTS}{{{FAILED}}}[{window}]))", whole) + f" / {whole}"


OVERVIEW = (
    _stat("Daemons by mode", "none", "sum by (mode) (statesidecar_mode)", "{{mode}}", width=6),
    _stat("Daemons by version", "none", "count by (version) (statesidecar_build_info)", "{{version}}"),
    _stat("Youngest", "s", "time() - max(statesidecar_start_timestamp_seconds)", description="Since the latest start"),
    _stat(
        "Answered in this range",
        "percentunit",
        f"1 - {_share_failed('$__range')}",
        description="Requests that the daemon did not fail, whoever's doing the others were",
        width=5,
    ),
    _stat("Mode changes in this range", "none", "sum (increase(statesidecar_mode_changes_total[$__range]))", width=5),
    _graph(
        "Time in each mode", "percentunit", f"avg by (mode) (rate(statesidecar_mode_seconds_total{WINDOW}))", "{{mode}}"
    ),
    _graph(
        "Tiers that do not answer",
        "none",
        '1 - min by (pod, tier) (statesidecar_breaker_state{state="closed"})',
        "{{pod}} {{tier}}",
        "1 while the breaker before the tier is not closed",
    ),
    _graph(
        "Error budget burn rate",
        "none",
        f"{_share_failed('1h')} / 0.001",
        "1 h",
        "1: as fast as an objective of 99.9 % allows; 14.4 pages",
    ),
)
RED = (
    _graph("Requests", "reqps", _rate(REQUESTS, "rpc"), "{{rpc}}"),
    _graph(
        "Not OK",
        "reqps",
        _rate(f'{REQUESTS}{{outcome!="ok"}}', "rpc", "outcome"),
        "{{rpc}} {{outcome}}",
        "Every answer but OK, the callers' doing too: aborted is a lost race",
    ),
    _graph(
        "Failed by the daemon",
        "percentunit",
        _or_none(_rate(f"{REQUESTS}{{{FAILED}}}", "rpc"), _rate(REQUESTS, "rpc")) + f" / {_rate(REQUESTS, 'rpc')}",
        "{{rpc}}",
    ),
    _quantiles("Duration of requests", BUCKETS, exemplars=True),
    _graph("p50 by RPC", "s", _quantile(0.5, BUCKETS, "rpc"), "{{rpc}}"),
    _graph("p95 by RPC", "s", _quantile(0.95, BUCKETS, "rpc"), "{{rpc}}"),
    _graph("p99 by RPC", "s", _quantile(0.99, BUCKETS, "rpc"), "{{rpc}}"),
    _graph("p99 by kind of namespace", "s", _quantile(0.99, BUCKETS, "kind"), "{{kind}}"),
    _graph("Requests by mode of the answer", "reqps", _rate(REQUESTS, "mode"), "{{mode}}"),
    Panel(
        "Under way",
        "none",
        [
            ("sum (statesidecar_requests_in_flight)", "requests"),
            ("sum by (rpc) (statesidecar_streams)", "streams {{rpc}}"),
            ("sum (statesidecar_watchers)", "watchers"),
        ],
    ),
)
CONFLICTS = (
    _graph(
        "Conflicts per minute",
        "none",
        f"60 * {_rate('statesidecar_conflicts_total', 'rpc', 'kind')}",
        "{{rpc}} {{kind}}",
    ),
    _graph("In the last minute", "none", "sum by (pod, kind) (statesidecar_conflicts_last_minute)", "{{pod}} {{kind}}"),
    _graph(
        "Share of requests that lost",
        "percentunit",
        f"{_rate('statesidecar_conflicts_total', 'rpc', 'kind')} / {_rate(REQUESTS, 'rpc', 'kind')}",
        "{{rpc}} {{kind}}",
    ),
)
TIERS = (
    _graph("Operations answered", "ops", _rate("statesidecar_tier_operations_total", "tier"), "{{tier}}"),
    _graph(
        "Operations failed",
        "none",
        _or_none(_new(f'{TIER}{{result="failed"}}', "tier", "operation"), _rate(TIER, "tier", "operation")),
        "{{tier}} {{operation}}",
        "How many within each rate interval, the first of their kind too",
    ),
    _graph(
        "Hit ratio",
        "percentunit",
        _rate('statesidecar_tier_lookups_total{result="hit"}', "tier")
        + f" / {_rate('statesidecar_tier_lookups_total', 'tier')}",
        "{{tier}}",
    ),
    _graph("p50 by tier", "s", _quantile(0.5, TIER_BUCKETS, "tier"), "{{tier}}"),
    _graph("p95 by tier", "s", _quantile(0.95, TIER_BUCKETS, "tier"), "{{tier}}"),
    _graph("p99 by operation", "s", _quantile(0.99, TIER_BUCKETS, "tier", "operation"), "{{tier}} {{operation}}"),
    _graph("Breakers", "none", "sum by (tier, state) (statesidecar_breaker_state)", "{{tier}} {{state}}"),
    _graph(
        "Time with a breaker not closed",
        "percentunit",
        f'avg by (pod, tier) (sum without (state) (rate(statesidecar_breaker_seconds_total{{state!="closed"}}{WINDOW})))',
        "{{pod}} {{tier}}",
    ),
    _graph("Answered their last operation", "none", "min by (pod, tier) (statesidecar_tier_up)", "{{pod}} {{tier}}"),
    Panel(
        "Refused by the breaker, made again",
        "ops",
        [
            (_rate("statesidecar_tier_rejected_total", "tier"), "{{tier}} refused"),
            (_rate("statesidecar_retries_total", "tier"), "{{tier}} again"),
        ],
    ),
    _graph("Calls", "none", "sum by (tier, state) (statesidecar_tier_calls)", "{{tier}} {{state}}"),
    Panel(
        "Pools",
        "none",
        [
            ("sum by (tier, state) (statesidecar_pool_connections)", "{{tier}} {{state}}"),
            ("sum by (tier) (statesidecar_pool_limit)", "{{tier}} at most"),
        ],
    ),
    Panel(
        "Writes per commit",
        "none",
        [
            (_quantile(0.5, "statesidecar_commit_writes_bucket", "tier"), "{{tier}} p50"),
            (_quantile(0.99, "statesidecar_commit_writes_bucket", "tier"), "{{tier}} p99"),
        ],
        "How well commits are shared",
    ),
    _graph(
        "Fills refused", "ops", _rate("statesidecar_fills_refused_total", "tier"), "{{tier}}", "Copies that lost a race"
    ),
    _graph("Held in the process", "bytes", "sum by (pod, tier) (statesidecar_tier_held_bytes)", "{{pod}} {{tier}}"),
)
# A store that daemons share is counted by each of them: the largest is the count.
_BY = "(tier, state_namespace)"
SIZES = (
    _graph("Entries", "none", f"max by {_BY} (statesidecar_entries)", "{{tier}} {{state_namespace}}"),
    _graph("Bytes", "bytes", f"max by {_BY} (statesidecar_entries_size_bytes)", "{{tier}} {{state_namespace}}"),
    _graph("Counted", "s", "time() - max by (tier) (statesidecar_entries_counted_timestamp_seconds)", "{{tier}} ago"),
    _graph(
        "More entries", "cps", f"max by {_BY} (statesidecar_entries_growth_per_second)", "{{tier}} {{state_namespace}}"
    ),
    _graph(
        "More bytes",
        "Bps",
        f"max by {_BY} (statesidecar_entries_size_growth_bytes_per_second)",
        "{{tier}} {{state_namespace}}",
    ),
    _graph(
        "Bytes in a week",
        "bytes",
        f"max by {_BY} (statesidecar_entries_size_bytes)"
        f" + 7 * 86400 * max by {_BY} (statesidecar_entries_size_growth_bytes_per_second)",
        "{{tier}} {{state_namespace}}",
        "If it goes on like the last hour",
    ),
)
OUTBOX = (
    _graph("Pending", "none", "max by (pod) (statesidecar_outbox_pending)", "{{pod}}"),
    _graph(
        "Lag", "s", "max by (pod) (statesidecar_outbox_lag_seconds)", "{{pod}}", "Age of the oldest pending message"
    ),
    _graph("Attempts", "ops", _rate("statesidecar_outbox_messages_total", "outcome"), "{{outcome}}"),
    _graph("Dead letters", "none", "max by (pod) (statesidecar_outbox_dead_letters)", "{{pod}}"),
    _graph("Sinks away", "none", "max by (pod) (statesidecar_outbox_sinks_away)", "{{pod}}"),
    Panel(
        "In flight, and keys held up",
        "none",
        [
            ("sum by (pod) (statesidecar_outbox_in_flight)", "{{pod}} in flight"),
            ("sum by (pod) (statesidecar_outbox_parked)", "{{pod}} parked"),
        ],
    ),
)
JOURNAL = (
    _graph(
        "Depth", "none", "sum by (pod) (statesidecar_journal_depth)", "{{pod}}", "Writes that only this pod's disk has"
    ),
    _graph("Age", "s", "max by (pod) (statesidecar_journal_age_seconds)", "{{pod}}"),
    _graph("Bytes", "bytes", "sum by (pod) (statesidecar_journal_bytes)", "{{pod}}"),
    _graph("Settled", "ops", _rate("statesidecar_journal_settled_total", "outcome"), "{{outcome}}", width=12),
    _graph("Dead writes", "none", "sum by (pod) (statesidecar_dead_writes)", "{{pod}}", width=12),
)
CLEANING = (
    _graph("Cleaned", "ops", _rate("statesidecar_cleaned_total", "kind"), "{{kind}}"),
    _graph("Behind", "none", "max by (tier, cleaning_job) (statesidecar_cleaning_behind)", "{{tier}} {{cleaning_job}}"),
    _graph(
        "Since the last whole pass",
        "s",
        "time() - max by (tier, cleaning_job) (statesidecar_cleaning_pass_timestamp_seconds)",
        "{{tier}} {{cleaning_job}}",
    ),
)
PROCESS = (
    _graph(
        "CPU", "percentunit", f"sum by (pod) (rate(process_cpu_seconds_total{WINDOW}))", "{{pod}}", "1: a whole core"
    ),
    _graph("Memory", "bytes", "sum by (pod) (process_resident_memory_bytes)", "{{pod}}"),
    _graph("Open files", "none", "sum by (pod) (process_open_fds)", "{{pod}}"),
    _quantiles("Event loop lag", "statesidecar_event_loop_lag_seconds_bucket"),
    Panel(
        "Followups",
        "none",
        [
            ("sum by (pod) (statesidecar_followups_pending)", "{{pod}} pending"),
            (f"sum by (pod) (rate(statesidecar_followups_dropped_total{WINDOW}))", "{{pod}} dropped per second"),
        ],
    ),
    Panel(
        "Telemetry lost",
        "ops",
        [
            (f"sum (rate(statesidecar_telemetry_spans_dropped_total{WINDOW}))", "spans"),
            (_rate("statesidecar_telemetry_exports_failed_total", "signal"), "exports of {{signal}}"),
        ],
        "Only of daemons that export by OTLP",
    ),
)
ROWS: Sequence[tuple[str, Sequence[Panel]]] = (
    ("Overview", OVERVIEW),
    ("Requests", RED),
    ("Conflicts", CONFLICTS),
    ("Tiers", TIERS),
    ("Sizes and growth", SIZES),
    ("Outbox", OUTBOX),
    ("Journal", JOURNAL),
    ("Cleaning", CLEANING),
    ("Process", PROCESS),
)
