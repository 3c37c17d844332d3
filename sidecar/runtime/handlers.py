"""How the services' methods are given to the gRPC server: measured, with requests read and replies written our way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from sidecar.core.audit import Audit
from sidecar.rpc import large
from sidecar.rpc.calls import guarded
from sidecar.rpc.measuring import UNARY, Requests
from sidecar.runtime import memory
from statesidecar.v1 import state_service_pb2

if TYPE_CHECKING:
    from sidecar.rpc.gate import Gate

_STATE = state_service_pb2.DESCRIPTOR.services_by_name["StateService"].full_name
_OURS = state_service_pb2.DESCRIPTOR.package


class GenericHandlers:
    """A server that takes our handlers the generic way, with requests that can't be parsed told as such.

    The generated code registers every method, too; grpcio's aio server then waits on a task a method at each request,
    which was measured to cost 17 µs of 460 with our 26 methods (grpcio 1.85). Where callers are told apart, there is a gate,
    and the server has no other handler.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        giving_back: memory.GivingBack,
        requests: Requests,
        *,
        gate: Gate | None = None,
        audit: Audit | None = None,
    ) -> None:
        """`audit` None: no call is told."""
        self._server = server
        self._requests = requests
        self._moved = giving_back.moved
        self._gate = gate
        self._audit = audit
        self.carried: dict[str, UNARY] = {}
        """The behaviours of the StateService's unary RPCs by name, as they are served: what calls of a stream are given to."""
        if gate is not None:
            server.add_generic_rpc_handlers((gate,))

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Nothing: the same handlers come by name."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Serve a service's methods."""
        served = {name: self._wrapped(service, name, one) for name, one in handlers.items()}
        if self._gate is None:
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, served),))
        else:
            self._gate.add(service, served, partial(self._requests.unary, service) if _is_ours(service) else None)

    def _wrapped(self, service: str, name: str, handler: Any) -> Any:
        if _is_ours(service):
            handler = self._served(name if service == _STATE else "", handler)
        if self._gate is not None:
            handler = self._gate.guarded(f"{service}/{name}", handler)
        elif self._audit is not None:
            handler = self._audited(f"{service}/{name}", handler)
        if _is_ours(service):
            handler = self._measured(service, name, handler)
        if service == _STATE and handler.unary_unary is not None:
            self.carried[name] = handler.unary_unary
        return handler

    def _audited(self, name: str, handler: Any) -> Any:
        from sidecar.rpc.access.methods import METHODS  # noqa: PLC0415  # a daemon without an audit log does without
        from sidecar.rpc.auditing import with_audit  # noqa: PLC0415

        assert self._audit is not None
        return with_audit(handler, METHODS[name].audited, name, self._audit)

    def _measured(self, service: str, name: str, handler: Any) -> Any:
        if handler.unary_unary is not None:
            return handler._replace(unary_unary=self._requests.unary(service, name, handler.unary_unary))
        form = "stream_stream" if handler.request_streaming else "unary_stream"
        return handler._replace(**{form: self._requests.streaming(name, getattr(handler, form))})

    def _served(self, name: str, handler: Any) -> Any:
        """A method, named if it is of the StateService, whose large values are spared the copies."""
        parse = guarded(large.PARSERS.get(name, handler.request_deserializer))
        if name not in large.METHODS:
            return handler._replace(request_deserializer=parse)
        write, moved = large.SERIALIZERS.get(name, handler.response_serializer), self._moved

        def parsed(raw: bytes) -> Any:
            moved(len(raw))
            return parse(raw)

        def written(response: Any) -> bytes:
            raw: bytes = write(response)
            moved(len(raw))
            return raw

        return handler._replace(request_deserializer=parsed, response_serializer=written)


def _is_ours(service: str) -> bool:
    """Whether it is of our protos: of gRPC's own services, nothing is measured, and what they read is theirs."""
    return service.startswith(f"{_OURS}.")
