"""From an error to `google.rpc.Status`: the one table of gRPC codes, and the details that travel with each."""

from __future__ import annotations

import logging
from typing import NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import error_details_pb2, status_pb2

from sidecar.core import errors
from sidecar.core.modes import ServingMode
from statesidecar.v1 import types_pb2

DOMAIN = "state-sidecar"
DETAILS_KEY = "grpc-status-details-bin"
MODE_KEY = "statesidecar-mode"
MODE_TRAILERS = {mode: ((MODE_KEY, mode.name),) for mode in ServingMode}
"""Trailing metadata of a reply, by its mode: for proxies and logs, which don't read messages."""
MESSAGE_CHARACTERS_MAX = 1024
"""The text also travels in an HTTP/2 header, whose size clients bound; in both places it is the same, or clients object."""

log = logging.getLogger(__name__)

CODES: dict[type[errors.SidecarError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.VersionConflict: grpc.StatusCode.ABORTED,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.CheckpointNotFound: grpc.StatusCode.NOT_FOUND,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.OutcomeUnknown: grpc.StatusCode.UNKNOWN,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Defect: grpc.StatusCode.INTERNAL,
}


def code_of(error: errors.SidecarError) -> grpc.StatusCode:
    """The gRPC code of an error, by its nearest class in the table."""
    if isinstance(error, errors.OutcomeUnknown) and error.timed_out:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return next(CODES[base] for base in type(error).__mro__ if base in CODES)


def to_status(error: errors.SidecarError) -> status_pb2.Status:
    """The status with its details. The cause of the error stays here: it is for the log."""
    details: list[message.Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    ]
    match error:
        case errors.InvalidRequest():
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=error.field, description=error.message, reason=error.reason
            )
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        case errors.VersionConflict():
            details.append(
                types_pb2.ConflictInfo(
                    key=error.key, expected_version=error.expected_version, current_version=error.current_version
                )
            )
        case errors.Unavailable() | errors.LimitExceeded():
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(error.retry_after_s * 1e9))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_of(error).value[0], message=error.message[:MESSAGE_CHARACTERS_MAX])
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def as_sidecar_error(error: Exception, method: str) -> errors.SidecarError:
    """What the caller is told of an error; one that no layer named is our bug: logged here, told without detail."""
    if isinstance(error, errors.SidecarError):
        return error
    log.error("bug in %s", method, exc_info=error)
    return errors.Defect("a bug in state-sidecar; its log has the traceback")


async def abort(
    context: grpc.aio.ServicerContext[message.Message, message.Message],
    error: errors.SidecarError,
    *,
    mode: ServingMode | None = None,
) -> NoReturn:
    """End the RPC with an error's status, and the mode where replies have one."""
    status = to_status(error)
    trailers = MODE_TRAILERS[mode] if mode is not None else ()
    code = code_of(error)
    context.set_code(code)  # abort tells it the caller, and nobody else: rpc/measuring.py asks for it
    await context.abort(
        code,
        status.message,
        trailing_metadata=((DETAILS_KEY, status.SerializeToString()), *trailers),
    )
    raise AssertionError("abort returned")
