"""Probes and metrics over HTTP, answered by threads of their own: they answer also when the event loop is busy.

Everything is bounded: threads, a connection's whole time, a request's size (by the standard library), one request a connection.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from sidecar.runtime.locks import StartError
from sidecar.runtime.parsing import parse_tcp_address

Probe = Callable[[], tuple[bool, str]]
"""Whether all is well, and the detail as JSON text: the response's body."""

THREADS_MAX = 16
CONNECTION_S = 5.0
_JSON = "application/json"
_POLL_S = 0.1
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

_log = logging.getLogger(__name__)


class ProbeServer:
    """Serves `/healthz`, `/readyz` (200 or 503, with their detail) and `/metrics`.

    `metrics` answers a content type and a body for the types that are accepted. The callables are called in the server's threads, up to 16 at a time: they must be thread-safe and must not wait for
    the event loop. One that raises is told as 500 and logged.
    """

    def __init__(
        self,
        address: str,
        *,
        healthz: Probe,
        readyz: Probe,
        metrics: Callable[[str], tuple[str, bytes]],
        connection_s: float = CONNECTION_S,
    ) -> None:
        self._address = address
        self._routes: dict[str, _Route] = {
            "/healthz": lambda _: _probed(healthz),
            "/readyz": lambda _: _probed(readyz),
            "/metrics": lambda accept: (HTTPStatus.OK, *metrics(accept)),
        }
        self._connection_s = connection_s
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port listened on, also when the address asked for any; only while started."""
        assert self._server is not None, "not started"
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Binds, then answers in a daemon thread. StartError when the address can't be had."""
        assert self._server is None, "started already"
        host, port = parse_tcp_address(self._address)
        try:
            self._server = _Server(host, port, self._routes, self._connection_s)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            raise StartError(
                f"cannot listen on http://{self._address}: {error.strerror}: set http_listen to another address, or to nothing",
                exit_code=os.EX_TEMPFAIL if in_use else os.EX_CANTCREAT,
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="probes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops answering and frees the port, within about 0.1 s; without effect when not started."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None


_Answer = tuple[HTTPStatus, str, bytes]
_Route = Callable[[str], _Answer]
"""From what the caller accepts, by its header."""


def _probed(probe: Probe) -> _Answer:
    good, detail = probe()
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, _JSON, detail.encode() + b"\n"


def _json(status: HTTPStatus, body: dict[str, Any]) -> _Answer:
    return status, _JSON, json.dumps(body).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 4 * THREADS_MAX

    def __init__(self, host: str, port: int, routes: dict[str, _Route], connection_s: float) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.routes = routes
        self._connection_s = connection_s
        self._deadlines: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler)

    @override
    def server_bind(self) -> None:
        # Not HTTPServer's: that one asks the name service for our own name, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "", int(self.server_address[1])

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            admitted = len(self._deadlines) < THREADS_MAX
            if admitted:
                self._deadlines[request] = time.monotonic() + self._connection_s
        if admitted:
            super().process_request(request, client_address)
        else:
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(_BUSY)
            self.shutdown_request(request)

    @override
    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    @override
    def service_actions(self) -> None:
        """At each poll: ends the connections whose time is up, also those that trickle byte by byte."""
        now = time.monotonic()
        with self._lock:
            overdue = [connection for connection, deadline in self._deadlines.items() if deadline <= now]
        for connection in overdue:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        # Called in the except clause of a connection's thread: a peer that went away, mostly.
        _log.debug("probe connection failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "state-sidecar"
    sys_version = ""
    timeout = CONNECTION_S

    def do_GET(self) -> None:
        route = self.server.routes.get(self.path.partition("?")[0])
        if route is None:
            known = sorted(self.server.routes)
            self._reply(_json(HTTPStatus.NOT_FOUND, {"status": "not found", "detail": f"known are {', '.join(known)}"}))
            return
        try:
            answer = route(self.headers.get("Accept", ""))
        except Exception:  # noqa: BLE001  # whatever it is: answered as ours, and logged
            _log.exception("probe failed", extra={"path": self.path})
            answer = _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"status": "error", "detail": "see the daemon's log"})
        self._reply(answer)

    do_HEAD = do_GET  # noqa: N815  # the base class's naming

    @override
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code = HTTPStatus.METHOD_NOT_ALLOWED
        status = HTTPStatus(code)
        self.close_connection = True
        self._reply(_json(status, {"status": status.phrase.lower(), "detail": "GET and HEAD are answered here"}))

    def _reply(self, answer: _Answer) -> None:
        status, content_type, body = answer
        self.send_response(status)
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)
