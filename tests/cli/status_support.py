"""Statuses as daemons tell them: one that has something to say of everything, in an outage; and the same, healthy."""

from __future__ import annotations

from sidecar.cli.daemon_status import DaemonStatus, read
from sidecar.rpc.convert import duration, timestamp
from statesidecar.v1 import admin_service_pb2 as pb
from tests.support.clock import START_MS

REFUSED = 'connection to server at "127.0.0.1", port 5432 failed: Connection refused\n\tIs the server running?'
RPCS = (
    "Get",
    "Set",
    "CAS",
    "Delete",
    "List",
    "BatchGet",
    "Touch",
    "Transact",
    "GetStatus",
    "Append",
    "Increment",
    "Merge",
)


def told(*, now: int = START_MS + 3_600_000, count: int = 1_000) -> pb.GetStatusResponse:
    """All is well; `count` requests of each RPC since the start."""
    lookups = count
    return pb.GetStatusResponse(
        mode="SERVING_MODE_NORMAL",
        daemon_version="0.1.0",
        app="shop",
        start_time=timestamp(START_MS),
        status_time=timestamp(now),
        mode_time=timestamp(START_MS),
        mode_seconds={"normal": 3600.0, "degraded": 0.0, "passthrough": 0.0},
        requests_in_flight=3,
        last_minute=duration(60.0),
        watchers=2,
        streams={"Watch": 2},
        event_loop_lag=latency(0.0004, 240),
        process=pb.ProcessStatus(pid=4711, resident_bytes=75 << 20, cpu_time=duration(120.0)),
        tiers=[
            tier("TIER_NEAR", lookups=lookups, hits=lookups // 2),
            tier("TIER_HOT", url="redis://127.0.0.1:6379/0", lookups=lookups // 2, hits=lookups // 4),
            tier("TIER_WARM", url="postgresql://127.0.0.1:5432/shop", authority=True),
            tier("TIER_COLD", url="s3://bucket/shop"),
        ],
        requests=[
            pb.RequestStatus(
                rpc=rpc,
                count=count,
                conflict_count=count // 100,
                rate=600 / (place + 1),
                latency=latency(0.001 * (place + 1), 36_000),
                outcome_counts={"ok": 35_640, "aborted": 360},
                mode_counts={"normal": 36_000},
            )
            for place, rpc in enumerate(RPCS)
        ],
        conflicts_last_minute=12 * 360,
        sizes=[
            pb.SizeStatus(
                tier="TIER_WARM",
                namespace=f"namespace-{place}",
                entry_count=1_000_000 >> place,
                size_bytes=(1 << 30) >> place,
                entries_per_second=1.5,
                bytes_per_second=-2048.0,
                count_time=timestamp(now),
                estimated=not place,
            )
            for place in range(9)
        ],
    )


def outage(*, now: int = START_MS + 3_600_000, count: int = 1_000) -> pb.GetStatusResponse:
    """The authority is away since 12 seconds, and everything that can pile up does."""
    response = told(now=now, count=count)
    hot, warm = response.tiers[1:3]
    response.mode = "SERVING_MODE_DEGRADED"  # type: ignore[assignment]  # protobuf takes the name
    response.mode_tier = "TIER_WARM"  # type: ignore[assignment]  # as above
    response.mode_reason = f"the warm tier is away (breaker open): {REFUSED}"
    response.mode_time.CopyFrom(timestamp(now - 12_000))
    response.mode_changes = 3
    response.mode_seconds.update({"normal": 3588.0, "degraded": 12.0})
    warm.state, warm.breaker = "TIER_STATE_DOWN", "BREAKER_STATE_OPEN"  # type: ignore[assignment]  # as above
    warm.last_error = warm.latest_failure = REFUSED
    warm.failed_count, warm.retries, warm.rejected, warm.waiting = 321, 45, 6789, 17
    for failed in (warm, hot):
        failed.state_time.CopyFrom(timestamp(now - 12_000))
        failed.latest_failure_time.CopyFrom(timestamp(now - 1_000))
    hot.latest_failure = "\x1b[2Jtimeout"
    response.requests[0].outcome_counts["unavailable"] = 77
    response.requests[0].error_count = 77
    response.requests[0].mode_counts["passthrough"] = 42
    response.journal_depth, response.journal_bytes, response.dead_writes = 1234, 5 << 20, 2
    response.journal_oldest_time.CopyFrom(timestamp(now - 11_000))
    response.outbox_pending, response.outbox_in_flight, response.outbox_parked, response.dead_letters = 50, 4, 1, 2
    response.outbox_lag.CopyFrom(duration(11.0))
    response.outbox_sink_errors.extend(["kafka: no broker answers", "webhook: 503", "nats: away"])
    response.cleaned_counts.update({"expired": 10, "request_ids": 5})
    response.cleaning.append(pb.CleaningStatus(tier="TIER_WARM", job="sweep", behind=True))
    response.telemetry.CopyFrom(pb.TelemetryStatus(spans_dropped=9, failed_counts={"traces": 3}))
    response.followups_pending, response.followups_dropped = 8, 1
    return response


def latency(seconds: float, count: int) -> pb.LatencySummary:
    return pb.LatencySummary(p50=duration(seconds), p95=duration(seconds * 2), p99=duration(seconds * 3), count=count)


def tier(name: str, *, url: str = "", lookups: int = 0, hits: int = 0, authority: bool = False) -> pb.TierStatus:
    return pb.TierStatus(
        tier=name,
        url=url,
        state="TIER_STATE_UP",
        breaker="BREAKER_STATE_CLOSED" if url else None,
        latency=latency(0.002, 1_000),
        hit_ratio=hits / lookups if lookups else None,
        lookups=lookups,
        hits=hits,
        authority=authority,
        in_flight=5,
        pool=pb.PoolStatus(in_use=3, idle=5, size_max=8) if authority else None,
        breaker_seconds={"closed": 3600.0},
        bytes_held=0 if url else 64 << 20,
    )


def status(response: pb.GetStatusResponse) -> DaemonStatus:
    """As the client reads it."""
    return read(response)
