"""A call of a frame, as the RPC that it stands for sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, Protocol

import grpc

from sidecar.core.errors import SidecarError
from sidecar.core.tracing import Trace
from sidecar.rpc.calls import Context
from sidecar.rpc.status import DETAILS_KEY, to_status
from statesidecar.v1 import state_service_pb2 as pb

_METHODS = pb.DESCRIPTOR.services_by_name["StateService"].methods
CARRIED = {
    field.name: next(method.name for method in _METHODS if method.input_type is field.message_type)
    for field in pb.Call.DESCRIPTOR.oneofs_by_name["request"].fields
}
"""The RPC of each field of a call."""


class Door(Protocol):
    """Where callers are told apart: what the stream's caller may, asked anew for each call."""

    def admit(self, method: str, request: Any) -> None:
        """Let a call in, by its full name. Raises Unauthenticated, PermissionDenied, LimitExceeded, InvalidRequest."""
        ...

    def charge(self, response: Any) -> None:
        """This went back."""
        ...


class Aborted(Exception):
    """A call has ended with an error, which its context has."""


class CallContext:
    """What an RPC's behaviour asks of its context, of one call. `deadline`: by the event loop's clock, in seconds."""

    def __init__(self, stream: Context, *, deadline: float, now: float, traceparent: str, door: Door | None) -> None:
        self.status = b""
        """Of the error that the call ended with, serialized."""
        self.door = door
        self.trace: Trace | None = None
        """Where it was decided already that the call is watched."""
        self._stream = stream
        self._remaining_s = deadline - now
        self._traceparent = traceparent
        self._code: grpc.StatusCode | None = None

    def time_remaining(self) -> float:
        """Seconds, when the call began."""
        return self._remaining_s

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Of the call alone."""
        return (("traceparent", self._traceparent),) if self._traceparent else ()

    def auth_context(self) -> Any:
        """The connection's."""
        return self._stream.auth_context()

    def set_trailing_metadata(self, trailers: object) -> None:
        """Nothing: what it would say is in the reply."""

    def set_code(self, code: grpc.StatusCode) -> None:
        """What the call ends with."""
        self._code = code

    def code(self) -> grpc.StatusCode | None:
        """What it ended with."""
        return self._code

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[tuple[str, Any]] = ()
    ) -> NoReturn:
        """End the call."""
        self._code = code
        self.status = next(value for key, value in trailing_metadata if key == DETAILS_KEY)
        raise Aborted(details)


def status_of(error: SidecarError) -> bytes:
    """An error as a result has it."""
    serialized: bytes = to_status(error).SerializeToString()
    return serialized
