import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from statesidecar.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CollectionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLLECTION_STATE_UNSPECIFIED: _ClassVar[CollectionState]
    COLLECTION_STATE_RUNNING: _ClassVar[CollectionState]
    COLLECTION_STATE_WAITING: _ClassVar[CollectionState]
    COLLECTION_STATE_DONE: _ClassVar[CollectionState]
    COLLECTION_STATE_BUSY: _ClassVar[CollectionState]
    COLLECTION_STATE_FAILED: _ClassVar[CollectionState]
    COLLECTION_STATE_NOT_COUNTED: _ClassVar[CollectionState]

class DeadWriteResolution(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEAD_WRITE_RESOLUTION_UNSPECIFIED: _ClassVar[DeadWriteResolution]
    DEAD_WRITE_RESOLUTION_RETRY: _ClassVar[DeadWriteResolution]
    DEAD_WRITE_RESOLUTION_OVERWRITE: _ClassVar[DeadWriteResolution]

class TierState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_STATE_UNSPECIFIED: _ClassVar[TierState]
    TIER_STATE_UP: _ClassVar[TierState]
    TIER_STATE_DOWN: _ClassVar[TierState]

class BreakerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BREAKER_STATE_UNSPECIFIED: _ClassVar[BreakerState]
    BREAKER_STATE_CLOSED: _ClassVar[BreakerState]
    BREAKER_STATE_OPEN: _ClassVar[BreakerState]
    BREAKER_STATE_HALF_OPEN: _ClassVar[BreakerState]
COLLECTION_STATE_UNSPECIFIED: CollectionState
COLLECTION_STATE_RUNNING: CollectionState
COLLECTION_STATE_WAITING: CollectionState
COLLECTION_STATE_DONE: CollectionState
COLLECTION_STATE_BUSY: CollectionState
COLLECTION_STATE_FAILED: CollectionState
COLLECTION_STATE_NOT_COUNTED: CollectionState
DEAD_WRITE_RESOLUTION_UNSPECIFIED: DeadWriteResolution
DEAD_WRITE_RESOLUTION_RETRY: DeadWriteResolution
DEAD_WRITE_RESOLUTION_OVERWRITE: DeadWriteResolution
TIER_STATE_UNSPECIFIED: TierState
TIER_STATE_UP: TierState
TIER_STATE_DOWN: TierState
BREAKER_STATE_UNSPECIFIED: BreakerState
BREAKER_STATE_CLOSED: BreakerState
BREAKER_STATE_OPEN: BreakerState
BREAKER_STATE_HALF_OPEN: BreakerState

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("mode", "tiers", "outbox_lag", "outbox_pending", "journal_depth", "daemon_version", "start_time", "app", "draining", "requests_in_flight", "followups_pending", "dead_writes", "journal_oldest_time", "cleaned_counts", "cleaning", "dead_letters", "status_time", "mode_time", "mode_tier", "mode_reason", "mode_seconds", "mode_changes", "last_minute", "requests", "conflicts_last_minute", "sizes", "watchers", "streams", "outbox_in_flight", "outbox_parked", "outbox_sink_errors", "journal_bytes", "telemetry", "event_loop_lag", "process", "followups_dropped")
    class CleanedCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ModeSecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class StreamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODE_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_LAG_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_PENDING_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_DEPTH_FIELD_NUMBER: _ClassVar[int]
    DAEMON_VERSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    FOLLOWUPS_PENDING_FIELD_NUMBER: _ClassVar[int]
    DEAD_WRITES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_OLDEST_TIME_FIELD_NUMBER: _ClassVar[int]
    CLEANED_COUNTS_FIELD_NUMBER: _ClassVar[int]
    CLEANING_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    STATUS_TIME_FIELD_NUMBER: _ClassVar[int]
    MODE_TIME_FIELD_NUMBER: _ClassVar[int]
    MODE_TIER_FIELD_NUMBER: _ClassVar[int]
    MODE_REASON_FIELD_NUMBER: _ClassVar[int]
    MODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MODE_CHANGES_FIELD_NUMBER: _ClassVar[int]
    LAST_MINUTE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_LAST_MINUTE_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    WATCHERS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_PARKED_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_SINK_ERRORS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    EVENT_LOOP_LAG_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    FOLLOWUPS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    mode: _types_pb2.ServingMode
    tiers: _containers.RepeatedCompositeFieldContainer[TierStatus]
    outbox_lag: _duration_pb2.Duration
    outbox_pending: int
    journal_depth: int
    daemon_version: str
    start_time: _timestamp_pb2.Timestamp
    app: str
    draining: bool
    requests_in_flight: int
    followups_pending: int
    dead_writes: int
    journal_oldest_time: _timestamp_pb2.Timestamp
    cleaned_counts: _containers.ScalarMap[str, int]
    cleaning: _containers.RepeatedCompositeFieldContainer[CleaningStatus]
    dead_letters: int
    status_time: _timestamp_pb2.Timestamp
    mode_time: _timestamp_pb2.Timestamp
    mode_tier: _types_pb2.Tier
    mode_reason: str
    mode_seconds: _containers.ScalarMap[str, float]
    mode_changes: int
    last_minute: _duration_pb2.Duration
    requests: _containers.RepeatedCompositeFieldContainer[RequestStatus]
    conflicts_last_minute: int
    sizes: _containers.RepeatedCompositeFieldContainer[SizeStatus]
    watchers: int
    streams: _containers.ScalarMap[str, int]
    outbox_in_flight: int
    outbox_parked: int
    outbox_sink_errors: _containers.RepeatedScalarFieldContainer[str]
    journal_bytes: int
    telemetry: TelemetryStatus
    event_loop_lag: LatencySummary
    process: ProcessStatus
    followups_dropped: int
    def __init__(self, mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ..., tiers: _Optional[_Iterable[_Union[TierStatus, _Mapping]]] = ..., outbox_lag: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., outbox_pending: _Optional[int] = ..., journal_depth: _Optional[int] = ..., daemon_version: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., app: _Optional[str] = ..., draining: _Optional[bool] = ..., requests_in_flight: _Optional[int] = ..., followups_pending: _Optional[int] = ..., dead_writes: _Optional[int] = ..., journal_oldest_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cleaned_counts: _Optional[_Mapping[str, int]] = ..., cleaning: _Optional[_Iterable[_Union[CleaningStatus, _Mapping]]] = ..., dead_letters: _Optional[int] = ..., status_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., mode_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., mode_tier: _Optional[_Union[_types_pb2.Tier, str]] = ..., mode_reason: _Optional[str] = ..., mode_seconds: _Optional[_Mapping[str, float]] = ..., mode_changes: _Optional[int] = ..., last_minute: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., requests: _Optional[_Iterable[_Union[RequestStatus, _Mapping]]] = ..., conflicts_last_minute: _Optional[int] = ..., sizes: _Optional[_Iterable[_Union[SizeStatus, _Mapping]]] = ..., watchers: _Optional[int] = ..., streams: _Optional[_Mapping[str, int]] = ..., outbox_in_flight: _Optional[int] = ..., outbox_parked: _Optional[int] = ..., outbox_sink_errors: _Optional[_Iterable[str]] = ..., journal_bytes: _Optional[int] = ..., telemetry: _Optional[_Union[TelemetryStatus, _Mapping]] = ..., event_loop_lag: _Optional[_Union[LatencySummary, _Mapping]] = ..., process: _Optional[_Union[ProcessStatus, _Mapping]] = ..., followups_dropped: _Optional[int] = ...) -> None: ...

class RequestStatus(_message.Message):
    __slots__ = ("rpc", "count", "error_count", "conflict_count", "rate", "latency", "outcome_counts", "mode_counts")
    class OutcomeCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ModeCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    RPC_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_COUNT_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_COUNTS_FIELD_NUMBER: _ClassVar[int]
    MODE_COUNTS_FIELD_NUMBER: _ClassVar[int]
    rpc: str
    count: int
    error_count: int
    conflict_count: int
    rate: float
    latency: LatencySummary
    outcome_counts: _containers.ScalarMap[str, int]
    mode_counts: _containers.ScalarMap[str, int]
    def __init__(self, rpc: _Optional[str] = ..., count: _Optional[int] = ..., error_count: _Optional[int] = ..., conflict_count: _Optional[int] = ..., rate: _Optional[float] = ..., latency: _Optional[_Union[LatencySummary, _Mapping]] = ..., outcome_counts: _Optional[_Mapping[str, int]] = ..., mode_counts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class SizeStatus(_message.Message):
    __slots__ = ("tier", "namespace", "entry_count", "size_bytes", "entries_per_second", "bytes_per_second", "count_time", "estimated")
    TIER_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    COUNT_TIME_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    tier: _types_pb2.Tier
    namespace: str
    entry_count: int
    size_bytes: int
    entries_per_second: float
    bytes_per_second: float
    count_time: _timestamp_pb2.Timestamp
    estimated: bool
    def __init__(self, tier: _Optional[_Union[_types_pb2.Tier, str]] = ..., namespace: _Optional[str] = ..., entry_count: _Optional[int] = ..., size_bytes: _Optional[int] = ..., entries_per_second: _Optional[float] = ..., bytes_per_second: _Optional[float] = ..., count_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., estimated: _Optional[bool] = ...) -> None: ...

class PoolStatus(_message.Message):
    __slots__ = ("in_use", "idle", "size_max", "waiting")
    IN_USE_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    SIZE_MAX_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    in_use: int
    idle: int
    size_max: int
    waiting: int
    def __init__(self, in_use: _Optional[int] = ..., idle: _Optional[int] = ..., size_max: _Optional[int] = ..., waiting: _Optional[int] = ...) -> None: ...

class TelemetryStatus(_message.Message):
    __slots__ = ("spans_dropped", "failed_counts")
    class FailedCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SPANS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNTS_FIELD_NUMBER: _ClassVar[int]
    spans_dropped: int
    failed_counts: _containers.ScalarMap[str, int]
    def __init__(self, spans_dropped: _Optional[int] = ..., failed_counts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ProcessStatus(_message.Message):
    __slots__ = ("pid", "resident_bytes", "cpu_time")
    PID_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_TIME_FIELD_NUMBER: _ClassVar[int]
    pid: int
    resident_bytes: int
    cpu_time: _duration_pb2.Duration
    def __init__(self, pid: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., cpu_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CleaningStatus(_message.Message):
    __slots__ = ("tier", "job", "pass_time", "behind")
    TIER_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    PASS_TIME_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    tier: _types_pb2.Tier
    job: str
    pass_time: _timestamp_pb2.Timestamp
    behind: bool
    def __init__(self, tier: _Optional[_Union[_types_pb2.Tier, str]] = ..., job: _Optional[str] = ..., pass_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., behind: _Optional[bool] = ...) -> None: ...

class TierStatus(_message.Message):
    __slots__ = ("tier", "url", "state", "breaker", "latency", "hit_ratio", "lookups", "last_error", "authority", "bytes_held", "retries", "rejected", "in_flight", "waiting", "failed_count", "breaker_seconds", "pool", "state_time", "latest_failure", "latest_failure_time", "hits", "fills_refused")
    class BreakerSecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TIER_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    HIT_RATIO_FIELD_NUMBER: _ClassVar[int]
    LOOKUPS_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    BYTES_HELD_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    BREAKER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    STATE_TIME_FIELD_NUMBER: _ClassVar[int]
    LATEST_FAILURE_FIELD_NUMBER: _ClassVar[int]
    LATEST_FAILURE_TIME_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    FILLS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    tier: _types_pb2.Tier
    url: str
    state: TierState
    breaker: BreakerState
    latency: LatencySummary
    hit_ratio: float
    lookups: int
    last_error: str
    authority: bool
    bytes_held: int
    retries: int
    rejected: int
    in_flight: int
    waiting: int
    failed_count: int
    breaker_seconds: _containers.ScalarMap[str, float]
    pool: PoolStatus
    state_time: _timestamp_pb2.Timestamp
    latest_failure: str
    latest_failure_time: _timestamp_pb2.Timestamp
    hits: int
    fills_refused: int
    def __init__(self, tier: _Optional[_Union[_types_pb2.Tier, str]] = ..., url: _Optional[str] = ..., state: _Optional[_Union[TierState, str]] = ..., breaker: _Optional[_Union[BreakerState, str]] = ..., latency: _Optional[_Union[LatencySummary, _Mapping]] = ..., hit_ratio: _Optional[float] = ..., lookups: _Optional[int] = ..., last_error: _Optional[str] = ..., authority: _Optional[bool] = ..., bytes_held: _Optional[int] = ..., retries: _Optional[int] = ..., rejected: _Optional[int] = ..., in_flight: _Optional[int] = ..., waiting: _Optional[int] = ..., failed_count: _Optional[int] = ..., breaker_seconds: _Optional[_Mapping[str, float]] = ..., pool: _Optional[_Union[PoolStatus, _Mapping]] = ..., state_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., latest_failure: _Optional[str] = ..., latest_failure_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., hits: _Optional[int] = ..., fills_refused: _Optional[int] = ...) -> None: ...

class LatencySummary(_message.Message):
    __slots__ = ("p50", "p95", "p99", "count")
    P50_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    p50: _duration_pb2.Duration
    p95: _duration_pb2.Duration
    p99: _duration_pb2.Duration
    count: int
    def __init__(self, p50: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p95: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p99: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., count: _Optional[int] = ...) -> None: ...

class DeadWrite(_message.Message):
    __slots__ = ("id", "namespace", "key", "operation", "request_id", "value", "base_version", "buffered_time", "dead_time", "reason", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    BUFFERED_TIME_FIELD_NUMBER: _ClassVar[int]
    DEAD_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    namespace: str
    key: str
    operation: str
    request_id: str
    value: bytes
    base_version: int
    buffered_time: _timestamp_pb2.Timestamp
    dead_time: _timestamp_pb2.Timestamp
    reason: str
    message: str
    def __init__(self, id: _Optional[str] = ..., namespace: _Optional[str] = ..., key: _Optional[str] = ..., operation: _Optional[str] = ..., request_id: _Optional[str] = ..., value: _Optional[bytes] = ..., base_version: _Optional[int] = ..., buffered_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dead_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ListDeadWritesRequest(_message.Message):
    __slots__ = ("namespace", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeadWritesResponse(_message.Message):
    __slots__ = ("dead_writes", "next_page_token")
    DEAD_WRITES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    dead_writes: _containers.RepeatedCompositeFieldContainer[DeadWrite]
    next_page_token: str
    def __init__(self, dead_writes: _Optional[_Iterable[_Union[DeadWrite, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RedriveDeadWritesRequest(_message.Message):
    __slots__ = ("namespace", "ids", "all", "resolution")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    resolution: DeadWriteResolution
    def __init__(self, namespace: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., all: _Optional[bool] = ..., resolution: _Optional[_Union[DeadWriteResolution, str]] = ...) -> None: ...

class RedriveDeadWritesResponse(_message.Message):
    __slots__ = ("redriven_count", "refused_count")
    REDRIVEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    redriven_count: int
    refused_count: int
    def __init__(self, redriven_count: _Optional[int] = ..., refused_count: _Optional[int] = ...) -> None: ...

class DiscardDeadWritesRequest(_message.Message):
    __slots__ = ("namespace", "ids", "all")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    def __init__(self, namespace: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., all: _Optional[bool] = ...) -> None: ...

class DiscardDeadWritesResponse(_message.Message):
    __slots__ = ("discarded_count",)
    DISCARDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    discarded_count: int
    def __init__(self, discarded_count: _Optional[int] = ...) -> None: ...

class CollectGarbageRequest(_message.Message):
    __slots__ = ("dry_run",)
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    def __init__(self, dry_run: _Optional[bool] = ...) -> None: ...

class CollectGarbageResponse(_message.Message):
    __slots__ = ("progress", "summary")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    progress: CollectionProgress
    summary: CollectionSummary
    def __init__(self, progress: _Optional[_Union[CollectionProgress, _Mapping]] = ..., summary: _Optional[_Union[CollectionSummary, _Mapping]] = ...) -> None: ...

class CollectionProgress(_message.Message):
    __slots__ = ("tier", "job", "state", "counts", "remaining_jobs", "reason", "message")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TIER_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    REMAINING_JOBS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    tier: _types_pb2.Tier
    job: str
    state: CollectionState
    counts: _containers.ScalarMap[str, int]
    remaining_jobs: int
    reason: str
    message: str
    def __init__(self, tier: _Optional[_Union[_types_pb2.Tier, str]] = ..., job: _Optional[str] = ..., state: _Optional[_Union[CollectionState, str]] = ..., counts: _Optional[_Mapping[str, int]] = ..., remaining_jobs: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class CollectionSummary(_message.Message):
    __slots__ = ("jobs", "counts")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    JOBS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[CollectionProgress]
    counts: _containers.ScalarMap[str, int]
    def __init__(self, jobs: _Optional[_Iterable[_Union[CollectionProgress, _Mapping]]] = ..., counts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class MigrateRequest(_message.Message):
    __slots__ = ("namespace", "dry_run", "target_version")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    TARGET_VERSION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    dry_run: bool
    target_version: int
    def __init__(self, namespace: _Optional[str] = ..., dry_run: _Optional[bool] = ..., target_version: _Optional[int] = ...) -> None: ...

class MigrateResponse(_message.Message):
    __slots__ = ("state", "scanned_count", "migrated_count", "failed_count", "total_count", "target_version", "remaining_count", "failures")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SCANNED_COUNT_FIELD_NUMBER: _ClassVar[int]
    MIGRATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    TARGET_VERSION_FIELD_NUMBER: _ClassVar[int]
    REMAINING_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    state: CollectionState
    scanned_count: int
    migrated_count: int
    failed_count: int
    total_count: int
    target_version: int
    remaining_count: int
    failures: _containers.RepeatedCompositeFieldContainer[MigrationFailure]
    def __init__(self, state: _Optional[_Union[CollectionState, str]] = ..., scanned_count: _Optional[int] = ..., migrated_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., total_count: _Optional[int] = ..., target_version: _Optional[int] = ..., remaining_count: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[MigrationFailure, _Mapping]]] = ...) -> None: ...

class ResealRequest(_message.Message):
    __slots__ = ("namespace", "dry_run")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    dry_run: bool
    def __init__(self, namespace: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ResealResponse(_message.Message):
    __slots__ = ("state", "scanned_count", "resealed_count", "failed_count", "remaining_count", "failures")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SCANNED_COUNT_FIELD_NUMBER: _ClassVar[int]
    RESEALED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    state: CollectionState
    scanned_count: int
    resealed_count: int
    failed_count: int
    remaining_count: int
    failures: _containers.RepeatedCompositeFieldContainer[MigrationFailure]
    def __init__(self, state: _Optional[_Union[CollectionState, str]] = ..., scanned_count: _Optional[int] = ..., resealed_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., remaining_count: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[MigrationFailure, _Mapping]]] = ...) -> None: ...

class MigrationFailure(_message.Message):
    __slots__ = ("key", "message")
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    key: str
    message: str
    def __init__(self, key: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
