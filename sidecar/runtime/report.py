"""The daemon's state in words and figures: for GetStatus, the probes and /metrics. Asks no backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from sidecar import __version__
from sidecar.core.modes import ServingMode, Tier, serving_mode
from sidecar.engine.cleaning.tally import Cleaned, Tally
from sidecar.engine.engine import Engine
from sidecar.rpc.calls import Admission
from sidecar.rpc.convert import duration, optional_timestamp, timestamp, wire
from sidecar.runtime.build import Backends
from sidecar.runtime.settings import Settings
from sidecar.runtime.tasks import FollowupQueue
from sidecar.telemetry.metrics import BufferFigures, HealthFigures, OutboxFigures
from sidecar.tiers.stats import TierReport
from statesidecar.v1 import admin_service_pb2 as pb


class Report:
    """Reads the figures of the running parts.

    `health`: the daemon's mode and its past; None: from what the tiers' last operations did. `buffer`: the journal's; None:
    there is none. `cleaned`: what background jobs did; None: there are none. `outbox`: what waits, and what went out.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        backends: Backends,
        engine: Engine,
        admission: Admission,
        followups: FollowupQueue,
        start_time: int,
        health: HealthFigures | None = None,
        buffer: BufferFigures | None = None,
        cleaned: Tally | None = None,
        outbox: Callable[[], OutboxFigures] = OutboxFigures,
    ) -> None:
        self._settings = settings
        self._backends = backends
        self._engine = engine
        self._admission = admission
        self._followups = followups
        self._start_time = start_time
        self.health = health
        self.buffer = buffer
        self.cleaned = cleaned
        self.outbox = outbox

    def mode(self) -> ServingMode:
        """The guarantee that answers carry now, for namespaces with `authority: warm`."""
        if self.health is not None:
            return self.health.mode()
        placement = self._engine.namespaces.warm or self._engine.namespaces.hot
        if placement is None:
            return ServingMode.PASSTHROUGH
        return serving_mode(authority_answers=not placement.away, copies_answer=placement.cached)

    def status(self) -> pb.GetStatusResponse:
        """All of it."""
        outbox = self.outbox()
        return pb.GetStatusResponse(
            mode=wire(self.mode()),
            tiers=list(self._tiers()),
            daemon_version=__version__,
            start_time=timestamp(self._start_time),
            app=self._settings.app,
            draining=self._admission.draining,
            requests_in_flight=self._admission.in_flight,
            followups_pending=len(self._followups),
            outbox_lag=duration(outbox.lag_s) if outbox.pending else None,
            outbox_pending=outbox.pending,
            dead_letters=outbox.dead_letters,
            journal_depth=0 if self.buffer is None else self.buffer.depth,
            dead_writes=0 if self.buffer is None else len(self.buffer.dead()),
            journal_oldest_time=None if self.buffer is None else optional_timestamp(self.buffer.oldest_time),
            cleaned_counts={} if self.cleaned is None else self.cleaned.counts,
            cleaning=[] if self.cleaned is None else [_cleaning(job) for job in self.cleaned.jobs],
        )

    def ready(self) -> tuple[bool, str]:
        """Ready from start to drain; a backend that is away doesn't make us unready, the detail says that it is."""
        detail = {
            "mode": self.mode().name,
            "draining": self._admission.draining,
            "tiers": {tier.name.lower(): _word(report) for tier, report, _ in self.tier_reports()},
            "journal_depth": 0 if self.buffer is None else self.buffer.depth,
        }
        return not self._admission.draining, json.dumps(detail)

    def tier_reports(self) -> Iterator[tuple[Tier, TierReport, int]]:
        """Each configured tier that has figures, hottest first, with the bytes it holds in this process."""
        namespaces = self._engine.namespaces
        held = sum(getattr(backend, "bytes_held", 0) for backend in (self._backends.cache, self._backends.hot_store))
        if namespaces.warm is not None and namespaces.warm.near is not None:
            near = namespaces.warm.near
            yield Tier.NEAR, near.stats.report(), near.bytes_held
        if namespaces.hot is not None:
            yield Tier.HOT, namespaces.hot.guard.report(), held
        elif namespaces.warm is not None and namespaces.warm.cached:
            yield Tier.HOT, namespaces.warm.cache.guard.report(), held
        if namespaces.warm is not None:
            yield Tier.WARM, namespaces.warm.guard.report(), getattr(self._backends.warm, "bytes_held", 0)

    def _tiers(self) -> Iterator[pb.TierStatus]:
        urls = self._settings.tier_urls().shown()
        for tier, report, held in self.tier_reports():
            authority = self._engine.namespaces.warm or self._engine.namespaces.hot
            yield pb.TierStatus(
                tier=wire(tier),
                url="" if tier is Tier.NEAR else urls.hot if tier is Tier.HOT else urls.warm,
                state=_state(report),
                breaker=None if report.breaker is None else wire(report.breaker),
                latency=_latency(report),
                hit_ratio=report.hits / report.lookups if report.lookups else None,
                lookups=report.lookups,
                last_error=report.last_error,
                authority=authority is not None and authority.tier is tier,
                bytes_held=held,
            )
        if self._backends.cold is not None:
            yield pb.TierStatus(tier=wire(Tier.COLD), url=urls.cold)


def _state(report: TierReport) -> pb.TierState:
    if report.up is None:
        return pb.TIER_STATE_UNSPECIFIED
    return pb.TIER_STATE_UP if report.up else pb.TIER_STATE_DOWN


def _word(report: TierReport) -> str:
    return "unknown" if report.up is None else "up" if report.up else "down"


def _cleaning(job: Cleaned) -> pb.CleaningStatus:
    pass_time = optional_timestamp(job.pass_time)
    return pb.CleaningStatus(tier=wire(job.tier), job=job.job, pass_time=pass_time, behind=job.behind)


def _latency(report: TierReport) -> pb.LatencySummary | None:
    if report.percentiles is None:
        return None
    p50, p95, p99 = (duration(seconds) for seconds in report.percentiles)
    return pb.LatencySummary(p50=p50, p95=p95, p99=p99, count=report.count)
