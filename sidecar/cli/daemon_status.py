"""What GetStatus answers, for those who operate a daemon: the client's Status and all that programs have no need of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from statesidecar import LatencySummary, Status, Tier, TierStatus, _replies
from statesidecar.v1 import admin_service_pb2 as pb

OK, ABORTED = "ok", "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Connections of a tier; see the proto."""

    in_use: int
    idle: int
    size_max: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonTier(TierStatus):
    """A tier; see the proto. Times are the daemon's."""

    retries: int = 0
    rejected: int = 0
    in_flight: int = 0
    waiting: int = 0
    failed_count: int = 0
    breaker_seconds: Mapping[str, float] = field(default_factory=dict)
    pool: Pool | None = None
    #: None: never changed since the start.
    state_time: datetime | None = None
    latest_failure: str = ""
    latest_failure_time: datetime | None = None
    hits: int = 0
    fills_refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """One RPC: counts since the start, the rest of the last minute; see the proto."""

    rpc: str
    count: int
    error_count: int
    conflict_count: int
    rate: float
    latency: LatencySummary | None
    outcome_counts: Mapping[str, int]
    mode_counts: Mapping[str, int]

    @property
    def conflicts(self) -> int:
        """Of the last minute."""
        return self.outcome_counts.get(ABORTED, 0)

    @property
    def errors(self) -> int:
        """Of the last minute."""
        return sum(self.outcome_counts.values()) - sum(
            self.outcome_counts.get(fine, 0) for fine in (OK, ABORTED, "cancelled")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a tier holds of a namespace; see the proto."""

    tier: Tier
    namespace: str
    entry_count: int
    size_bytes: int
    entries_per_second: float | None
    bytes_per_second: float | None
    count_time: datetime | None
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningJob:
    """A background job; see the proto."""

    tier: Tier
    job: str
    pass_time: datetime | None
    behind: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Of the daemon's own telemetry; see the proto."""

    spans_dropped: int
    failed_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The daemon's; see the proto."""

    pid: int
    resident_bytes: int
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus(Status):
    """The state of the daemon, with what its operator may have to decide; see the proto."""

    tiers: tuple[DaemonTier, ...]
    #: The daemon's clock. None, as others here: a daemon that is too old to tell.
    status_time: datetime | None = None
    mode_time: datetime | None = None
    mode_tier: Tier | None = None
    mode_reason: str = ""
    mode_seconds: Mapping[str, float] = field(default_factory=dict)
    mode_changes: int = 0
    dead_writes: int = 0
    #: When the oldest write in the journal was acknowledged. None: there is none.
    journal_oldest_time: datetime | None = None
    journal_bytes: int = 0
    #: What background jobs have cleaned since the start, by kind.
    cleaned_counts: Mapping[str, int] = field(default_factory=dict)
    cleaning: tuple[CleaningJob, ...] = ()
    #: Messages that were given up on and are kept.
    dead_letters: int = 0
    outbox_in_flight: int = 0
    outbox_parked: int = 0
    outbox_sink_errors: tuple[str, ...] = ()
    last_minute_s: float = 0.0
    requests: tuple[Requests, ...] = ()
    conflicts_last_minute: int = 0
    sizes: tuple[Size, ...] = ()
    watchers: int = 0
    streams: Mapping[str, int] = field(default_factory=dict)
    telemetry: Export | None = None
    event_loop_lag: LatencySummary | None = None
    process: Process | None = None
    followups_dropped: int = 0


def read(reply: pb.GetStatusResponse) -> DaemonStatus:
    """From the wire."""
    known = _same(_replies.status(reply))
    known["tiers"] = tuple(_tier(tier) for tier in reply.tiers)
    lag = reply.event_loop_lag if reply.HasField("event_loop_lag") else None
    return DaemonStatus(
        **known,
        status_time=_time(reply, "status_time"),
        mode_time=_time(reply, "mode_time"),
        mode_tier=Tier(reply.mode_tier) if reply.mode_tier else None,
        mode_reason=reply.mode_reason,
        mode_seconds=dict(reply.mode_seconds),
        mode_changes=reply.mode_changes,
        dead_writes=reply.dead_writes,
        journal_oldest_time=_time(reply, "journal_oldest_time"),
        journal_bytes=reply.journal_bytes,
        cleaned_counts=dict(reply.cleaned_counts),
        cleaning=tuple(_cleaning(job) for job in reply.cleaning),
        dead_letters=reply.dead_letters,
        outbox_in_flight=reply.outbox_in_flight,
        outbox_parked=reply.outbox_parked,
        outbox_sink_errors=tuple(reply.outbox_sink_errors),
        last_minute_s=reply.last_minute.ToNanoseconds() / 1e9,
        requests=tuple(_requests(one) for one in reply.requests),
        conflicts_last_minute=reply.conflicts_last_minute,
        sizes=tuple(_size(one) for one in reply.sizes),
        watchers=reply.watchers,
        streams=dict(reply.streams),
        telemetry=_export(reply.telemetry) if reply.HasField("telemetry") else None,
        event_loop_lag=None if lag is None else _replies.latency(lag),
        process=_process(reply.process) if reply.HasField("process") else None,
        followups_dropped=reply.followups_dropped,
    )


def _tier(tier: pb.TierStatus) -> DaemonTier:
    return DaemonTier(
        **_same(_replies.tier(tier)),
        retries=tier.retries,
        rejected=tier.rejected,
        in_flight=tier.in_flight,
        waiting=tier.waiting,
        failed_count=tier.failed_count,
        breaker_seconds=dict(tier.breaker_seconds),
        pool=_pool(tier.pool) if tier.HasField("pool") else None,
        state_time=_time(tier, "state_time"),
        latest_failure=tier.latest_failure,
        latest_failure_time=_time(tier, "latest_failure_time"),
        hits=tier.hits,
        fills_refused=tier.fills_refused,
    )


def _pool(pool: pb.PoolStatus) -> Pool:
    return Pool(in_use=pool.in_use, idle=pool.idle, size_max=pool.size_max, waiting=pool.waiting)


def _requests(one: pb.RequestStatus) -> Requests:
    return Requests(
        rpc=one.rpc,
        count=one.count,
        error_count=one.error_count,
        conflict_count=one.conflict_count,
        rate=one.rate,
        latency=_replies.latency(one.latency) if one.HasField("latency") else None,
        outcome_counts=dict(one.outcome_counts),
        mode_counts=dict(one.mode_counts),
    )


def _size(one: pb.SizeStatus) -> Size:
    return Size(
        tier=Tier(one.tier),
        namespace=one.namespace,
        entry_count=one.entry_count,
        size_bytes=one.size_bytes,
        entries_per_second=one.entries_per_second if one.HasField("entries_per_second") else None,
        bytes_per_second=one.bytes_per_second if one.HasField("bytes_per_second") else None,
        count_time=_time(one, "count_time"),
        estimated=one.estimated,
    )


def _cleaning(job: pb.CleaningStatus) -> CleaningJob:
    return CleaningJob(tier=Tier(job.tier), job=job.job, pass_time=_time(job, "pass_time"), behind=job.behind)


def _export(telemetry: pb.TelemetryStatus) -> Export:
    return Export(spans_dropped=telemetry.spans_dropped, failed_counts=dict(telemetry.failed_counts))


def _process(process: pb.ProcessStatus) -> Process:
    cpu_s = process.cpu_time.ToNanoseconds() / 1e9
    return Process(pid=process.pid, resident_bytes=process.resident_bytes, cpu_s=cpu_s)


def _same(known: Any) -> dict[str, Any]:
    return {each.name: getattr(known, each.name) for each in fields(known)}


def _time(message: Any, name: str) -> datetime | None:
    return getattr(message, name).ToDatetime(tzinfo=UTC) if message.HasField(name) else None
