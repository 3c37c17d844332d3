"""Every instrument: its name, unit, labels and meaning, for Prometheus and for OTLP. docs/metrics.md is made from this.

Names are OpenTelemetry's; Prometheus has them with underscores, the unit, and `_total` for what only grows. No label ever
holds a key or a value. Labels are bounded by what is configured, not by what callers send. None has a name that scrapers
give to the target (`namespace`, `pod`, `container`, `job`, `instance`): Prometheus would rename ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sidecar.core.histograms import INDEX_MIN, PER_DOUBLING

_UNITS = {"s": "seconds", "By": "bytes", "By/s": "bytes_per_second", "{entry}/s": "per_second"}


class Form(StrEnum):
    """What kind of instrument it is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One of them. `unit` is UCUM's; `places`: the buckets of a histogram whose bounds Prometheus is told."""

    name: str
    form: Form
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    places: Sequence[int] = ()

    @property
    def prometheus(self) -> str:
        """Its name there, without the `_total` of counters."""
        name, unit = self.name.replace(".", "_"), _UNITS.get(self.unit, "")
        return name if not unit or name.endswith(unit) else f"{name}_{unit}"

    @property
    def exposed(self) -> str:
        """What a Prometheus query names."""
        return f"{self.prometheus}_total" if self.form is Form.COUNTER else self.prometheus


