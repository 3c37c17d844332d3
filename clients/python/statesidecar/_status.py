"""From a gRPC status to an error of this client; all that knows `google.rpc` is here.

The details are decoded with messages of a private descriptor pool: the client needs no googleapis package, and where one
is installed in the same process the two don't meet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from statesidecar import errors
from statesidecar.errors import StateSidecarError
from statesidecar.v1 import types_pb2

DOMAIN: Final = "state-sidecar"
_DETAILS_KEY: Final = "grpc-status-details-bin"
# OK is none of them: an error says what went wrong.
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}

# What a status means for the caller: by reason where the reason says more than the code, else by code.
ERROR_CLASSES: Final[dict[tuple[grpc.StatusCode, str], type[StateSidecarError]]] = {
    (grpc.StatusCode.CANCELLED, ""): errors.Unavailable,  # by the daemon, while it stops
    (grpc.StatusCode.UNKNOWN, ""): errors.InternalError,
    (grpc.StatusCode.UNKNOWN, errors.WRITE_OUTCOME_UNKNOWN): errors.WriteOutcomeUnknown,
    (grpc.StatusCode.INVALID_ARGUMENT, ""): errors.InvalidRequest,
    (grpc.StatusCode.DEADLINE_EXCEEDED, ""): errors.DeadlineExceeded,
    (grpc.StatusCode.DEADLINE_EXCEEDED, errors.WRITE_OUTCOME_UNKNOWN): errors.WriteOutcomeUnknown,
    (grpc.StatusCode.NOT_FOUND, ""): errors.NotFound,
    (grpc.StatusCode.ALREADY_EXISTS, ""): errors.FailedPrecondition,
    (grpc.StatusCode.PERMISSION_DENIED, ""): errors.PermissionDenied,
    (grpc.StatusCode.RESOURCE_EXHAUSTED, ""): errors.LimitExceeded,
    (grpc.StatusCode.FAILED_PRECONDITION, ""): errors.FailedPrecondition,
    (grpc.StatusCode.ABORTED, ""): errors.VersionConflict,
    (grpc.StatusCode.OUT_OF_RANGE, ""): errors.WatchExpired,
    (grpc.StatusCode.UNIMPLEMENTED, ""): errors.CapabilityMissing,
    (grpc.StatusCode.INTERNAL, ""): errors.InternalError,
    (grpc.StatusCode.UNAVAILABLE, ""): errors.Unavailable,
    (grpc.StatusCode.DATA_LOSS, ""): errors.DataLoss,
    (grpc.StatusCode.UNAUTHENTICATED, ""): errors.Unauthenticated,
}


@dataclass(slots=True)
class Details:
    """What the details of a status say. Unset: they don't."""

    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    conflict: types_pb2.ConflictInfo | None = None
    #: The field and what is wrong with it, each.
    violations: list[tuple[str, str]] = field(default_factory=list)


def error_of_rpc(error: Any) -> StateSidecarError:
    """The error for a `grpc.RpcError` of a call, sync or aio."""
    return error_of(error.code(), error.details() or "", error.trailing_metadata() or ())


def error_of_status(data: bytes) -> StateSidecarError:
    """The error for a serialized `google.rpc.Status`, as the stream of Connect has it; UNKNOWN if it cannot be read."""
    try:
        status = _parse(_messages()["Status"], data)
    except DecodeError:
        return _error(grpc.StatusCode.UNKNOWN, "", Details())
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _error(code, status.message, decode_details(data))


def error_of(code: grpc.StatusCode, message: str, trailing: Iterable[tuple[str, Any]]) -> StateSidecarError:
    """The error for a status with its trailing metadata."""
    details = next((decode_details(value) for key, value in trailing if key == _DETAILS_KEY), Details())
    return _error(code, message, details)


def _error(code: grpc.StatusCode, message: str, details: Details) -> StateSidecarError:
    cls = ERROR_CLASSES.get((code, details.reason)) or ERROR_CLASSES.get((code, ""), errors.InternalError)
    text = "; ".join(
        [message or code.name, *(f"{at}: {what}" for at, what in details.violations if what not in message)]
    )
    extra: dict[str, Any] = {}
    if issubclass(cls, errors.Unavailable | errors.LimitExceeded):
        extra["retry_after_s"] = details.retry_after_s
    elif issubclass(cls, errors.WriteOutcomeUnknown):
        extra["request_id"] = details.metadata.get("request_id", "")
    elif issubclass(cls, errors.VersionConflict) and details.conflict is not None:
        extra["key"] = details.conflict.key
        extra["expected_version"] = details.conflict.expected_version
        extra["current_version"] = details.conflict.current_version
    return cls(details.reason, text, metadata=details.metadata, code=code, **extra)


def decode_details(data: bytes) -> Details:
    """Reads a serialized `google.rpc.Status`; what cannot be read is left unset, the code still stands."""
    details = Details()
    messages = _messages()
    try:
        for any_message in _parse(messages["Status"], data).details:
            match any_message.type_url.rpartition("/")[2]:
                case "google.rpc.ErrorInfo":
                    info = _parse(messages["ErrorInfo"], any_message.value)
                    if info.domain == DOMAIN:
                        details.reason = info.reason
                        details.metadata = {item.key: item.value for item in info.metadata}
                case "google.rpc.RetryInfo":
                    delay = _parse(messages["RetryInfo"], any_message.value).retry_delay
                    details.retry_after_s = max(0.0, delay.seconds + delay.nanos / 1e9)
                case "google.rpc.BadRequest":
                    request = _parse(messages["BadRequest"], any_message.value)
                    details.violations = [(v.field, v.description) for v in request.field_violations]
                case "statesidecar.v1.ConflictInfo":
                    details.conflict = types_pb2.ConflictInfo.FromString(any_message.value)
                case _:
                    pass  # A detail of a later release
    except DecodeError:
        pass  # Not the daemon's own: the code and message are all there is
    return details


def _parse(cls: type[Message], data: bytes) -> Any:
    return cls.FromString(data)


# The fields read here, as in the public google/rpc protos: name, number, type (a message's name, or none for string).
_FIELDS: Final[dict[str, list[tuple[str, int, str, bool]]]] = {
    "Any": [("type_url", 1, "", False), ("value", 2, "bytes", False)],
    "Duration": [("seconds", 1, "int64", False), ("nanos", 2, "int32", False)],
    "Pair": [("key", 1, "", False), ("value", 2, "", False)],  # On the wire a map is its entries
    "Violation": [("field", 1, "", False), ("description", 2, "", False)],
    "Status": [("code", 1, "int32", False), ("message", 2, "", False), ("details", 3, "Any", True)],
    "ErrorInfo": [("reason", 1, "", False), ("domain", 2, "", False), ("metadata", 3, "Pair", True)],
    "RetryInfo": [("retry_delay", 1, "Duration", False)],
    "BadRequest": [("field_violations", 1, "Violation", True)],
}
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
}


@cache
def _messages() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="details.proto", package="statesidecar.details", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, repeated in fields:
            added = message.field.add(name=field_name, number=number)
            added.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            added.type = _SCALARS.get(kind, _Field.TYPE_MESSAGE)
            if kind not in _SCALARS:
                added.type_name = f".{file.package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in _FIELDS
    }
