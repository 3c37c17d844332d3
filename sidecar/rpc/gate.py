"""The gate: the one way to every method, where callers are told apart. It decides on the exact path that was called.

A token is looked at before anything of the request is read, and a call that is refused then is never parsed. A client
certificate, and a token whose key has to be asked for, are looked at as soon as the call is there. What no rule allows is
denied, and so is a path that no service has: nobody learns what exists by trying.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

import grpc

from sidecar.core.audit import Audit, AuditEvent, AuditKind
from sidecar.core.errors import LimitExceeded, PermissionDenied, SidecarError, Unauthenticated
from sidecar.rpc.access.methods import CONNECT, METHODS, Scope
from sidecar.rpc.access.rules import IDENTITY, Identity
from sidecar.rpc.auditing import NAME_CHARACTERS_MAX, behaviour_form, namespace_of, with_audit
from sidecar.rpc.calls import Context
from sidecar.rpc.gated import Asked, CheckedStream, Connected, Door, size_of
from sidecar.rpc.identities import Identities
from sidecar.rpc.measuring import UNARY
from sidecar.rpc.status import abort, code_of

_CALLER: ContextVar[Identity | None] = ContextVar("caller", default=None)
"""Who calls, where that was known before the request was read."""

log = logging.getLogger(__name__)


class Gate(grpc.GenericRpcHandler):
    """Serves what was added to it, to those who may. The server has no other handler."""

    def __init__(self, identities: Identities, audit: Audit) -> None:
        self._identities = identities
        self._audit = audit
        self._handlers: dict[str, Any] = {}
        """By path, which begins with a slash."""
        self._measures: dict[str, Callable[[UNARY], UNARY]] = {}

    def add(
        self, service: str, handlers: Mapping[str, Any], measure: Callable[[str, UNARY], UNARY] | None = None
    ) -> None:
        """Serve a service's methods, each if it is in `METHODS`. `measure`: of those that are refused, by their name."""
        for name, handler in handlers.items():
            self._handlers[f"/{service}/{name}"] = handler
            if measure is not None and handler.unary_unary is not None:
                self._measures[f"/{service}/{name}"] = partial(measure, name)

    def service(self, details: Any) -> Any:
        """The handler of a call, or one that refuses it: never none, which would tell that there is no such method."""
        path: str = details.method
        try:
            caller = self._identities.at_once(details.invocation_metadata or ())
            if caller is not None:
                IDENTITY.set(caller.name)
                caller.check_method(path[1:] if path in self._handlers else "")
        except SidecarError as exc:
            return self._refusing(path, exc)
        _CALLER.set(caller)
        return self._handlers.get(path) or self._refusing(path, None)

    def guarded(self, name: str, handler: Any) -> Any:
        """A method handler that answers to those who may, in the namespaces that they may. `name`: the method's full one."""
        known, form = METHODS.get(name), behaviour_form(handler)
        handler = with_audit(handler, None if known is None else known.audited, name, self._audit)
        asked = Asked(name, Scope.DAEMON if known is None else known.scope, handler.request_streaming)
        behaviour = getattr(handler, form)
        if name == CONNECT:
            return handler._replace(**{form: self._connecting(asked, behaviour)})
        if inspect.isasyncgenfunction(behaviour):
            return handler._replace(**{form: self._generating(asked, behaviour)})
        guard = self._unary if form == "unary_unary" else self._streaming
        return handler._replace(**{form: guard(asked, behaviour)})

    # ---- behaviours

    def _unary(self, asked: Asked, behaviour: UNARY) -> UNARY:
        async def guarded(request: Any, context: Context) -> Any:
            if (door := getattr(context, "door", None)) is not None:  # a call of a stream
                return await self._carried(asked, door, behaviour, request, context)
            caller = await self._admitted(asked, request, context)
            reply = await behaviour(request, context)
            if caller.quota is not None:
                caller.quota.charge(size_of(reply))
            return reply

        return guarded

    async def _carried(self, asked: Asked, door: Door, behaviour: UNARY, request: Any, context: Context) -> Any:
        try:
            door.admit(asked.name, request)
        except SidecarError as exc:
            await abort(context, exc)
        reply = await behaviour(request, context)
        door.charge(reply)
        return reply

    def _streaming(self, asked: Asked, behaviour: UNARY) -> UNARY:
        async def guarded(request: Any, context: Context) -> None:
            caller = await self._admitted(asked, request, context)
            stream: Any = CheckedStream(context, caller, asked, self._tell)
            if caller.quota is None:
                await behaviour(request, stream)
                return
            try:
                caller.quota.enter_watch()
            except LimitExceeded as exc:
                await abort(context, exc)
            try:
                await behaviour(request, stream)
            finally:
                caller.quota.leave_watch()

        return guarded

    def _connecting(self, asked: Asked, behaviour: UNARY) -> UNARY:
        async def guarded(requests: Any, context: Context) -> None:
            caller = await self._admitted(asked, requests, context)
            door = Door(self._identities, caller, context, self._tell)
            connected: Any = Connected(context, door)
            await behaviour(requests, connected)

        return guarded

    def _generating(
        self, asked: Asked, behaviour: Callable[[Any, Context], AsyncIterator[Any]]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def guarded(requests: Any, context: Context) -> AsyncIterator[Any]:
            await self._admitted(asked, requests, context)
            async for reply in behaviour(requests, context):
                yield reply

        return guarded

    # ---- decisions

    async def _admitted(self, asked: Asked, request: Any, context: Context) -> Identity:
        """Who calls, and may: of a stream of requests, as far as its first one doesn't decide. Ends the call otherwise."""
        try:
            if (caller := _CALLER.get()) is None:
                caller = await self._identities.later(context.invocation_metadata() or (), context.auth_context())
                IDENTITY.set(caller.name)
                caller.check_method(asked.name)
            if not asked.streams:
                asked.check(caller, request)
            if caller.quota is not None:
                caller.quota.admit(0 if asked.streams else size_of(request))
        except SidecarError as exc:
            self._tell(exc, asked.name, "" if asked.streams else namespace_of(request))
            await abort(context, exc)
        return caller

    def _refusing(self, path: str, error: SidecarError | None) -> Any:
        """A handler that reads nothing of the call. `error` None: nobody serves that, which only an identity is told."""

        async def refuse(_requests: Any, context: Context) -> None:
            refusal = error or await self._unserved(context)
            self._tell(refusal, path[1:], "")
            await abort(context, refusal)

        measure = self._measures.get(path)
        return grpc.stream_stream_rpc_method_handler(refuse if measure is None else measure(refuse))

    async def _unserved(self, context: Context) -> SidecarError:
        try:
            caller = await self._identities.later(context.invocation_metadata() or (), context.auth_context())
            IDENTITY.set(caller.name)
            caller.check_method("")
        except SidecarError as exc:
            return exc
        raise AssertionError("no rule has a method without a name")

    def _tell(self, error: SidecarError, method: str, namespace: str) -> None:
        """Who was refused what, to the log and the audit log; a quota that is used up is no refusal of that kind."""
        if not isinstance(error, Unauthenticated | PermissionDenied):
            return
        log.debug("refused: %s", error.reason, extra={"why": str(error.__cause__ or ""), "identity": IDENTITY.get()})
        self._audit.record(
            AuditEvent(
                kind=AuditKind.DENIED,
                identity=IDENTITY.get(),
                method=method[:NAME_CHARACTERS_MAX],
                namespace=namespace[:NAME_CHARACTERS_MAX],
                outcome=code_of(error).name.lower(),
                reason=error.reason,
            )
        )
