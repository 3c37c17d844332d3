"""What can go wrong, by what the caller does about it.

    StateSidecarError            reason, message, metadata, code; never raised itself
    ├── InvalidRequest           change the request
    ├── VersionConflict          read again, then decide; carries the current version
    ├── FailedPrecondition       fix something first: schema too new, not a JSON array, no key to update
    ├── WatchExpired             changes since the resume token are forgotten: watch again, with a snapshot
    ├── NotFound                 a checkpoint that is not there; a miss of get is no error
    ├── Unavailable              retry later; nothing was written; carries retry_after_s
    ├── LimitExceeded            slow down; carries retry_after_s
    ├── CapabilityMissing        this deployment cannot do it
    ├── DataLoss                 stored bytes do not verify: stop and look
    ├── Unauthenticated          take a new token: the daemon does not know who calls
    ├── PermissionDenied         an operator has to allow it: the caller is known, and may not do this
    ├── WriteOutcomeUnknown      the write may or may not have landed: repeat it with the same request_id to learn
    ├── DeadlineExceeded         time ran out, and nothing was written
    └── InternalError            a bug of the daemon, or a status that it never sends

`reason` and `metadata` are the contract; the message is for people. `WriteOutcomeUnknown` is also what a write raises
whose connection broke in mid-call: whether the daemon had received it is not known to anybody then. Only where the
connection was never made does such a write raise `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc

CHECKPOINT_CORRUPT = "CHECKPOINT_CORRUPT"
CHECKPOINT_NOT_FOUND = "CHECKPOINT_NOT_FOUND"
CLIENT_QUEUE_FULL = "CLIENT_QUEUE_FULL"
EPOCH_CHANGED = "EPOCH_CHANGED"
NOT_JSON = "NOT_JSON"
PASSTHROUGH = "PASSTHROUGH"
QUEUE_FULL = "QUEUE_FULL"
RESPONSE_TOO_LARGE = "RESPONSE_TOO_LARGE"
TENSOR_MISMATCH = "TENSOR_MISMATCH"
VERSION_MISMATCH = "VERSION_MISMATCH"
WRITE_OUTCOME_UNKNOWN = "WRITE_OUTCOME_UNKNOWN"


class StateSidecarError(Exception):
    """What all errors of this client have in common."""

    def __init__(
        self,
        reason: str,
        message: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        code: grpc.StatusCode | None = None,
    ) -> None:
        # One text as the only argument of Exception: so an error survives pickling between processes.
        super().__init__(f"{reason}: {message}" if reason and message else reason or message)
        #: The daemon's reason, like VERSION_MISMATCH. Empty: the status came from the transport.
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        #: The gRPC status that brought it. None: found by the client itself.
        self.code = code


class InvalidRequest(StateSidecarError):
    """The request can never succeed as it is."""


class VersionConflict(StateSidecarError):
    """A guarded write lost: the key's version is not the expected one. Nothing was written."""

    def __init__(
        self,
        reason: str,
        message: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        code: grpc.StatusCode | None = None,
        key: str = "",
        expected_version: int | None = None,
        current_version: int | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(reason, message, metadata=metadata, code=code)
        #: The key whose guard failed.
        self.key = key
        #: 0: the key was to be absent. None: the daemon didn't say.
        self.expected_version = expected_version
        #: 0: the key is absent. None: the daemon didn't say.
        self.current_version = current_version
        #: The JSON path that both sides changed, where a merge was tried.
        self.path = path


class FailedPrecondition(StateSidecarError):
    """The system, or the stored value, has to change first."""


class WatchExpired(StateSidecarError):
    """Some of the changes that a watch has not told can't be told any more."""


class NotFound(StateSidecarError):
    """What the call needs is not there."""


class _Retryable(StateSidecarError):
    def __init__(
        self,
        reason: str,
        message: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        code: grpc.StatusCode | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(reason, message, metadata=metadata, code=code)
        #: Seconds that the daemon asks to wait. None: it didn't say.
        self.retry_after_s = retry_after_s


class Unavailable(_Retryable):
    """Not now: the same call may succeed later. Nothing was written."""


class LimitExceeded(_Retryable):
    """A limit of the daemon or of the caller's quota is reached. Nothing was written."""


class CapabilityMissing(StateSidecarError):
    """This deployment, or this release, cannot do it."""


class DataLoss(StateSidecarError):
    """Stored bytes do not verify."""


class Unauthenticated(StateSidecarError):
    """The daemon does not know who calls, and did nothing: TOKEN_MISSING, or TOKEN_INVALID whatever is wrong with it.

    TOKEN_UNUSABLE: found by the client itself, there is no token that could be sent.
    """


class PermissionDenied(StateSidecarError):
    """The daemon does not let this caller do this, and did nothing: METHOD_DENIED or NAMESPACE_DENIED."""


class WriteOutcomeUnknown(StateSidecarError):
    """Whether the write has landed is not known. The same call with this `request_id` tells, for 24 hours."""

    def __init__(
        self,
        reason: str,
        message: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        code: grpc.StatusCode | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(reason, message, metadata=metadata, code=code)
        #: What the write was sent with. Empty: it had none, and must not be repeated blindly.
        self.request_id = request_id


class DeadlineExceeded(StateSidecarError):
    """The time of the call ran out. Nothing was written."""


class InternalError(StateSidecarError):
    """The daemon failed in a way that it should not; of a write, the outcome is not known."""
