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
    __slots__ = ("mode", "tiers", "outbox_lag", "outbox_pending", "journal_depth", "daemon_version", "start_time", "app", "draining", "requests_in_flight", "followups_pending")
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
    def __init__(self, mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ..., tiers: _Optional[_Iterable[_Union[TierStatus, _Mapping]]] = ..., outbox_lag: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., outbox_pending: _Optional[int] = ..., journal_depth: _Optional[int] = ..., daemon_version: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., app: _Optional[str] = ..., draining: _Optional[bool] = ..., requests_in_flight: _Optional[int] = ..., followups_pending: _Optional[int] = ...) -> None: ...

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
