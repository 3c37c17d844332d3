"""What GetStatus makes of a daemon's figures: which tier is to blame, since when, why, and what callers had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from sidecar.core.errors import StoreUnavailable
from sidecar.core.limits import Limits
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.observed import Pool, Size
from sidecar.core.policy import PolicyTable
from sidecar.engine.engine import Engine
from sidecar.rpc.calls import Admission
from sidecar.runtime.adapters import Backends
from sidecar.runtime.report import Report
from sidecar.runtime.status import scrubbed
from sidecar.runtime.tasks import FollowupQueue
from sidecar.runtime.telemetry import Telemetry
from sidecar.stores.memory import MemoryCache, MemoryStore
from sidecar.telemetry.figures import ExportFigures, OutboxFigures
from sidecar.tiers.health import Health
from sidecar.tiers.placement import Placement
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1 import state_service_pb2, types_pb2
from tests.support.clock import START_MS, ManualClock
from tests.support.daemon import settings
from tests.support.ports import ManualPorts

AWAY = StoreUnavailable("connection to postgresql://user:s3cret@db:5432/shop refused, password=s3cret")


class Parts:
    """A daemon's parts on a clock that a test moves, and the status of them."""

    def __init__(self, data_dir: Path, *, backlog: int = 0, **given: Any) -> None:
        self.clock = ManualClock()
        ports = ManualPorts(self.clock)
        cache, store = MemoryCache(bytes_max=1 << 20, identity="a"), MemoryStore(clock=self.clock)
        self.warm = Placement(store, tier=Tier.WARM, ports=ports, cache=cache)
        self.health = Health(self.warm, clock=self.clock, backlog=lambda: backlog)
        self.telemetry = Telemetry(settings(data_dir), mode=self.health.mode)
        self.report = Report(
            settings(data_dir),
            backends=Backends(cache=cache, warm=store),
            engine=Engine(policies=PolicyTable({}), limits=Limits(), hot=None, warm=self.warm),
            admission=Admission(10),
            followups=FollowupQueue(10),
            start_time=START_MS,
            health=self.health,
            telemetry=self.telemetry,
            now=self.clock.now,
            **given,
        )

    def pass_(self, seconds: float) -> None:
        self.clock.advance(int(seconds * 1000))
        self.health.look()

    async def call(self, error: Exception | None = None) -> None:
        """One operation of the authority."""

        async def operation() -> None:
            if error is not None:
                raise error

        try:
            await self.warm.guard.call("get", operation)
        except StoreUnavailable:
            assert error is not None

    async def request(self, rpc: str, code: grpc.StatusCode | None = None, mode: int = 1) -> None:
        """One that a caller sent."""
        context = SimpleNamespace(code=lambda: code)

        async def behaviour(_: object, __: object) -> Any:
            if code is not None:
                raise RuntimeError
            return state_service_pb2.GetResponse(mode=cast("Any", mode))

        served = self.telemetry.requests.unary("statesidecar.v1.StateService", rpc, behaviour)
        try:
            await served(state_service_pb2.GetRequest(namespace="session"), cast("Any", context))
        except RuntimeError:
            assert code is not None

    def status(self) -> pb.GetStatusResponse:
        return self.report.status()

    def tier(self, tier: Tier) -> pb.TierStatus:
        return next(one for one in self.status().tiers if one.tier == tier.value)


async def test_an_outage_is_told_with_its_tier_its_start_and_its_reason_and_ends(tmp_path: Path) -> None:
    made = Parts(tmp_path)
    await made.call()
    made.pass_(60)
    assert (made.status().mode, made.status().mode_reason) == (types_pb2.SERVING_MODE_NORMAL, "")
    assert made.status().mode_time.ToMilliseconds() == START_MS

    made.warm.guard.trip(AWAY)
    made.pass_(0)
    made.pass_(12)
    status = made.status()
    assert (status.mode, status.mode_tier) == (types_pb2.SERVING_MODE_DEGRADED, types_pb2.TIER_WARM)
    assert status.mode_reason == (
        "the warm tier is away (breaker open): connection to postgresql://db:5432/shop refused, "
    )
    assert status.mode_time.ToMilliseconds() == START_MS + 60_000
    assert (status.mode_changes, status.mode_seconds["degraded"]) == (1, 12.0)
    warm = made.tier(Tier.WARM)
    assert (warm.state, warm.state_time.ToMilliseconds()) == (pb.TIER_STATE_DOWN, START_MS + 60_000)

    for _ in range(2):
        made.clock.advance(3000)
        await made.warm.guard.probe()
    made.health.look()
    assert made.status().mode_reason == "the warm tier answers again; NORMAL once that has lasted"
    made.pass_(2)
    warm = made.tier(Tier.WARM)
    assert (made.status().mode, made.status().mode_tier) == (types_pb2.SERVING_MODE_NORMAL, types_pb2.TIER_UNSPECIFIED)
    assert (warm.state, warm.last_error) == (pb.TIER_STATE_UP, "")
    assert warm.state_time.ToMilliseconds() == START_MS + 78_000
    assert warm.latest_failure.startswith("connection to postgresql://db:5432")
    assert warm.latest_failure_time.ToMilliseconds() == START_MS + 60_000


async def test_bad_news_is_dated_at_once(tmp_path: Path) -> None:
    made = Parts(tmp_path)
    made.pass_(5)
    made.clock.advance(1_000)
    made.warm.guard.trip(AWAY)

    assert made.status().mode == types_pb2.SERVING_MODE_DEGRADED
    assert made.status().mode_time.ToMilliseconds() == START_MS + 6_000


