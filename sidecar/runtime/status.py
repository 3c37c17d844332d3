"""What GetStatus answers: everything an operator decides by, from figures in memory. Asks no backend."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from sidecar import __version__
from sidecar.core.breaker import BreakerState
from sidecar.core.histograms import NOTHING, Distribution
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.observed import Pool, Size
from sidecar.engine.cleaning.tally import Cleaned
from sidecar.engine.namespaces import Namespaces
from sidecar.rpc.convert import duration, optional_timestamp, timestamp, wire
from sidecar.rpc.measuring import ABORTED, CANCELLED, OK
from sidecar.runtime.settings import Settings
from sidecar.runtime.telemetry import Telemetry
from sidecar.telemetry.figures import BufferFigures, ExportFigures, Figures, RequestFigures
from sidecar.telemetry.process import resident_bytes
from sidecar.tiers.placement import Placement
from sidecar.tiers.stats import TierReport
from statesidecar.v1 import admin_service_pb2 as pb

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@|\b(password|secret|token)=\S+", re.IGNORECASE)


class StatusTeller:
    """Puts the answer together, at each request anew."""

    def __init__(
        self, figures: Figures, *, settings: Settings, namespaces: Namespaces, telemetry: Telemetry | None
    ) -> None:
        self._figures = figures
        self._urls = settings.tier_urls().shown()
        self._app = settings.app
        self._namespaces = namespaces
        self._telemetry = telemetry

    def status(self, *, draining: bool) -> pb.GetStatusResponse:
        """All of it."""
        figures = self._figures
        response = pb.GetStatusResponse(
            tiers=list(self._tiers()),
            daemon_version=__version__,
            start_time=timestamp(figures.start_time),
            status_time=timestamp(figures.now()),
            app=self._app,
            draining=draining,
            sizes=[_size(size) for size in sorted(figures.sizes(), key=lambda size: -size.bytes)],
            process=_process(),
        )
        self._add_mode(response)
        self._add_requests(response)
        self._add_outbox(response)
        if figures.buffer is not None:
            _add_journal(response, figures.buffer)
        if figures.cleaned is not None:
            response.cleaned_counts.update(figures.cleaned.counts)
            response.cleaning.extend(_cleaning(job) for job in figures.cleaned.jobs)
        if (exports := figures.exports()) is not None:
            response.telemetry.CopyFrom(_telemetry(exports))
        return response

    # ----

    def _add_mode(self, response: pb.GetStatusResponse) -> None:
        mode, health, buffer = self._figures.mode(), self._figures.health, self._figures.buffer
        response.mode = wire(mode)
        if mode is not ServingMode.NORMAL:
            authority = self._namespaces.warm or self._namespaces.hot
            tier, response.mode_reason = mode_reason(authority, mode, 0 if buffer is None else buffer.depth)
            response.mode_tier = wire(tier)
        if health is not None:
            response.mode_time.CopyFrom(timestamp(health.since))
            response.mode_changes = health.changes
            response.mode_seconds.update({each.name.lower(): spent for each, spent in health.seconds.items()})

    def _add_requests(self, response: pb.GetStatusResponse) -> None:
        figures = self._figures.requests()
        response.requests_in_flight = figures.in_flight
        response.followups_pending = figures.followups_pending
        response.followups_dropped = figures.followups_dropped
        response.watchers = figures.watchers
        response.streams.update(figures.streams)
        response.conflicts_last_minute = sum(figures.conflicts_last_minute.values())
        if self._telemetry is not None:
            seconds = max(self._telemetry.requests.last_minute.seconds, 0.001)
            response.last_minute.CopyFrom(duration(seconds))
            response.requests.extend(_requests(figures, seconds))
            for lag in self._telemetry.recent_lag.distributions().values():
                response.event_loop_lag.CopyFrom(_summary(lag))

    def _add_outbox(self, response: pb.GetStatusResponse) -> None:
        outbox = self._figures.outbox()
        if outbox.pending:
            response.outbox_lag.CopyFrom(duration(outbox.lag_s))
        response.outbox_pending = outbox.pending
        response.dead_letters = outbox.dead_letters
        response.outbox_in_flight = outbox.in_flight
        response.outbox_parked = outbox.parked
        response.outbox_sink_errors.extend(scrubbed(error) for error in outbox.sink_errors)

    def _tiers(self) -> Iterator[pb.TierStatus]:
        authority, pools = self._namespaces.warm or self._namespaces.hot, self._figures.pools()
        urls = {Tier.HOT: self._urls.hot, Tier.WARM: self._urls.warm, Tier.COLD: self._urls.cold}
        for tier, report, held in self._figures.tier_reports():
            pool = pools.get(tier)
            yield pb.TierStatus(
                tier=wire(tier),
                url=urls.get(tier, ""),
                state=_state(report),
                breaker=None if report.breaker is None else wire(report.breaker),
                latency=_latency(report),
                hit_ratio=report.hits / report.lookups if report.lookups else None,
                lookups=report.lookups,
                last_error=scrubbed(report.last_error),
                authority=authority is not None and authority.tier is tier,
                bytes_held=held,
                retries=report.retries,
                rejected=report.rejected,
                in_flight=report.in_flight,
                waiting=report.waiting,
                failed_count=report.failures,
                breaker_seconds={state.name.lower(): spent for state, spent in report.breaker_seconds.items()},
                pool=None if pool is None else _pool(pool),
                state_time=optional_timestamp(report.state_time),
                latest_failure=scrubbed(report.latest_failure),
                latest_failure_time=optional_timestamp(report.latest_failure_time),
                hits=report.hits,
                fills_refused=report.fills_refused,
            )
        if self._namespaces.warm is None and not self._urls.cold.startswith("none:"):
            yield pb.TierStatus(tier=wire(Tier.COLD), url=self._urls.cold)  # nobody asks it


def mode_reason(authority: Placement | None, mode: ServingMode, backlog: int) -> tuple[Tier, str]:
    """Which tier keeps the mode from being NORMAL, and why; what is known of it lately."""
    if authority is None:
        return Tier.NONE, "no tier is configured that could be the authority"
    name, error = authority.tier.name.lower(), scrubbed(authority.stats.last_error)
    if authority.away or not authority.guard.passes:
        opened = "" if authority.guard.passes else f" (breaker {_word(authority.guard.breaker.state)})"
        said = f"the {name} tier is away{opened}: {error}"
        if mode is ServingMode.PASSTHROUGH and authority.cached:
            return (
                authority.tier,
                f"{said}; the hot tier is away, too: {scrubbed(authority.cache.guard.stats.last_error)}",
            )
        return authority.tier, said
    if backlog:
        return authority.tier, f"the {name} tier answers again; {backlog} buffered writes are being settled"
    return authority.tier, f"the {name} tier answers again; NORMAL once that has lasted"


def scrubbed(error: str) -> str:
    """A backend's words without credentials, should it have repeated them."""
    return _CREDENTIALS.sub("", error)


