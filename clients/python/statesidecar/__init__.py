"""Python client of state-sidecar.

A name is imported when it is asked for: whoever needs only the stubs (`statesidecar.v1`), as the daemon, saves 3 MB.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statesidecar._async_client import AsyncStateClient
    from statesidecar._client import StateClient
    from statesidecar._consumers import AsyncConsumer, Consumer
    from statesidecar._credentials import Tls
    from statesidecar._retry import RetryPolicy
    from statesidecar._states import Session
    from statesidecar._watches import AsyncWatch, Watch
    from statesidecar.checkpoints import Checkpoint, CheckpointContent, RestoreResult
    from statesidecar.errors import (
        CapabilityMissing,
        DataLoss,
        DeadlineExceeded,
        FailedPrecondition,
        InternalError,
        InvalidRequest,
        LimitExceeded,
        NotFound,
        PermissionDenied,
        StateSidecarError,
        Unauthenticated,
        Unavailable,
        VersionConflict,
        WatchExpired,
        WriteOutcomeUnknown,
    )
    from statesidecar.near import NearCache
    from statesidecar.operations import (
        AppendOp,
        CasOp,
        CheckOp,
        DeleteOp,
        IncrementOp,
        MergePatchOp,
        SetOp,
        TransactResult,
    )
    from statesidecar.outbox import DeadLetter, OutboxMessage, ReceivedMessage
    from statesidecar.types import (
        BreakerState,
        Consistency,
        DeletePrefixResult,
        DeleteResult,
        Durability,
        Entry,
        GetResult,
        LatencySummary,
        ServingMode,
        StateUpdate,
        Status,
        Tier,
        TierState,
        TierStatus,
        TouchResult,
        UpdateResult,
        WriteResult,
    )
    from statesidecar.vectors import Vectors
    from statesidecar.watching import WatchEvent, WatchEventType

__version__ = "0.1.0"

__all__ = [
    "AppendOp",
    "AsyncConsumer",
    "AsyncStateClient",
    "AsyncWatch",
    "BreakerState",
    "CapabilityMissing",
    "CasOp",
    "CheckOp",
    "Checkpoint",
    "CheckpointContent",
    "Consistency",
    "Consumer",
    "DataLoss",
    "DeadLetter",
    "DeadlineExceeded",
    "DeleteOp",
    "DeletePrefixResult",
    "DeleteResult",
    "Durability",
    "Entry",
    "FailedPrecondition",
    "GetResult",
    "IncrementOp",
    "InternalError",
    "InvalidRequest",
    "LatencySummary",
    "LimitExceeded",
    "MergePatchOp",
    "NearCache",
    "NotFound",
    "OutboxMessage",
    "PermissionDenied",
    "ReceivedMessage",
    "RestoreResult",
    "RetryPolicy",
    "ServingMode",
    "Session",
    "SetOp",
    "StateClient",
    "StateSidecarError",
    "StateUpdate",
    "Status",
    "Tier",
    "TierState",
    "TierStatus",
    "Tls",
    "TouchResult",
    "TransactResult",
    "Unauthenticated",
    "Unavailable",
    "UpdateResult",
    "Vectors",
    "VersionConflict",
    "Watch",
    "WatchEvent",
    "WatchEventType",
    "WatchExpired",
    "WriteOutcomeUnknown",
    "WriteResult",
]

_NAMES = {
    "_async_client": ("AsyncStateClient",),
    "_client": ("StateClient",),
    "_consumers": (
        "AsyncConsumer",
        "Consumer",
    ),
    "_credentials": ("Tls",),
    "_retry": ("RetryPolicy",),
    "_states": ("Session",),
    "_watches": (
        "AsyncWatch",
        "Watch",
    ),
    "checkpoints": (
        "Checkpoint",
        "CheckpointContent",
        "RestoreResult",
    ),
    "errors": (
        "CapabilityMissing",
        "DataLoss",
        "DeadlineExceeded",
        "FailedPrecondition",
        "InternalError",
        "InvalidRequest",
        "LimitExceeded",
        "NotFound",
        "PermissionDenied",
        "StateSidecarError",
        "Unauthenticated",
        "Unavailable",
        "VersionConflict",
        "WatchExpired",
        "WriteOutcomeUnknown",
    ),
    "near": ("NearCache",),
    "operations": (
        "AppendOp",
        "CasOp",
        "CheckOp",
        "DeleteOp",
        "IncrementOp",
        "MergePatchOp",
        "SetOp",
        "TransactResult",
    ),
    "outbox": (
        "DeadLetter",
        "OutboxMessage",
        "ReceivedMessage",
    ),
    "types": (
        "BreakerState",
        "Consistency",
        "DeletePrefixResult",
        "DeleteResult",
        "Durability",
        "Entry",
        "GetResult",
        "LatencySummary",
        "ServingMode",
        "StateUpdate",
        "Status",
        "Tier",
        "TierState",
        "TierStatus",
        "TouchResult",
        "UpdateResult",
        "WriteResult",
    ),
    "vectors": ("Vectors",),
    "watching": (
        "WatchEvent",
        "WatchEventType",
    ),
}
"""What is public, by its module."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = getattr(import_module(f"statesidecar.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    if name in _NAMES:
        return import_module(f"statesidecar.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