async def test_both_tiers_are_told_where_both_are_away(tmp_path: Path) -> None:
    made = Parts(tmp_path)
    made.warm.guard.trip(AWAY)
    made.warm.cache.guard.trip(StoreUnavailable("hot is gone"))
    made.pass_(0)

    assert made.report.mode() is ServingMode.PASSTHROUGH
    assert made.status().mode_reason.endswith("; the hot tier is away, too: hot is gone")


async def test_a_backlog_is_told_as_the_reason_once_the_tier_answers(tmp_path: Path) -> None:
    made = Parts(tmp_path, backlog=3, buffer=SimpleNamespace(depth=3, bytes_held=7, oldest_time=None, dead=list))
    made.pass_(0)

    status = made.status()

    assert status.mode_reason == "the warm tier answers again; 3 buffered writes are being settled"
    assert (status.journal_depth, status.journal_bytes) == (3, 7)


async def test_failures_are_counted_by_tier(tmp_path: Path) -> None:
    made = Parts(tmp_path)
    for error in (None, AWAY, AWAY, AWAY, AWAY):
        await made.call(error)
        made.clock.advance(1)

    warm = made.tier(Tier.WARM)

    assert (warm.failed_count, warm.rejected, warm.breaker) == (3, 1, pb.BREAKER_STATE_OPEN)


async def test_requests_are_told_by_rpc_with_what_became_of_them_in_the_last_minute(tmp_path: Path) -> None:
    made = Parts(tmp_path)
    for code in (None, None, grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        await made.request("CAS", code)
    await made.request("Get", mode=3)
    made.clock.advance(60_000)

    status = made.status()
    cas, get = status.requests

    assert (cas.rpc, cas.count, cas.error_count, cas.conflict_count) == ("CAS", 5, 1, 1)
    assert dict(cas.outcome_counts) == {"ok": 2, "aborted": 1, "unavailable": 1, "cancelled": 1}
    assert (get.rpc, dict(get.mode_counts)) == ("Get", {"passthrough": 1})
    assert cas.latency.count == 5
    assert 0 < cas.latency.p50.ToNanoseconds() <= cas.latency.p99.ToNanoseconds()
    assert cas.rate == pytest.approx(5 / (status.last_minute.ToNanoseconds() / 1e9), rel=0.01)
    assert status.conflicts_last_minute == 1


async def test_what_is_older_than_a_minute_is_only_in_the_counts(tmp_path: Path) -> None:
    made = Parts(tmp_path)
    await made.request("Get")
    for _ in range(12):
        await made.telemetry._tick()
    made.clock.advance(3_600_000)

    [get] = made.status().requests

    assert (get.count, get.rate, dict(get.outcome_counts), get.HasField("latency")) == (1, 0.0, {}, False)


async def test_the_event_loops_lag_is_that_of_the_last_minute(tmp_path: Path) -> None:
    made = Parts(tmp_path)
    assert not made.status().HasField("event_loop_lag")

    made.telemetry.loop_lag.histogram.record(0.5)
    assert made.status().event_loop_lag.p99.ToNanoseconds() == pytest.approx(0.5e9, rel=0.1)

    for _ in range(12):
        await made.telemetry._tick()
    assert not made.status().HasField("event_loop_lag")


async def test_sizes_come_largest_first_with_what_is_known(tmp_path: Path) -> None:
    made = Parts(tmp_path)
    small = Size(tier=Tier.WARM, namespace="small", entries=1, bytes=10, time=START_MS)
    large = replace(small, namespace="large", bytes=20, entries_per_s=0.5, bytes_per_s=-2.0, estimated=True)
    made.report.sizes = lambda: (small, large)  # type: ignore[method-assign]  # a census that has counted

    first, second = made.status().sizes

    assert (first.namespace, first.size_bytes, first.bytes_per_second, first.estimated) == ("large", 20, -2.0, True)
    assert (second.namespace, second.HasField("bytes_per_second")) == ("small", False)
    assert second.count_time.ToMilliseconds() == START_MS


async def test_the_pool_the_outbox_and_the_export_are_told(tmp_path: Path) -> None:
    outbox = OutboxFigures(
        pending=5, lag_s=2.0, in_flight=1, parked=3, sinks_away=1, sink_errors=["https://u:p@x gone"]
    )
    made = Parts(tmp_path, outbox=lambda: outbox)
    made.report.pools = lambda: {Tier.WARM: Pool(in_use=2, idle=3, size_max=8, waiting=4)}  # type: ignore[method-assign]  # one
    made.report.exports = lambda: ExportFigures(spans_dropped=7, failed={"traces": 2})  # type: ignore[method-assign]  # away

    status, pool = made.status(), made.tier(Tier.WARM).pool

    assert (pool.in_use, pool.idle, pool.size_max, pool.waiting) == (2, 3, 8, 4)
    assert (status.outbox_in_flight, status.outbox_parked, list(status.outbox_sink_errors)) == (
        1,
        3,
        ["https://x gone"],
    )
    assert (status.telemetry.spans_dropped, dict(status.telemetry.failed_counts)) == (7, {"traces": 2})
    assert not made.tier(Tier.HOT).HasField("pool")


async def test_the_process_is_told(tmp_path: Path) -> None:
    process = Parts(tmp_path).status().process

    assert process.pid > 0
    assert process.resident_bytes > 1 << 20
    assert process.cpu_time.ToNanoseconds() > 0


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("postgresql://user:pass@host/db is away", "postgresql://host/db is away"),
        ("at redis://:pass@host:6379", "at redis://host:6379"),
        ("host=db password=hidden user=me", "host=db  user=me"),
        ("Connection refused", "Connection refused"),
        ("mail to a@b", "mail to a@b"),
    ],
)
def test_credentials_that_a_backend_repeats_are_not_told(said: str, told: str) -> None:
    assert scrubbed(said) == told
