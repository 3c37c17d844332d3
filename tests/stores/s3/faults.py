"""An HTTP proxy before a real server that goes wrong on purpose: it refuses, loses answers, sends twice, cuts bodies.

    with FaultProxy(server.endpoint_url) as proxy:
        proxy.add("PUT", loses_reply)
        proxy.add("GET", answers(503, "SlowDown"), times=2)

It forwards a request as it is, its Host included, so that signatures stay valid.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

HOLD_S_MAX = 20.0
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer. With a `length_bytes` above the body's, the connection is cut when the body is sent."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length_bytes: int | None = None


Deliver = Callable[[], Reply]
"""Sends the request to the server, each time it is called."""
Fault = Callable[[Deliver], Reply | None]
"""What becomes of a request; None: its connection is cut without an answer."""


def answers(status: int, code: str = "", *, headers: Mapping[str, str] | None = None, body: str = "") -> Fault:
    """An answer of our own; the server hears nothing."""
    text = body or (f"<Error><Code>{code}</Code><Message>told to</Message></Error>" if code else "")
    return lambda _: Reply(status=status, headers=headers or {}, body=text.encode())


def cuts(_: Deliver) -> Reply | None:
    """The connection ends before the server hears of the request."""
    return None


def loses_reply(deliver: Deliver) -> Reply | None:
    """The server does it, and nobody is told."""
    deliver()
    return None


def repeats(deliver: Deliver) -> Reply | None:
    """As proxies do after a lost connection: the request goes twice, and the second answer comes back."""
    deliver()
    return deliver()


def answers_late(status: int, code: str = "") -> Fault:
    """The server does it, and the answer is an error of somebody on the way."""

    def fault(deliver: Deliver) -> Reply | None:
        deliver()
        return answers(status, code)(deliver)

    return fault


def truncates(keep_bytes: int) -> Fault:
    """The connection ends within the body."""

    def fault(deliver: Deliver) -> Reply | None:
        reply = deliver()
        return replace(reply, body=reply.body[:keep_bytes], length_bytes=len(reply.body))

    return fault


def changes(change: Callable[[bytes], bytes]) -> Fault:
    """Another body, which is told as whole."""

    def fault(deliver: Deliver) -> Reply | None:
        reply = deliver()
        return replace(reply, body=change(reply.body))

    return fault


def holds(until: threading.Event) -> Fault:
    """The request waits on its way."""

    def fault(deliver: Deliver) -> Reply | None:
        until.wait(HOLD_S_MAX)
        return deliver()

    return fault


def meets(others: threading.Barrier) -> Fault:
    """The request waits until the others are as far."""

    def fault(deliver: Deliver) -> Reply | None:
        others.wait(HOLD_S_MAX)
        return deliver()

    return fault


def tells(when: threading.Event, fault: Fault) -> Fault:
    """As the fault, and whoever waits hears of it."""

    def told(deliver: Deliver) -> Reply | None:
        when.set()
        return fault(deliver)

    return told


class FaultProxy:
    """Listens on a free port of its own, with TLS if it has a context for it."""

    def __init__(self, endpoint_url: str, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        """What came in: method and path."""
        parts = urlsplit(endpoint_url)
        self._to = (parts.hostname or "", parts.port or 80)
        self._faults: list[tuple[str, Fault]] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def endpoint_url(self) -> str:
        """Where clients connect."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def add(self, method: str, fault: Fault, *, times: int = 1) -> None:
        """Have the next requests of this method go wrong, after those that were added before."""
        with self._lock:
            self._faults += [(method, fault)] * times

    @property
    def pending(self) -> int:
        """Faults that have not happened yet."""
        return len(self._faults)

    def fault_of(self, method: str) -> Fault:
        """The next fault of a method, used up; none is to deliver."""
        with self._lock:
            for at, (wanted, fault) in enumerate(self._faults):
                if wanted == method:
                    del self._faults[at]
                    return fault
        return lambda deliver: deliver()

    def deliver(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Forward to the server."""
        connection = HTTPConnection(*self._to, timeout=HOLD_S_MAX)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            given = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
            return Reply(status=answer.status, headers=given, body=answer.read())
        finally:
            connection.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.cut()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy
        self._connections: set[socket.socket] = set()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request_thread(request, client_address)
        self._connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what this is for."""

    def cut(self) -> None:
        """End all connections."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy = self.server.proxy
        proxy.requests.append(f"{self.command} {self.path}")
        fault = proxy.fault_of(self.command)
        reply = fault(lambda: proxy.deliver(self.command, self.path, dict(self.headers.items()), body))
        if reply is None:
            self.close_connection = True
        else:
            self._reply(reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815  # as the library calls them

    def _reply(self, reply: Reply) -> None:
        length = len(reply.body) if reply.length_bytes is None else reply.length_bytes
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD" and reply.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = self.close_connection or length > len(reply.body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""
