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

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_PUT: _ClassVar[EventType]
    EVENT_TYPE_DELETE: _ClassVar[EventType]
    EVENT_TYPE_EXPIRE: _ClassVar[EventType]
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_PUT: EventType
EVENT_TYPE_DELETE: EventType
EVENT_TYPE_EXPIRE: EventType

class GetRequest(_message.Message):
    __slots__ = ("namespace", "key", "consistency", "min_version", "max_schema_version")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    MIN_VERSION_FIELD_NUMBER: _ClassVar[int]
    MAX_SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    consistency: _types_pb2.Consistency
    min_version: int
    max_schema_version: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., consistency: _Optional[_Union[_types_pb2.Consistency, str]] = ..., min_version: _Optional[int] = ..., max_schema_version: _Optional[int] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("entry", "mode", "served_by", "stale_possible")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    STALE_POSSIBLE_FIELD_NUMBER: _ClassVar[int]
    entry: _types_pb2.Entry
    mode: _types_pb2.ServingMode
    served_by: _types_pb2.Tier
    stale_possible: bool
    def __init__(self, entry: _Optional[_Union[_types_pb2.Entry, _Mapping]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ..., served_by: _Optional[_Union[_types_pb2.Tier, str]] = ..., stale_possible: _Optional[bool] = ...) -> None: ...

class SetRequest(_message.Message):
    __slots__ = ("namespace", "key", "value", "content_type", "schema_version", "labels", "ttl", "request_id", "outbox")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    value: bytes
    content_type: str
    schema_version: int
    labels: _containers.ScalarMap[str, str]
    ttl: _duration_pb2.Duration
    request_id: str
    outbox: _containers.RepeatedCompositeFieldContainer[_types_pb2.OutboxMessage]
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., content_type: _Optional[str] = ..., schema_version: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., outbox: _Optional[_Iterable[_Union[_types_pb2.OutboxMessage, _Mapping]]] = ...) -> None: ...

class SetResponse(_message.Message):
    __slots__ = ("version", "durability", "mode", "expire_time")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    version: int
    durability: _types_pb2.Durability
    mode: _types_pb2.ServingMode
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[int] = ..., durability: _Optional[_Union[_types_pb2.Durability, str]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CASRequest(_message.Message):
    __slots__ = ("namespace", "key", "value", "content_type", "schema_version", "labels", "ttl", "request_id", "outbox", "expected_version")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    value: bytes
    content_type: str
    schema_version: int
    labels: _containers.ScalarMap[str, str]
    ttl: _duration_pb2.Duration
    request_id: str
    outbox: _containers.RepeatedCompositeFieldContainer[_types_pb2.OutboxMessage]
    expected_version: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., content_type: _Optional[str] = ..., schema_version: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., outbox: _Optional[_Iterable[_Union[_types_pb2.OutboxMessage, _Mapping]]] = ..., expected_version: _Optional[int] = ...) -> None: ...

