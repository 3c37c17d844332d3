"""The figures of a running daemon, as families of points: read when they are asked for, counted nowhere twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sidecar import __version__
from sidecar.core.breaker import BreakerState
from sidecar.core.histograms import Distribution
from sidecar.core.journal import Settlement
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.observed import Pool, Size
from sidecar.engine.cleaning.tally import Tally
from sidecar.telemetry import instruments as own
from sidecar.telemetry.figures import BufferFigures, Figures, HealthFigures, OutboxFigures, RequestFigures
from sidecar.telemetry.instruments import Instrument
from sidecar.tiers.stats import TierReport


class Family(NamedTuple):
    """The points of an instrument: of each the values of its labels, and what it is now."""

    instrument: Instrument
    points: Sequence[tuple[tuple[str, ...], float | Distribution]]


def collect(figures: Figures) -> Iterator[Family]:
    """Every family that has something to tell."""
    yield Family(own.BUILD_INFO, [((__version__,), 1)])
    yield _one(own.START_TIME, figures.start_time / 1000)
    yield from _requests(figures.requests())
    now = figures.mode()
    yield Family(own.MODE, [((mode.name.lower(),), mode is now) for mode in ServingMode])
    if figures.health is not None:
        yield from _health(figures.health)
    reports = [(tier.name.lower(), report, held) for tier, report, held in figures.tier_reports()]
    yield from _tiers(reports)
    yield from _guards([(tier, report) for tier, report, _ in reports if report.breaker is not None])
    yield from _backends(figures.pools(), figures.batches())
    yield from _sizes(figures.sizes())
    if figures.cleaned is not None:
        yield from _cleaning(figures.cleaned)
    if figures.buffer is not None:
        yield from _journal(figures.buffer, figures.now())
    yield from _outbox(figures.outbox())
    if (exports := figures.exports()) is not None:
        yield _one(own.SPANS_DROPPED, exports.spans_dropped)
        yield Family(own.EXPORTS_FAILED, [((signal,), count) for signal, count in exports.failed.items()])


def _one(instrument: Instrument, value: float) -> Family:
    return Family(instrument, [((), value)])


def _requests(requests: RequestFigures) -> Iterator[Family]:
    yield Family(own.REQUEST_DURATION, list(requests.durations.items()))
    yield _one(own.REQUESTS_IN_FLIGHT, requests.in_flight)
    yield Family(own.STREAMS, [((rpc,), count) for rpc, count in requests.streams.items()])
    yield _one(own.WATCHERS, requests.watchers)
    conflicts: dict[tuple[str, ...], float] = {}
    for (rpc, kind, _, outcome), taken in requests.durations.items():
        lost = taken.count if outcome == "aborted" else 0
        conflicts[rpc, kind] = conflicts.get((rpc, kind), 0) + lost
    yield Family(own.CONFLICTS, list(conflicts.items()))
    yield Family(
        own.CONFLICTS_LAST_MINUTE, [((kind,), count) for kind, count in requests.conflicts_last_minute.items()]
    )
    yield _one(own.FOLLOWUPS_PENDING, requests.followups_pending)
    yield _one(own.FOLLOWUPS_DROPPED, requests.followups_dropped)
    if requests.loop_lag is not None:
        yield Family(own.EVENT_LOOP_LAG, [((), requests.loop_lag)])


def _health(health: HealthFigures) -> Iterator[Family]:
    yield _one(own.MODE_CHANGES, health.changes)
    yield Family(own.MODE_SECONDS, [((mode.name.lower(),), spent) for mode, spent in health.seconds.items()])


def _tiers(reports: Sequence[tuple[str, TierReport, int]]) -> Iterator[Family]:
    yield Family(own.TIER_UP, [((tier,), report.up is not False) for tier, report, _ in reports])
    yield Family(own.TIER_OPERATIONS, [((tier,), report.count) for tier, report, _ in reports])
    yield Family(
        own.TIER_OPERATION_DURATION,
        [
            ((tier, operation, "answered" if answered else "failed"), taken)
            for tier, report, _ in reports
            for (operation, answered), taken in report.durations.items()
        ],
    )
    yield Family(
        own.TIER_LOOKUPS,
        [
            ((tier, result), count)
            for tier, report, _ in reports
            for result, count in (("hit", report.hits), ("miss", report.lookups - report.hits))
        ],
    )
    yield Family(own.FILLS_REFUSED, [((tier,), report.fills_refused) for tier, report, _ in reports])
    yield Family(own.TIER_HELD_BYTES, [((tier,), held) for tier, _, held in reports])


def _guards(reports: Sequence[tuple[str, TierReport]]) -> Iterator[Family]:
    """Of the tiers that have a breaker."""
    yield Family(
        own.BREAKER_STATE,
        [((tier, state.name.lower()), state is report.breaker) for tier, report in reports for state in BreakerState],
    )
    yield Family(
        own.BREAKER_SECONDS,
        [
            ((tier, state.name.lower()), spent)
            for tier, report in reports
            for state, spent in report.breaker_seconds.items()
        ],
    )
    yield Family(own.TIER_REJECTED, [((tier,), report.rejected) for tier, report in reports])
    yield Family(own.RETRIES, [((tier,), report.retries) for tier, report in reports])
    yield Family(
        own.TIER_CALLS,
        [
            ((tier, state), count)
            for tier, report in reports
            for state, count in (("in_flight", report.in_flight), ("waiting", report.waiting))
        ],
    )


def _backends(pools: Mapping[Tier, Pool], batches: Mapping[Tier, Distribution]) -> Iterator[Family]:
    yield Family(
        own.POOL_CONNECTIONS,
        [
            ((tier.name.lower(), state), count)
            for tier, pool in pools.items()
            for state, count in (("in_use", pool.in_use), ("idle", pool.idle), ("waiting", pool.waiting))
        ],
    )
    yield Family(own.POOL_LIMIT, [((tier.name.lower(),), pool.size_max) for tier, pool in pools.items()])
    yield Family(own.COMMIT_WRITES, [((tier.name.lower(),), sizes) for tier, sizes in batches.items()])


def _sizes(sizes: Sequence[Size]) -> Iterator[Family]:
    at = [((size.tier.name.lower(), size.namespace), size) for size in sizes]
    yield Family(own.ENTRIES, [(labels, size.entries) for labels, size in at])
    yield Family(own.ENTRY_BYTES, [(labels, size.bytes) for labels, size in at])
    yield Family(
        own.ENTRIES_GROWTH,
        [(labels, size.entries_per_s) for labels, size in at if size.entries_per_s is not None],
    )
    yield Family(
        own.ENTRY_BYTES_GROWTH, [(labels, size.bytes_per_s) for labels, size in at if size.bytes_per_s is not None]
    )
    times = {size.tier.name.lower(): size.time for size in sizes}
    yield Family(own.ENTRIES_COUNTED, [((tier,), time / 1000) for tier, time in times.items()])


def _cleaning(tally: Tally) -> Iterator[Family]:
    yield Family(own.CLEANED, [((kind,), count) for kind, count in sorted(tally.counts.items())])
    jobs = [((job.tier.name.lower(), job.job), job) for job in tally.jobs]
    yield Family(own.CLEANING_BEHIND, [(labels, job.behind) for labels, job in jobs])
    yield Family(
        own.CLEANING_PASS, [(labels, job.pass_time / 1000) for labels, job in jobs if job.pass_time is not None]
    )


def _journal(buffer: BufferFigures, now: int) -> Iterator[Family]:
    oldest = buffer.oldest_time
    yield _one(own.JOURNAL_DEPTH, buffer.depth)
    yield _one(own.JOURNAL_BYTES, buffer.bytes_held)
    yield _one(own.JOURNAL_AGE, 0.0 if oldest is None else max(now - oldest, 0) / 1000)
    settled = buffer.settled
    yield Family(own.JOURNAL_SETTLED, [((outcome.value,), settled.get(outcome, 0)) for outcome in Settlement])
    yield _one(own.DEAD_WRITES, len(buffer.dead()))


def _outbox(outbox: OutboxFigures) -> Iterator[Family]:
    yield _one(own.OUTBOX_PENDING, outbox.pending)
    yield _one(own.OUTBOX_LAG, outbox.lag_s)
    yield _one(own.OUTBOX_DEAD_LETTERS, outbox.dead_letters)
    yield _one(own.OUTBOX_IN_FLIGHT, outbox.in_flight)
    yield _one(own.OUTBOX_PARKED, outbox.parked)
    yield _one(own.OUTBOX_SINKS_AWAY, outbox.sinks_away)
    attempts = (("delivered", outbox.delivered), ("refused", outbox.refused), ("dead", outbox.buried))
    yield Family(own.OUTBOX_MESSAGES, [((outcome,), count) for outcome, count in attempts])
