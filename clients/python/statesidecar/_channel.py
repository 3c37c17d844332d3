"""How both clients reach the daemon."""

from __future__ import annotations

import os
from typing import Any, Final

import grpc

from statesidecar import _forking
from statesidecar._credentials import Credentials, Stamp
from statesidecar.errors import StateSidecarError
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceStub
from statesidecar.v1.outbox_service_pb2_grpc import OutboxServiceStub
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub

DEFAULT_TARGET: Final = "127.0.0.1:7420"
TARGET_VARIABLE: Final = "STATE_SIDECAR_TARGET"
_MESSAGE_BYTES_MAX: Final = 65 * 1024 * 1024
"""A value of 64 MiB, and what travels with it."""
OPTIONS: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.enable_retries", 0),  # One layer retries, and it is _retry.py
    ("grpc.enable_http_proxy", 0),  # The peer is in the same pod, whatever the environment says about proxies
    ("grpc.use_local_subchannel_pool", 1),  # A client's connection is its own, and gone when it is closed
    # A daemon that restarts is back within a second; the library's own minimum is to wait for one, then ever longer.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def resolve_target(target: str | None) -> str:
    """What was given, else the environment's, else the daemon's default."""
    return target or os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET


class Connection:
    """A channel with what the clients need to know to distrust it.

    A connection may stay up and bring nothing any more. The kernel notices late or never, so who waited in vain makes a new
    one, unless others have been answered over this one meanwhile: then the daemon was slow, and the connection is not to
    blame. The old one is closed when its last call has ended.
    """

    def __init__(self, channel: Any, credentials: Credentials, stamp: Stamp = ()) -> None:
        self.channel = channel
        state, outbox, admin = StateServiceStub(channel), OutboxServiceStub(channel), AdminServiceStub(channel)
        #: Every RPC by name.
        self.rpcs: dict[str, Any] = {**vars(state), **vars(outbox), **vars(admin)}
        if (token := credentials.token) is not None:
            self.rpcs = {name: token.carried_by(rpc) for name, rpc in self.rpcs.items()}
        self._tls = credentials.tls
        self._stamp = stamp
        self.answers = 0
        self.in_flight = 0
        #: The stream for new calls, of `_stream_async` or `_stream_sync`; and all that have not ended.
        self.stream: Any = None
        self.streams: set[Any] = set()
        #: Whether the daemon has Connect, as far as is known.
        self.connects = True

    @property
    def outdated(self) -> bool:
        """Whether the next connection had other TLS files: those of this one may no longer be good for a handshake."""
        return self._tls is not None and (now := self._tls.stamp()) != self._stamp and now != ()

    def ended(self, stream: Any) -> None:
        """A stream of this connection is gone."""
        self.streams.discard(stream)
        if self.stream is stream:
            self.stream = None
        if stream.refused:
            self.connects = False

    def forget(self) -> None:
        """Closed: let go of what keeps the channel, whose socket would else wait for the garbage collector."""
        self.rpcs = {}
        self.stream = None
        self.channel = None
        _forking.closed(self)

    def failed(self, error: StateSidecarError, answers_before: int) -> bool:
        """Notes how a call ended that began after `answers_before` answers; whether the connection is to be given up."""
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED and not error.reason:
            return self.answers == answers_before
        self.answers += 1
        return False


def let_go(call: Any) -> None:
    """Parts with a call of grpc.aio that is of no more use.

    It is told that it has ended by a callback that it keeps, and that keeps it: since grpcio 1.83 each call is such a ring,
    and a closed channel's socket stays open until the garbage collector has found the last.
    """
    vars(call).clear()


def connect(library: Any, target: str, credentials: Credentials) -> Connection:
    """A connection of `library`: grpc or grpc.aio. Raises InvalidRequest where TLS's files can't be used, or after a fork (CLIENT_FORKED)."""
    _forking.check()
    connection = _connection(library, target, credentials)
    _forking.opened(connection, asyncio=library is not grpc)
    return connection


def _connection(library: Any, target: str, credentials: Credentials) -> Connection:
    if (tls := credentials.tls) is None:
        return Connection(library.insecure_channel(target, options=OPTIONS), credentials)
    stamp = tls.stamp()
    named = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return Connection(library.secure_channel(target, tls.read(), options=[*OPTIONS, *named]), credentials, stamp)