class CASResponse(_message.Message):
    __slots__ = ("version", "durability", "mode", "expire_time")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    version: int
    durability: _types_pb2.Durability
    mode: _types_pb2.ServingMode
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[int] = ..., durability: _Optional[_Union[_types_pb2.Durability, str]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("namespace", "key", "expected_version", "request_id", "outbox")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    expected_version: int
    request_id: str
    outbox: _containers.RepeatedCompositeFieldContainer[_types_pb2.OutboxMessage]
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., expected_version: _Optional[int] = ..., request_id: _Optional[str] = ..., outbox: _Optional[_Iterable[_Union[_types_pb2.OutboxMessage, _Mapping]]] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("found", "version", "durability", "mode")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    found: bool
    version: int
    durability: _types_pb2.Durability
    mode: _types_pb2.ServingMode
    def __init__(self, found: _Optional[bool] = ..., version: _Optional[int] = ..., durability: _Optional[_Union[_types_pb2.Durability, str]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...

class TouchRequest(_message.Message):
    __slots__ = ("namespace", "key", "ttl")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    ttl: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TouchResponse(_message.Message):
    __slots__ = ("found", "expire_time", "mode")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    found: bool
    expire_time: _timestamp_pb2.Timestamp
    mode: _types_pb2.ServingMode
    def __init__(self, found: _Optional[bool] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...

class Append(_message.Message):
    __slots__ = ("items", "max_items")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[bytes]
    max_items: int
    def __init__(self, items: _Optional[_Iterable[bytes]] = ..., max_items: _Optional[int] = ...) -> None: ...

class Increment(_message.Message):
    __slots__ = ("delta", "minimum", "maximum")
    DELTA_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    delta: int
    minimum: int
    maximum: int
    def __init__(self, delta: _Optional[int] = ..., minimum: _Optional[int] = ..., maximum: _Optional[int] = ...) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("namespace", "key", "merge_patch", "append", "increment", "create", "ttl", "request_id", "return_value", "outbox", "schema_version")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MERGE_PATCH_FIELD_NUMBER: _ClassVar[int]
    APPEND_FIELD_NUMBER: _ClassVar[int]
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    CREATE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RETURN_VALUE_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    merge_patch: bytes
    append: Append
    increment: Increment
    create: bool
    ttl: _duration_pb2.Duration
    request_id: str
    return_value: bool
    outbox: _containers.RepeatedCompositeFieldContainer[_types_pb2.OutboxMessage]
    schema_version: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., merge_patch: _Optional[bytes] = ..., append: _Optional[_Union[Append, _Mapping]] = ..., increment: _Optional[_Union[Increment, _Mapping]] = ..., create: _Optional[bool] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., return_value: _Optional[bool] = ..., outbox: _Optional[_Iterable[_Union[_types_pb2.OutboxMessage, _Mapping]]] = ..., schema_version: _Optional[int] = ...) -> None: ...

class UpdateResponse(_message.Message):
    __slots__ = ("version", "value", "durability", "mode", "expire_time")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    version: int
    value: bytes
    durability: _types_pb2.Durability
    mode: _types_pb2.ServingMode
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[int] = ..., value: _Optional[bytes] = ..., durability: _Optional[_Union[_types_pb2.Durability, str]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BatchGetRequest(_message.Message):
    __slots__ = ("namespace", "keys", "consistency", "min_versions", "max_schema_version", "packed")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    MIN_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    consistency: _types_pb2.Consistency
    min_versions: _containers.RepeatedScalarFieldContainer[int]
    max_schema_version: int
    packed: bool
    def __init__(self, namespace: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., consistency: _Optional[_Union[_types_pb2.Consistency, str]] = ..., min_versions: _Optional[_Iterable[int]] = ..., max_schema_version: _Optional[int] = ..., packed: _Optional[bool] = ...) -> None: ...

class BatchGetResponse(_message.Message):
    __slots__ = ("results", "mode", "packed")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchGetResult]
    mode: _types_pb2.ServingMode
    packed: PackedValues
    def __init__(self, results: _Optional[_Iterable[_Union[BatchGetResult, _Mapping]]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ..., packed: _Optional[_Union[PackedValues, _Mapping]] = ...) -> None: ...

class PackedValues(_message.Message):
    __slots__ = ("values", "sizes", "versions", "content_types", "content_type_indexes", "stale_possible")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_INDEXES_FIELD_NUMBER: _ClassVar[int]
    STALE_POSSIBLE_FIELD_NUMBER: _ClassVar[int]
    values: bytes
    sizes: _containers.RepeatedScalarFieldContainer[int]
    versions: _containers.RepeatedScalarFieldContainer[int]
    content_types: _containers.RepeatedScalarFieldContainer[str]
    content_type_indexes: _containers.RepeatedScalarFieldContainer[int]
    stale_possible: bool
    def __init__(self, values: _Optional[bytes] = ..., sizes: _Optional[_Iterable[int]] = ..., versions: _Optional[_Iterable[int]] = ..., content_types: _Optional[_Iterable[str]] = ..., content_type_indexes: _Optional[_Iterable[int]] = ..., stale_possible: _Optional[bool] = ...) -> None: ...

class BatchGetResult(_message.Message):
    __slots__ = ("key", "entry", "served_by", "stale_possible")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    STALE_POSSIBLE_FIELD_NUMBER: _ClassVar[int]
    key: str
    entry: _types_pb2.Entry
    served_by: _types_pb2.Tier
    stale_possible: bool
    def __init__(self, key: _Optional[str] = ..., entry: _Optional[_Union[_types_pb2.Entry, _Mapping]] = ..., served_by: _Optional[_Union[_types_pb2.Tier, str]] = ..., stale_possible: _Optional[bool] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("namespace", "key_prefix", "page_size", "page_token", "keys_only", "max_schema_version")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    KEYS_ONLY_FIELD_NUMBER: _ClassVar[int]
    MAX_SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key_prefix: str
    page_size: int
    page_token: str
    keys_only: bool
    max_schema_version: int
    def __init__(self, namespace: _Optional[str] = ..., key_prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., keys_only: _Optional[bool] = ..., max_schema_version: _Optional[int] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("entries", "next_page_token", "mode")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_types_pb2.Entry]
    next_page_token: str
    mode: _types_pb2.ServingMode
    def __init__(self, entries: _Optional[_Iterable[_Union[_types_pb2.Entry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...

class DeletePrefixRequest(_message.Message):
    __slots__ = ("namespace", "key_prefix", "request_id", "all")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key_prefix: str
    request_id: str
    all: bool
    def __init__(self, namespace: _Optional[str] = ..., key_prefix: _Optional[str] = ..., request_id: _Optional[str] = ..., all: _Optional[bool] = ...) -> None: ...

class DeletePrefixResponse(_message.Message):
    __slots__ = ("deleted_count", "mode")
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    mode: _types_pb2.ServingMode
    def __init__(self, deleted_count: _Optional[int] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("key", "expected_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    expected_version: int
    def __init__(self, key: _Optional[str] = ..., expected_version: _Optional[int] = ...) -> None: ...

class TransactOperation(_message.Message):
    __slots__ = ("set", "cas", "delete", "update", "check")
    SET_FIELD_NUMBER: _ClassVar[int]
    CAS_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    set: SetRequest
    cas: CASRequest
    delete: DeleteRequest
    update: UpdateRequest
    check: Check
    def __init__(self, set: _Optional[_Union[SetRequest, _Mapping]] = ..., cas: _Optional[_Union[CASRequest, _Mapping]] = ..., delete: _Optional[_Union[DeleteRequest, _Mapping]] = ..., update: _Optional[_Union[UpdateRequest, _Mapping]] = ..., check: _Optional[_Union[Check, _Mapping]] = ...) -> None: ...

class TransactRequest(_message.Message):
    __slots__ = ("namespace", "operations", "outbox", "request_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    operations: _containers.RepeatedCompositeFieldContainer[TransactOperation]
    outbox: _containers.RepeatedCompositeFieldContainer[_types_pb2.OutboxMessage]
    request_id: str
    def __init__(self, namespace: _Optional[str] = ..., operations: _Optional[_Iterable[_Union[TransactOperation, _Mapping]]] = ..., outbox: _Optional[_Iterable[_Union[_types_pb2.OutboxMessage, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class TransactResult(_message.Message):
    __slots__ = ("set", "cas", "delete", "update", "check")
    SET_FIELD_NUMBER: _ClassVar[int]
    CAS_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    set: SetResponse
    cas: CASResponse
    delete: DeleteResponse
    update: UpdateResponse
    check: Check
    def __init__(self, set: _Optional[_Union[SetResponse, _Mapping]] = ..., cas: _Optional[_Union[CASResponse, _Mapping]] = ..., delete: _Optional[_Union[DeleteResponse, _Mapping]] = ..., update: _Optional[_Union[UpdateResponse, _Mapping]] = ..., check: _Optional[_Union[Check, _Mapping]] = ...) -> None: ...

class TransactResponse(_message.Message):
    __slots__ = ("results", "version", "durability", "mode")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[TransactResult]
    version: int
    durability: _types_pb2.Durability
    mode: _types_pb2.ServingMode
    def __init__(self, results: _Optional[_Iterable[_Union[TransactResult, _Mapping]]] = ..., version: _Optional[int] = ..., durability: _Optional[_Union[_types_pb2.Durability, str]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("namespace", "key", "key_prefix", "resume_token", "include_value", "all", "snapshot", "max_schema_version")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VALUE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    MAX_SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    key_prefix: str
    resume_token: str
    include_value: bool
    all: bool
    snapshot: bool
    max_schema_version: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., key_prefix: _Optional[str] = ..., resume_token: _Optional[str] = ..., include_value: _Optional[bool] = ..., all: _Optional[bool] = ..., snapshot: _Optional[bool] = ..., max_schema_version: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("event", "resume_token", "snapshot_complete")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    event: Event
    resume_token: str
    snapshot_complete: bool
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., resume_token: _Optional[str] = ..., snapshot_complete: _Optional[bool] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("type", "entry", "superseded")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    type: EventType
    entry: _types_pb2.Entry
    superseded: bool
    def __init__(self, type: _Optional[_Union[EventType, str]] = ..., entry: _Optional[_Union[_types_pb2.Entry, _Mapping]] = ..., superseded: _Optional[bool] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[Call]
    def __init__(self, calls: _Optional[_Iterable[_Union[Call, _Mapping]]] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("id", "get", "set", "cas", "delete", "touch", "update", "batch_get", "list", "delete_prefix", "transact", "checkpoint", "get_checkpoint", "list_checkpoints", "delete_checkpoint", "restore", "timeout", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    CAS_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    BATCH_GET_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    DELETE_PREFIX_FIELD_NUMBER: _ClassVar[int]
    TRANSACT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    GET_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    LIST_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    DELETE_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: int
    get: GetRequest
    set: SetRequest
    cas: CASRequest
    delete: DeleteRequest
    touch: TouchRequest
    update: UpdateRequest
    batch_get: BatchGetRequest
    list: ListRequest
    delete_prefix: DeletePrefixRequest
    transact: TransactRequest
    checkpoint: CheckpointRequest
    get_checkpoint: GetCheckpointRequest
    list_checkpoints: ListCheckpointsRequest
    delete_checkpoint: DeleteCheckpointRequest
    restore: RestoreRequest
    timeout: _duration_pb2.Duration
    traceparent: str
    def __init__(self, id: _Optional[int] = ..., get: _Optional[_Union[GetRequest, _Mapping]] = ..., set: _Optional[_Union[SetRequest, _Mapping]] = ..., cas: _Optional[_Union[CASRequest, _Mapping]] = ..., delete: _Optional[_Union[DeleteRequest, _Mapping]] = ..., touch: _Optional[_Union[TouchRequest, _Mapping]] = ..., update: _Optional[_Union[UpdateRequest, _Mapping]] = ..., batch_get: _Optional[_Union[BatchGetRequest, _Mapping]] = ..., list: _Optional[_Union[ListRequest, _Mapping]] = ..., delete_prefix: _Optional[_Union[DeletePrefixRequest, _Mapping]] = ..., transact: _Optional[_Union[TransactRequest, _Mapping]] = ..., checkpoint: _Optional[_Union[CheckpointRequest, _Mapping]] = ..., get_checkpoint: _Optional[_Union[GetCheckpointRequest, _Mapping]] = ..., list_checkpoints: _Optional[_Union[ListCheckpointsRequest, _Mapping]] = ..., delete_checkpoint: _Optional[_Union[DeleteCheckpointRequest, _Mapping]] = ..., restore: _Optional[_Union[RestoreRequest, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[CallResult]
    def __init__(self, results: _Optional[_Iterable[_Union[CallResult, _Mapping]]] = ...) -> None: ...

class CallResult(_message.Message):
    __slots__ = ("id", "status", "get", "set", "cas", "delete", "touch", "update", "batch_get", "list", "delete_prefix", "transact", "checkpoint", "get_checkpoint", "list_checkpoints", "delete_checkpoint", "restore")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    CAS_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    BATCH_GET_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    DELETE_PREFIX_FIELD_NUMBER: _ClassVar[int]
    TRANSACT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    GET_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    LIST_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    DELETE_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    id: int
    status: bytes
    get: GetResponse
    set: SetResponse
    cas: CASResponse
    delete: DeleteResponse
    touch: TouchResponse
    update: UpdateResponse
    batch_get: BatchGetResponse
    list: ListResponse
    delete_prefix: DeletePrefixResponse
    transact: TransactResponse
    checkpoint: CheckpointResponse
    get_checkpoint: GetCheckpointResponse
    list_checkpoints: ListCheckpointsResponse
    delete_checkpoint: DeleteCheckpointResponse
    restore: RestoreResponse
    def __init__(self, id: _Optional[int] = ..., status: _Optional[bytes] = ..., get: _Optional[_Union[GetResponse, _Mapping]] = ..., set: _Optional[_Union[SetResponse, _Mapping]] = ..., cas: _Optional[_Union[CASResponse, _Mapping]] = ..., delete: _Optional[_Union[DeleteResponse, _Mapping]] = ..., touch: _Optional[_Union[TouchResponse, _Mapping]] = ..., update: _Optional[_Union[UpdateResponse, _Mapping]] = ..., batch_get: _Optional[_Union[BatchGetResponse, _Mapping]] = ..., list: _Optional[_Union[ListResponse, _Mapping]] = ..., delete_prefix: _Optional[_Union[DeletePrefixResponse, _Mapping]] = ..., transact: _Optional[_Union[TransactResponse, _Mapping]] = ..., checkpoint: _Optional[_Union[CheckpointResponse, _Mapping]] = ..., get_checkpoint: _Optional[_Union[GetCheckpointResponse, _Mapping]] = ..., list_checkpoints: _Optional[_Union[ListCheckpointsResponse, _Mapping]] = ..., delete_checkpoint: _Optional[_Union[DeleteCheckpointResponse, _Mapping]] = ..., restore: _Optional[_Union[RestoreResponse, _Mapping]] = ...) -> None: ...

class CheckpointInfo(_message.Message):
    __slots__ = ("checkpoint_id", "key", "key_prefix", "label", "metadata", "parent_id", "create_time", "entry_count", "value_bytes", "automatic", "stored_bytes")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    AUTOMATIC_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    key: str
    key_prefix: str
    label: str
    metadata: _containers.ScalarMap[str, str]
    parent_id: str
    create_time: _timestamp_pb2.Timestamp
    entry_count: int
    value_bytes: int
    automatic: bool
    stored_bytes: int
    def __init__(self, checkpoint_id: _Optional[str] = ..., key: _Optional[str] = ..., key_prefix: _Optional[str] = ..., label: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., parent_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., entry_count: _Optional[int] = ..., value_bytes: _Optional[int] = ..., automatic: _Optional[bool] = ..., stored_bytes: _Optional[int] = ...) -> None: ...

class CheckpointRequest(_message.Message):
    __slots__ = ("namespace", "key", "key_prefix", "label", "metadata", "parent_id", "request_id")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    key_prefix: str
    label: str
    metadata: _containers.ScalarMap[str, str]
    parent_id: str
    request_id: str
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., key_prefix: _Optional[str] = ..., label: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., parent_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CheckpointResponse(_message.Message):
    __slots__ = ("checkpoint", "mode")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    checkpoint: CheckpointInfo
    mode: _types_pb2.ServingMode
    def __init__(self, checkpoint: _Optional[_Union[CheckpointInfo, _Mapping]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...

class GetCheckpointRequest(_message.Message):
    __slots__ = ("namespace", "checkpoint_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    checkpoint_id: str
    def __init__(self, namespace: _Optional[str] = ..., checkpoint_id: _Optional[str] = ...) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint", "entries", "mode")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    checkpoint: CheckpointInfo
    entries: _containers.RepeatedCompositeFieldContainer[_types_pb2.Entry]
    mode: _types_pb2.ServingMode
    def __init__(self, checkpoint: _Optional[_Union[CheckpointInfo, _Mapping]] = ..., entries: _Optional[_Iterable[_Union[_types_pb2.Entry, _Mapping]]] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...

class ListCheckpointsRequest(_message.Message):
    __slots__ = ("namespace", "key", "page_size", "page_token", "key_prefix")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    page_size: int
    page_token: str
    key_prefix: str
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., key_prefix: _Optional[str] = ...) -> None: ...

class ListCheckpointsResponse(_message.Message):
    __slots__ = ("checkpoints", "next_page_token", "mode")
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    checkpoints: _containers.RepeatedCompositeFieldContainer[CheckpointInfo]
    next_page_token: str
    mode: _types_pb2.ServingMode
    def __init__(self, checkpoints: _Optional[_Iterable[_Union[CheckpointInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...

class DeleteCheckpointRequest(_message.Message):
    __slots__ = ("namespace", "checkpoint_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    checkpoint_id: str
    def __init__(self, namespace: _Optional[str] = ..., checkpoint_id: _Optional[str] = ...) -> None: ...

class DeleteCheckpointResponse(_message.Message):
    __slots__ = ("mode",)
    MODE_FIELD_NUMBER: _ClassVar[int]
    mode: _types_pb2.ServingMode
    def __init__(self, mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...

class RestoreRequest(_message.Message):
    __slots__ = ("namespace", "key", "checkpoint_id", "expected_version", "request_id", "key_prefix")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    checkpoint_id: str
    expected_version: int
    request_id: str
    key_prefix: str
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., expected_version: _Optional[int] = ..., request_id: _Optional[str] = ..., key_prefix: _Optional[str] = ...) -> None: ...

class RestoreResponse(_message.Message):
    __slots__ = ("entries", "version", "mode")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_types_pb2.Entry]
    version: int
    mode: _types_pb2.ServingMode
    def __init__(self, entries: _Optional[_Iterable[_Union[_types_pb2.Entry, _Mapping]]] = ..., version: _Optional[int] = ..., mode: _Optional[_Union[_types_pb2.ServingMode, str]] = ...) -> None: ...
