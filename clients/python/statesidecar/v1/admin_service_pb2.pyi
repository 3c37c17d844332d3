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
    __slots__ = ("mode", "tiers", "outbox_lag", "outbox_pending", "journal_depth", "daemon_version", "start_time", "app", "draining", "requests_in_flight", "followups_pending", "dead_writes", "journal_oldest_time", "cleaned_counts", "cleaning", "dead_letters")
    class CleanedCountsEntry(_message.Message):
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
    def __init__(self, mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ..., tiers: _Optional[_Iterable[_Union[TierStatus, _Mapping]]] = ..., outbox_lag: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., outbox_pending: _Optional[int] = ..., journal_depth: _Optional[int] = ..., daemon_version: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., app: _Optional[str] = ..., draining: _Optional[bool] = ..., requests_in_flight: _Optional[int] = ..., followups_pending: _Optional[int] = ..., dead_writes: _Optional[int] = ..., journal_oldest_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cleaned_counts: _Optional[_Mapping[str, int]] = ..., cleaning: _Optional[_Iterable[_Union[CleaningStatus, _Mapping]]] = ..., dead_letters: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("tier", "url", "state", "breaker", "latency", "hit_ratio", "lookups", "last_error", "authority", "bytes_held")
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
    def __init__(self, tier: _Optional[_Union[_types_pb2.Tier, str]] = ..., url: _Optional[str] = ..., state: _Optional[_Union[TierState, str]] = ..., breaker: _Optional[_Union[BreakerState, str]] = ..., latency: _Optional[_Union[LatencySummary, _Mapping]] = ..., hit_ratio: _Optional[float] = ..., lookups: _Optional[int] = ..., last_error: _Optional[str] = ..., authority: _Optional[bool] = ..., bytes_held: _Optional[int] = ...) -> None: ...

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

class MigrationFailure(_message.Message):
    __slots__ = ("key", "message")
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    key: str
    message: str
    def __init__(self, key: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