def _places(*spans: tuple[int, int, int]) -> tuple[int, ...]:
    """Buckets by their upper bounds: from 2^first to 2^last, so many a doubling; each once."""
    eighths = {
        eighth
        for first, last, density in spans
        for eighth in range(first * PER_DOUBLING, last * PER_DOUBLING + 1, PER_DOUBLING // density)
    }
    return tuple(eighth - 1 - INDEX_MIN for eighth in sorted(eighths))


FINE = _places((-17, -13, 2), (-13, 0, 8), (0, 7, 2))
"""8 µs to 128 s, and from 0.12 ms to 1 s at every 9 %: quantiles of requests."""
COARSE = _places((-16, 6, 2))
"""15 µs to 64 s."""
NUMBERS = _places((0, 12, 2))
"""1 to 4,096 things."""


def _counter(name: str, unit: str, meaning: str, *labels: str) -> Instrument:
    return Instrument(f"statesidecar.{name}", Form.COUNTER, unit, meaning, labels)


def _gauge(name: str, unit: str, meaning: str, *labels: str) -> Instrument:
    return Instrument(f"statesidecar.{name}", Form.GAUGE, unit, meaning, labels)


def _histogram(name: str, unit: str, meaning: str, *labels: str, places: Sequence[int]) -> Instrument:
    return Instrument(f"statesidecar.{name}", Form.HISTOGRAM, unit, meaning, labels, places)


BUILD_INFO = _gauge("build.info", "1", "Version of the daemon; always 1", "version")
START_TIME = _gauge("start.timestamp", "s", "When the daemon started, in seconds since 1970")

# ---- requests
REQUEST_DURATION = _histogram(
    "request.duration",
    "s",
    "From a request's arrival to its answer, by RPC, kind of its namespace, mode of the answer, and gRPC status",
    *("rpc", "kind", "mode", "outcome"),
    places=FINE,
)
REQUESTS_IN_FLIGHT = _gauge("requests.in_flight", "{request}", "Requests that are being answered")
STREAMS = _gauge("streams", "{stream}", "Streams that are open", "rpc")
WATCHERS = _gauge("watchers", "{watcher}", "Watchers that are served")
CONFLICTS = _counter("conflicts", "{request}", "Requests that lost against another write (ABORTED)", "rpc", "kind")
CONFLICTS_LAST_MINUTE = _gauge(
    "conflicts.last_minute", "{request}", "Requests that lost against another write within the last minute", "kind"
)
FOLLOWUPS_PENDING = _gauge("followups.pending", "{followup}", "Fills and other work that replies left to be done")
FOLLOWUPS_DROPPED = _counter("followups.dropped", "{followup}", "Of those, dropped because too many waited")
EVENT_LOOP_LAG = _histogram(
    "event_loop.lag", "s", "How much later than due the daemon's event loop did something", places=COARSE
)

# ---- mode
MODE = _gauge("mode", "1", "1 for the mode that answers carry now", "mode")
MODE_CHANGES = _counter("mode.changes", "{change}", "Changes of the mode since the start")
MODE_SECONDS = _counter("mode.seconds", "s", "Seconds in each mode since the start", "mode")

# ---- tiers
TIER_UP = _gauge("tier.up", "1", "Whether the tier's last operation was answered", "tier")
TIER_OPERATIONS = _counter("tier.operations", "{operation}", "Operations that were answered", "tier")
TIER_OPERATION_DURATION = _histogram(
    "tier.operation.duration",
    "s",
    "Duration of operations on a tier; result: answered (refusals, too) or failed",
    *("tier", "operation", "result"),
    places=COARSE,
)
TIER_LOOKUPS = _counter("tier.lookups", "{key}", "Keys looked up", "tier", "result")
TIER_HELD_BYTES = _gauge("tier.held", "By", "Bytes held in this process", "tier")
TIER_CALLS = _gauge("tier.calls", "{call}", "Calls to the tier: under way, or waiting for one to end", "tier", "state")
TIER_REJECTED = _counter("tier.rejected", "{call}", "Calls that the tier's open breaker refused", "tier")
RETRIES = _counter("retries", "{call}", "Calls to the tier that were made again", "tier")
FILLS_REFUSED = _counter(
    "fills.refused", "{entry}", "Copies that lost a race against a newer write, and were not cached", "tier"
)
BREAKER_STATE = _gauge("breaker.state", "1", "1 for the state of the tier's breaker", "tier", "state")
BREAKER_SECONDS = _counter("breaker.seconds", "s", "Seconds of the tier's breaker in each state", "tier", "state")
POOL_CONNECTIONS = _gauge(
    "pool.connections", "{connection}", "Connections to the tier's backend, or threads on it", "tier", "state"
)
POOL_LIMIT = _gauge("pool.limit", "{connection}", "The most that there may be; 0: not bounded here", "tier")
COMMIT_WRITES = _histogram("commit.writes", "{write}", "Writes that were committed together", "tier", places=NUMBERS)

# ---- what is kept
ENTRIES = _gauge("entries", "{entry}", "Live entries by the latest count", "tier", "state_namespace")
ENTRY_BYTES = _gauge("entries.size", "By", "Bytes of their keys and values", "tier", "state_namespace")
ENTRIES_GROWTH = _gauge(
    "entries.growth",
    "{entry}/s",
    "How many more entries a second, over the last hour at most",
    "tier",
    "state_namespace",
)
ENTRY_BYTES_GROWTH = _gauge(
    "entries.size.growth", "By/s", "How many more bytes a second, over the last hour at most", "tier", "state_namespace"
)
ENTRIES_COUNTED = _gauge("entries.counted.timestamp", "s", "When that was counted, in seconds since 1970", "tier")
CLEANED = _counter("cleaned", "{thing}", "Things that background jobs cleaned since the start", "kind")
CLEANING_BEHIND = _gauge(
    "cleaning.behind", "1", "1 while the job's latest step left more to do", "tier", "cleaning_job"
)
CLEANING_PASS = _gauge(
    "cleaning.pass.timestamp",
    "s",
    "When this daemon last ended a whole pass of the job, by the authority's clock",
    *("tier", "cleaning_job"),
)

# ---- journal
JOURNAL_DEPTH = _gauge("journal.depth", "{write}", "Writes in the journal that the authority has not seen yet")
JOURNAL_BYTES = _gauge("journal.bytes", "By", "Bytes of writes that the journal holds, dead ones too")
JOURNAL_AGE = _gauge("journal.age", "s", "Age of the oldest write in the journal that is not settled; 0: there is none")
JOURNAL_SETTLED = _counter("journal.settled", "{write}", "Buffered writes that were settled since the start", "outcome")
DEAD_WRITES = _gauge(
    "dead_writes",
    "{write}",
    "Buffered writes that the authority could not take, kept until redriven or discarded",
)

# ---- outbox
OUTBOX_PENDING = _gauge(
    "outbox.pending", "{message}", "Committed messages that are not delivered yet, as this daemon counted last"
)
OUTBOX_LAG = _gauge("outbox.lag", "s", "Age of the oldest of those; 0: there is none")
OUTBOX_DEAD_LETTERS = _gauge("outbox.dead_letters", "{message}", "Messages that were given up on and are kept")
OUTBOX_IN_FLIGHT = _gauge("outbox.in_flight", "{message}", "Messages that this daemon publishes now")
OUTBOX_PARKED = _gauge("outbox.parked", "{key}", "Keys that a refused message of theirs holds up here")
OUTBOX_SINKS_AWAY = _gauge("outbox.sinks_away", "{sink}", "Sinks that take nothing from this daemon now")
OUTBOX_MESSAGES = _counter("outbox.messages", "{message}", "Attempts to deliver a message since the start", "outcome")

# ---- of telemetry itself
SPANS_DROPPED = _counter("telemetry.spans.dropped", "{span}", "Spans that no collector took in time")
EXPORTS_FAILED = _counter("telemetry.exports.failed", "{export}", "Batches that no collector took", "signal")

INSTRUMENTS: tuple[Instrument, ...] = tuple(
    value for name, value in list(globals().items()) if name.isupper() and isinstance(value, Instrument)
)