def _word(state: BreakerState) -> str:
    return state.name.lower().replace("_", "-")


def _requests(figures: RequestFigures, seconds: float) -> Iterator[pb.RequestStatus]:
    found: dict[str, pb.RequestStatus] = {}
    for (rpc, _, _, outcome), taken in figures.durations.items():
        told = found.setdefault(rpc, pb.RequestStatus(rpc=rpc))
        told.count += taken.count
        told.conflict_count += taken.count if outcome == ABORTED else 0
        told.error_count += taken.count if outcome not in {OK, ABORTED, CANCELLED} else 0
    recent: dict[str, Distribution] = defaultdict(lambda: NOTHING)
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    modes: dict[str, Counter[str]] = defaultdict(Counter)
    for (rpc, _, mode, outcome), taken in figures.last_minute.items():
        recent[rpc] = recent[rpc].plus(taken)
        outcomes[rpc][outcome] += taken.count
        modes[rpc][mode] += taken.count
    for rpc, told in sorted(found.items()):
        told.outcome_counts.update(outcomes[rpc])
        told.mode_counts.update(modes[rpc])
        if rpc in recent:
            told.rate = recent[rpc].count / seconds
            told.latency.CopyFrom(_summary(recent[rpc]))
        yield told


def _summary(taken: Distribution) -> pb.LatencySummary:
    p50, p95, p99 = (duration(seconds) for seconds in taken.quantiles() or (0.0, 0.0, 0.0))
    return pb.LatencySummary(p50=p50, p95=p95, p99=p99, count=taken.count)


def _latency(report: TierReport) -> pb.LatencySummary | None:
    if report.percentiles is None:
        return None
    p50, p95, p99 = (duration(seconds) for seconds in report.percentiles)
    return pb.LatencySummary(p50=p50, p95=p95, p99=p99, count=report.count)


def _state(report: TierReport) -> pb.TierState:
    if report.up is None:
        return pb.TIER_STATE_UNSPECIFIED
    return pb.TIER_STATE_UP if report.up else pb.TIER_STATE_DOWN


def _pool(pool: Pool) -> pb.PoolStatus:
    return pb.PoolStatus(in_use=pool.in_use, idle=pool.idle, size_max=pool.size_max, waiting=pool.waiting)


def _add_journal(response: pb.GetStatusResponse, buffer: BufferFigures) -> None:
    response.journal_depth = buffer.depth
    response.journal_bytes = buffer.bytes_held
    response.dead_writes = len(buffer.dead())
    if (oldest := buffer.oldest_time) is not None:
        response.journal_oldest_time.CopyFrom(timestamp(oldest))


def _cleaning(job: Cleaned) -> pb.CleaningStatus:
    pass_time = optional_timestamp(job.pass_time)
    return pb.CleaningStatus(tier=wire(job.tier), job=job.job, pass_time=pass_time, behind=job.behind)


def _size(size: Size) -> pb.SizeStatus:
    return pb.SizeStatus(
        tier=wire(size.tier),
        namespace=size.namespace,
        entry_count=size.entries,
        size_bytes=size.bytes,
        entries_per_second=size.entries_per_s,
        bytes_per_second=size.bytes_per_s,
        count_time=timestamp(size.time),
        estimated=size.estimated,
    )


def _telemetry(exports: ExportFigures) -> pb.TelemetryStatus:
    return pb.TelemetryStatus(spans_dropped=exports.spans_dropped, failed_counts=exports.failed)


def _process() -> pb.ProcessStatus:
    used = os.times()
    return pb.ProcessStatus(
        pid=os.getpid(), resident_bytes=resident_bytes(), cpu_time=duration(used.user + used.system)
    )
