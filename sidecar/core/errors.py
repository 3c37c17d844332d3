"""Every error that leaves the core, engine, tiers or stores; the class says what the caller must do.

    SidecarError                    never raised itself
    ├── InvalidRequest              change the request
    ├── VersionConflict             read again, then decide; carries the current version
    ├── FailedPrecondition          fix something first
    ├── OutOfRange                  begin again from what is there now: what came before is forgotten
    ├── CheckpointNotFound          look again for which there are; a miss of a Get is no error
    ├── Unsupported                 this deployment cannot do it
    ├── LimitExceeded               slow down, or make room; carries when to retry
    ├── Unavailable                 retry the same call later; nothing was written
    │   ├── StoreUnavailable        a tier does not answer
    │   ├── ColdUnavailable         the cold tier does not, and the value is there
    │   ├── Passthrough             the authority is away, and the call needs it
    │   └── Draining
    ├── DeadlineExceeded            the time ran out before any effect
    ├── OutcomeUnknown              a write may or may not have landed: repeat it with the same request id
    ├── Unauthenticated             say who you are: no identity, or one that is not believed
    ├── PermissionDenied            ask an operator: this identity may not do that
    ├── DataLoss                    stored bytes do not verify: stop and look
    │   └── StoreCorrupt            not one entry's, but the store's own
    └── Defect                      our bug; logged with its traceback, told without detail

`reason` and `metadata` are the contract; the message is for people and may change. The class fixes the gRPC code, in one
table in `rpc/status.py`. `Decision`s are definite: a store keeps them with the request id and raises them again when the request is repeated.
"""

from __future__ import annotations

from typing import Any


class SidecarError(Exception):
    """Base of the tree. `reason` is a constant in upper snake case; `metadata` repeats what is dynamic in the message."""

    default_reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str = "", metadata: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata: dict[str, str] = metadata or {}


class InvalidRequest(SidecarError):
    """The request can never succeed as it is; `field` is the proto field that is wrong."""

    default_reason = "REQUEST_INVALID"

    def __init__(self, message: str, *, reason: str, field: str, metadata: dict[str, str] | None = None) -> None:
        super().__init__(message, reason=reason, metadata={"field": field, **(metadata or {})})
        self.field = field


class VersionConflict(SidecarError):
    """A guarded write lost. Versions are 0 for an absent key."""

    default_reason = "VERSION_MISMATCH"

    def __init__(self, *, key: str, expected_version: int, current_version: int) -> None:
        expected = f"version {expected_version}" if expected_version else "no entry"
        current = f"version {current_version}" if current_version else "no entry"
        super().__init__(
            f"expected {expected}, found {current}: read the key again, then decide",
            metadata={"expected_version": str(expected_version), "current_version": str(current_version)},
        )
        self.key = key
        self.expected_version = expected_version
        self.current_version = current_version


class FailedPrecondition(SidecarError):
    """The state of the system forbids the call until something else is changed."""

    default_reason = "FAILED_PRECONDITION"


class OutOfRange(SidecarError):
    """Changes that a watcher has not been told yet can't be told any more."""

    default_reason = "OUT_OF_RANGE"


class CheckpointNotFound(SidecarError):
    """There is no checkpoint of that id, or none of that key or prefix."""

    default_reason = "CHECKPOINT_NOT_FOUND"


class Unsupported(SidecarError):
    """This deployment or release cannot do it."""

    default_reason = "CAPABILITY_MISSING"


