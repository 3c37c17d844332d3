"""What the gate puts around a call: the checks of one request, of a stream's first one, and of each call of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from sidecar.core.errors import PermissionDenied, SidecarError
from sidecar.rpc.access.methods import METHODS, Scope
from sidecar.rpc.access.refusals import invalid
from sidecar.rpc.access.rules import Identity
from sidecar.rpc.auditing import namespace_of
from sidecar.rpc.calls import Context, Malformed, refuse_unreadable
from sidecar.rpc.identities import HEADER, Identities
from sidecar.rpc.large import CarriedResponse, Carrying

Tell = Callable[[SidecarError, str, str], None]
"""Told who was refused what: the error, the method, the namespace."""


class Asked(NamedTuple):
    """A method as the gate sees it. `streams`: its requests are a stream, whose first one names the namespace."""

    name: str
    scope: Scope
    streams: bool

    def check(self, caller: Identity, request: Any) -> None:
        """Whether the caller may do that there. Raises PermissionDenied; InvalidRequest for what names nothing."""
        if isinstance(request, Malformed):
            refuse_unreadable(request)
        if self.scope is not Scope.NOTHING:
            caller.check_namespace(namespace_of(request) if self.scope is Scope.NAMESPACE else "")


class CheckedStream:
    """A context that checks the first request that is read, and counts what goes either way."""

    def __init__(self, context: Context, caller: Identity, asked: Asked, tell: Tell) -> None:
        self._context = context
        self._caller = caller
        self._asked = asked
        self._tell = tell
        self._unchecked = asked.streams

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """The next request. Raises PermissionDenied for a first one that may not be made."""
        request = await self._context.read()
        if request is grpc.aio.EOF:
            return request
        if self._unchecked:
            self._unchecked = False
            try:
                self._asked.check(self._caller, request)
            except PermissionDenied as exc:
                self._tell(exc, self._asked.name, namespace_of(request))
                raise
        self._charge(request)
        return request

    async def write(self, response: Any) -> None:
        """Send a response."""
        await self._context.write(response)
        self._charge(response)

    def _charge(self, message: Any) -> None:
        if self._caller.quota is not None:
            self._caller.quota.charge(size_of(message))


class Door:
    """A stream of calls: each is checked as if it came alone, by the token that the stream came with."""

    def __init__(
        self,
        identities: Identities,
        caller: Identity,
        context: Context,
        tell: Tell,
    ) -> None:
        self._identities = identities
        self._metadata = tuple(context.invocation_metadata() or ())
        self._by_token = any(name == HEADER for name, _ in self._metadata)
        self._caller = caller
        self._tell = tell

    def admit(self, method: str, request: Any) -> None:
        """Let a call in, by its full name. Raises Unauthenticated, PermissionDenied, LimitExceeded, InvalidRequest."""
        try:
            caller = self._present()
            caller.check_method(method)
            Asked(method, METHODS[method].scope, streams=False).check(caller, request)
            if caller.quota is not None:
                caller.quota.admit(size_of(request))
        except SidecarError as exc:
            self._tell(exc, method, namespace_of(request))
            raise

    def charge(self, response: Any) -> None:
        """This went back, a message or so many bytes."""
        if self._caller.quota is not None:
            self._caller.quota.charge(response if isinstance(response, int) else size_of(response))

    def _present(self) -> Identity:
        """Who the caller is now: a token may have ended, or be valid no more; a connection keeps its certificate."""
        if not self._by_token:
            return self._caller
        caller = self._identities.at_once(self._metadata)
        if caller is None:
            raise invalid("its key is not known any more: open another stream")
        self._caller = caller
        return caller


class Connected:
    """The context of a stream of calls, with its door."""

    def __init__(self, context: Context, door: Door) -> None:
        self._context = context
        self.door = door

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def size_of(message: Any) -> int:
    """Bytes of a message, with what it carries beside it."""
    if isinstance(message, Carrying):
        return message.message.ByteSize() + len(message.value)
    if isinstance(message, CarriedResponse):
        return len(message._value)  # noqa: SLF001  # the rest of it is small
    size: int = message.ByteSize()
    return size
