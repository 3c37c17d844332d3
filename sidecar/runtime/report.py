"""The daemon's state in words and figures: for GetStatus, the probes and /metrics. Asks no backend."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from sidecar.core.histograms import Distribution
from sidecar.core.modes import ServingMode, Tier, serving_mode
from sidecar.core.observed import Grouping, Pool, Pooled, Size
from sidecar.engine.cleaning.tally import Tally
from sidecar.engine.engine import Engine
from sidecar.rpc.calls import Admission
from sidecar.rpc.measuring import ABORTED
from sidecar.runtime.adapters import Backends
from sidecar.runtime.settings import Settings
from sidecar.runtime.status import StatusTeller
from sidecar.runtime.tasks import FollowupQueue
from sidecar.runtime.telemetry import Telemetry
from sidecar.telemetry.figures import BufferFigures, ExportFigures, HealthFigures, OutboxFigures, RequestFigures
from sidecar.tiers.stats import TierReport
from statesidecar.v1 import admin_service_pb2 as pb


class Report:
    """Reads the figures of the running parts.

    `health`: the daemon's mode and its past; None: from what the tiers' last operations did. `buffer`: the journal's; None:
    there is none. `cleaned`: what background jobs did; None: there are none. `outbox`: what waits, and what went out.
    `telemetry`: what was measured of requests; None: nothing was.
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
        telemetry: Telemetry | None = None,
        watchers: Callable[[], int] = lambda: 0,
        sizes: Callable[[], Sequence[Size]] = tuple,
        now: Callable[[], int] = lambda: 0,
    ) -> None:
        self._backends = backends
        self._engine = engine
        self._admission = admission
        self._followups = followups
        self.start_time = start_time
        self._telemetry = telemetry
        self._watchers = watchers
        self._sizes = sizes
        self.now = now
        self.health = health
        self.buffer = buffer
        self.cleaned = cleaned
        self.outbox = outbox
        self._teller = StatusTeller(self, settings=settings, namespaces=engine.namespaces, telemetry=telemetry)

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
        return self._teller.status(draining=self._admission.draining)

    def ready(self) -> tuple[bool, str]:
        """Ready from start to drain; a backend that is away doesn't make us unready, the detail says that it is."""
        detail = {
            "mode": self.mode().name,
            "draining": self._admission.draining,
            "tiers": {tier.name.lower(): _word(report) for tier, report, _ in self.tier_reports()},
            "journal_depth": 0 if self.buffer is None else self.buffer.depth,
        }
        return not self._admission.draining, json.dumps(detail)

    def requests(self) -> RequestFigures:
        """Of all RPCs."""
        if self._telemetry is None:
            return RequestFigures()
        measured = self._telemetry.requests
        last_minute = measured.last_minute.distributions()
        lost: Counter[str] = Counter({series.kind: 0 for series in list(measured.durations)})
        for series, recent in last_minute.items():
            lost[series.kind] += recent.count if series.outcome == ABORTED else 0
        return RequestFigures(
            durations={series: histogram.distribution() for series, histogram in list(measured.durations.items())},
            last_minute=dict(last_minute.items()),
            conflicts_last_minute=lost,
            in_flight=self._admission.in_flight,
            streams=dict(measured.open_streams),
            watchers=self._watchers(),
            followups_pending=len(self._followups),
            followups_dropped=self._followups.dropped,
            loop_lag=self._telemetry.loop_lag.histogram.distribution(),
        )

    def sizes(self) -> Sequence[Size]:
        """What is kept, by the latest count."""
        return self._sizes()

    def exports(self) -> ExportFigures | None:
        """None: nothing is exported."""
        return None if self._telemetry is None else self._telemetry.exports()

    def pools(self) -> Mapping[Tier, Pool]:
        """Of the backends that have one."""
        found = [(tier, backend.pool) for tier, backend in self._backends.by_tier() if isinstance(backend, Pooled)]
        return dict(found)

    def batches(self) -> Mapping[Tier, Distribution]:
        """Of the stores that group commits."""
        found = [(tier, one) for tier, one in self._backends.by_tier() if isinstance(one, Grouping)]
        return {tier: backend.batches.distribution() for tier, backend in found}

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
            if namespaces.warm.blobs is not None:
                yield Tier.COLD, namespaces.warm.blobs.guard.report(), 0


def _word(report: TierReport) -> str:
    return "unknown" if report.up is None else "up" if report.up else "down"
