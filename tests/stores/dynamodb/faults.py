"""An HTTP proxy before the emulator that goes wrong on purpose, by the operation of DynamoDB that is asked for.

with FaultProxy(server.endpoint_url) as proxy:
    proxy.add("TransactWriteItems", loses_reply)
    proxy.add("GetItem", answers("ThrottlingException"), times=2)
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

HOLD_S_MAX = 20.0

Reply = tuple[int, bytes]
Deliver = Callable[[], Reply]
"""Sends the request to the server, each time it is called."""
Fault = Callable[[Deliver], Reply | None]
"""What becomes of a request; None: its connection is cut without an answer."""


def answers(code: str, status: int = 400, message: str = "told to", **more: Any) -> Fault:
    """An error of our own; the server hears nothing."""
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message, **more}
    return lambda _: (status, json.dumps(body).encode())


def fails_late(code: str, status: int = 500) -> Fault:
    """The server does it, and the answer is an error."""

    def fault(deliver: Deliver) -> Reply | None:
        deliver()
        return answers(code, status)(deliver)

    return fault


def cuts(_: Deliver) -> Reply | None:
    """The connection ends before the server hears of the request."""
    return None


def loses_reply(deliver: Deliver) -> Reply | None:
    """The server does it, and nobody is told."""
    deliver()
    return None


def waits(arrived: threading.Event, until: threading.Event) -> Fault:
    """The request is held on its way; `arrived` tells that it is."""

    def fault(deliver: Deliver) -> Reply | None:
        arrived.set()
        until.wait(HOLD_S_MAX)
        return deliver()

    return fault


def arrives_late(until: threading.Event, done: threading.Event) -> Fault:
    """The connection is cut, and yet the request goes on to the server, only later."""

    def fault(deliver: Deliver) -> Reply | None:
        def go_on() -> None:
            until.wait(HOLD_S_MAX)
            deliver()
            done.set()

        threading.Thread(target=go_on, daemon=True).start()
        return None

    return fault


def races(deliver: Deliver) -> Reply | None:
    """The connection is cut, and the request goes on to the server at the same time."""
    threading.Thread(target=deliver, daemon=True).start()
    return None


class FaultProxy:
    """Listens on a free port of its own."""

    def __init__(self, endpoint_url: str) -> None:
        self.operations: list[str] = []
        """What came in."""
        parts = urlsplit(endpoint_url)
        self.chance: Callable[[str], Fault | None] = lambda _: None
        """What becomes of requests of an operation that nothing was added for."""
        self._to = (parts.hostname or "", parts.port or 80)
        self._faults: list[tuple[str, Fault]] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def endpoint_url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def pending(self) -> int:
        """Faults that have not happened yet."""
        return len(self._faults)

    def add(self, operation: str, *faults: Fault, times: int = 1) -> None:
        """Have the next requests of an operation go wrong, after those that were added before."""
        with self._lock:
            self._faults += [(operation, fault) for fault in faults] * times

    def clear(self) -> None:
        """Nothing goes wrong any more, and nothing was asked."""
        with self._lock:
            self._faults.clear()
        self.operations.clear()

    def fault_of(self, operation: str) -> Fault:
        """The next fault of an operation, used up; none is to deliver."""
        with self._lock:
            self.operations.append(operation)
            for at, (wanted, fault) in enumerate(self._faults):
                if wanted == operation:
                    del self._faults[at]
                    return fault
            chosen = self.chance(operation)
        return chosen or (lambda deliver: deliver())

    def deliver(self, headers: dict[str, str], body: bytes) -> Reply:
        """Forward to the server."""
        connection = HTTPConnection(*self._to, timeout=HOLD_S_MAX)
        try:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
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
    request_queue_size = 64

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

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        proxy = self.server.proxy
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        reply = proxy.fault_of(operation)(lambda: proxy.deliver(headers, body))
        if reply is None:
            self.close_connection = True
            return
        status, answer = reply
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Quiet."""
