"""What a refused call was told, read as any client would read it: the code, and the typed details of google.rpc.Status."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status  # type: ignore[import-untyped]  # it has no stubs

from statesidecar.v1 import types_pb2


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A status with its details; those that it doesn't have are None."""

    code: grpc.StatusCode
    message: str
    info: error_details_pb2.ErrorInfo
    violations: tuple[Any, ...]
    conflict: types_pb2.ConflictInfo | None
    retry: error_details_pb2.RetryInfo | None

    @property
    def reason(self) -> str:
        """The constant that callers decide by."""
        return str(self.info.reason)

    @property
    def told(self) -> tuple[grpc.StatusCode, str]:
        """Code and reason."""
        return self.code, self.reason


def refusal_of(error: Any) -> Refusal:
    """Decode the status of an RpcError, blocking or aio; it fails for one without an ErrorInfo of ours."""
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} without details: {error.details()}"
    found: dict[type[Any], Any] = {}
    for packed in status.details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
            types_pb2.ConflictInfo,
        ):
            if packed.Is(kind.DESCRIPTOR):
                found[kind] = kind.FromString(packed.value)
    info = found[error_details_pb2.ErrorInfo]
    assert info.domain == "state-sidecar"
    bad_request = found.get(error_details_pb2.BadRequest)
    return Refusal(
        code=error.code(),
        message=error.details() or "",
        info=info,
        violations=tuple(bad_request.field_violations) if bad_request is not None else (),
        conflict=found.get(types_pb2.ConflictInfo),
        retry=found.get(error_details_pb2.RetryInfo),
    )


async def refusal(call: Awaitable[Any]) -> Refusal:
    """The refusal of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)