class LimitExceeded(SidecarError):
    """A bounded resource is used up; nothing was written."""

    default_reason = "QUEUE_FULL"

    def __init__(
        self, message: str, *, reason: str = "", retry_after_s: float = 0.1, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after_s = retry_after_s


class Unavailable(SidecarError):
    """Nothing was written; the same call may succeed later."""

    default_reason = "AUTHORITY_UNAVAILABLE"

    def __init__(
        self, message: str, *, reason: str = "", retry_after_s: float = 1.0, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after_s = retry_after_s


class StoreUnavailable(Unavailable):
    """A tier's backend does not answer, or refuses all work."""


class ColdUnavailable(Unavailable):
    """The cold tier does not answer, and the only copy of a value is there, or has to go there."""

    def __init__(self, message: str) -> None:
        super().__init__(message, metadata={"tier": "cold"})


class Passthrough(Unavailable):
    """The authority is away, and a call with this guarantee cannot pass through."""

    default_reason = "PASSTHROUGH"


class Draining(Unavailable):
    """The daemon is stopping and admits nothing new."""

    default_reason = "DRAINING"


class DeadlineExceeded(SidecarError):
    """The time ran out before any effect: nothing was written."""

    default_reason = "DEADLINE_EXCEEDED"


class OutcomeUnknown(SidecarError):
    """The write may or may not have landed; `timed_out` when the caller's time ended first."""

    default_reason = "WRITE_OUTCOME_UNKNOWN"

    def __init__(self, message: str, *, timed_out: bool = False, metadata: dict[str, str] | None = None) -> None:
        super().__init__(message, metadata=metadata)
        self.timed_out = timed_out


class Unauthenticated(SidecarError):
    """Nobody is known to be calling. Nothing was done."""

    default_reason = "UNAUTHENTICATED"


class PermissionDenied(SidecarError):
    """The identity that calls may not do this. Nothing was done."""

    default_reason = "PERMISSION_DENIED"


class DataLoss(SidecarError):
    """Stored bytes do not verify; no other bytes are ever returned in their place."""

    default_reason = "ENTRY_CORRUPT"


class ValueAway(Unavailable):
    """The value that is to be changed in place is in the cold tier: it has to come back first. Nothing was written."""

    default_reason = "VALUE_AWAY"

    def __init__(self, key: str) -> None:
        super().__init__("the value is in the cold tier; nothing was written, try again", metadata={"key": key})
        self.key = key


class SchemaDiffers(Unavailable):
    """The value that is to be changed in place has another schema: it has to be changed where schemas are known."""

    default_reason = "SCHEMA_CONTENDED"

    def __init__(self, key: str) -> None:
        super().__init__("the value has another schema; nothing was written, try again", metadata={"key": key})
        self.key = key


class KeyAway(Unavailable):
    """The value that is to be changed in place is sealed with a key that has to be asked for first. Nothing was written."""

    default_reason = "ENCRYPTION_KEY_AWAY"

    def __init__(self, namespace: str, sealed: bytes) -> None:
        super().__init__("the value's key is not at hand; nothing was written, try again")
        self.namespace = namespace
        self.sealed = sealed


class StoreCorrupt(DataLoss):
    """The authority's own files do not verify."""

    default_reason = "STORE_CORRUPT"


class Defect(SidecarError):
    """A bug of ours."""


def storage_full(message: str) -> LimitExceeded:
    """The authority has no room: freeing space helps, retrying at once doesn't."""
    return LimitExceeded(message, reason="STORAGE_FULL", retry_after_s=5.0)


def store_corrupt(message: str) -> StoreCorrupt:
    """The authority's own files do not verify."""
    return StoreCorrupt(message)


Decision = VersionConflict | FailedPrecondition | InvalidRequest
"""Refusals that follow from what is stored: definite, and remembered with the request id that met them."""
DECISIONS = (VersionConflict, FailedPrecondition, InvalidRequest)
"""The same, for `except`."""


def decision_record(error: Decision) -> dict[str, Any]:
    """A definite refusal as JSON values."""
    if isinstance(error, VersionConflict):
        return {
            "key": error.key,
            "expected": error.expected_version,
            "current": error.current_version,
            "metadata": error.metadata,
        }
    record: dict[str, Any] = {"reason": error.reason, "message": error.message, "metadata": error.metadata}
    return record | {"field": error.field} if isinstance(error, InvalidRequest) else record


def decision_from_record(record: dict[str, Any]) -> Decision:
    """Inverse of `decision_record`."""
    error: Decision
    if "key" in record:
        error = VersionConflict(
            key=record["key"], expected_version=record["expected"], current_version=record["current"]
        )
    elif "field" in record:
        error = InvalidRequest(record["message"], reason=record["reason"], field=record["field"])
    else:
        error = FailedPrecondition(record["message"], reason=record["reason"])
    error.metadata = dict(record["metadata"])
    return error
