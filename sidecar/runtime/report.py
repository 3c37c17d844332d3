"""The daemon's state in words and figures: for GetStatus, the probes and /metrics. Asks no backend."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sidecar import __version__
from sidecar.core.modes import ServingMode, Tier, serving_mode
from sidecar.engine.engine import Engine
from sidecar.rpc.calls import Admission
from sidecar.rpc.convert import duration, timestamp, wire
from sidecar.runtime.build import Backends
from sidecar.runtime.settings import Settings
from sidecar.runtime.tasks import FollowupQueue
from sidecar.tiers.stats import TierReport
from statesidecar.v1 import admin_service_pb2 as pb


class Report:
    """Reads the figures of the running parts."""

    def __init__(
        self,
        settings: Settings,
        *,
        backends: Backends,
        engine: Engine,
        admission: Admission,
        followups: FollowupQueue,
        start_time: int,
    ) -> None:
        self._settings = settings
        self._backends = backends
        self._engine = engine
        self._admission = admission
        self._followups = followups
        self._start_time = start_time

    def mode(self) -> ServingMode:
        """The guarantee that answers carry now, for namespaces with `authority: warm`."""
        placement = self._engine.namespaces.warm or self._engine.namespaces.hot
        if placement is None:
            return ServingMode.PASSTHROUGH
        return serving_mode(authority_up=placement.stats.up is not False, copy_may_answer=placement.cached)

    def status(self) -> pb.GetStatusResponse:
        """All of it."""
        return pb.GetStatusResponse(
            mode=wire(self.mode()),
            tiers=list(self._tiers()),
            daemon_version=__version__,
            start_time=timestamp(self._start_time),
            app=self._settings.app,
            draining=self._admission.draining,
            requests_in_flight=self._admission.in_flight,
            followups_pending=len(self._followups),
        )

    def ready(self) -> tuple[bool, str]:
        """Ready from start to drain; a backend that is away doesn't make us unready, the detail says that it is."""
        detail = {"mode": self.mode().name, "draining": self._admission.draining}
        return not self._admission.draining, json.dumps(detail)

    def tier_reports(self) -> Iterator[tuple[Tier, TierReport, int]]:
        """Each configured tier that has figures, hottest first, with the bytes it holds in this process."""
        namespaces = self._engine.namespaces
        held = sum(getattr(backend, "bytes_held", 0) for backend in (self._backends.cache, self._backends.hot_store))
        if namespaces.warm is not None and namespaces.warm.near is not None:
            near = namespaces.warm.near
            yield Tier.NEAR, near.stats.report(), near.bytes_held
        if namespaces.hot is not None:
            yield Tier.HOT, namespaces.hot.stats.report(), held
        elif namespaces.warm is not None and namespaces.warm.cached:
            yield Tier.HOT, namespaces.warm.cache.stats.report(), held
        if namespaces.warm is not None:
            yield Tier.WARM, namespaces.warm.stats.report(), getattr(self._backends.warm, "bytes_held", 0)

    def _tiers(self) -> Iterator[pb.TierStatus]:
        urls = self._settings.tier_urls().shown()
        for tier, report, held in self.tier_reports():
            authority = self._engine.namespaces.warm or self._engine.namespaces.hot
            yield pb.TierStatus(
                tier=wire(tier),
                url="" if tier is Tier.NEAR else urls.hot if tier is Tier.HOT else urls.warm,
                state=_state(report),
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


def _latency(report: TierReport) -> pb.LatencySummary | None:
    if report.percentiles is None:
        return None
    p50, p95, p99 = (duration(seconds) for seconds in report.percentiles)
    return pb.LatencySummary(p50=p50, p95=p95, p99=p99, count=report.count)
