from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from sidecar.runtime.http import THREADS_MAX, ProbeServer
from sidecar.runtime.locks import StartError


class Daemon:
    """What the probes ask."""

    def __init__(self) -> None:
        self.ready: Callable[[], tuple[bool, str]] = lambda: (True, '{"mode": "NORMAL"}')

    def readyz(self) -> tuple[bool, str]:
        return self.ready()

    def server(self, address: str = "127.0.0.1:0", connection_s: float = 5.0) -> ProbeServer:
        return ProbeServer(
            address,
            healthz=lambda: (True, "{}"),
            readyz=self.readyz,
            metrics=lambda accept: ("text/plain; version=0.0.4; charset=utf-8", f"x_total 1\n{accept}".encode()),
            connection_s=connection_s,
        )


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def server(daemon: Daemon) -> Iterator[ProbeServer]:
    server = daemon.server()
    server.start()
    yield server
    server.stop()


def ask(server: ProbeServer, path: str, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def connected(server: ProbeServer, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    client.sendall(sent)
    return client


def read_all(client: socket.socket) -> bytes:
    content = b""
    while part := client.recv(65536):
        content += part
    return content


def test_a_probe_answers_with_its_detail(server: ProbeServer, daemon: Daemon) -> None:
    response, body = ask(server, "/healthz")
    assert (response.status, json.loads(body)) == (200, {})
    assert response.headers["Content-Type"] == "application/json"

    daemon.ready = lambda: (False, '{"draining": true}')

    response, body = ask(server, "/readyz?verbose")
    assert (response.status, json.loads(body)) == (503, {"draining": True})


def test_metrics_are_in_the_prometheus_text_format(server: ProbeServer) -> None:
    response, body = ask(server, "/metrics")

    assert (response.status, body) == (200, b"x_total 1\n")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_head_has_the_headers_and_no_body(server: ProbeServer) -> None:
    with connected(server, b"HEAD /metrics HTTP/1.0\r\n\r\n") as client:
        headers, _, body = read_all(client).partition(b"\r\n\r\n")

    assert headers.startswith(b"HTTP/1.0 200 ")
    assert b"\r\nContent-Length: 10\r\n" in headers
    assert body == b""


def test_another_path_is_not_found_and_another_method_not_allowed(server: ProbeServer) -> None:
    response, body = ask(server, "/")
    assert (response.status, json.loads(body)["detail"]) == (404, "known are /healthz, /metrics, /readyz")

    for method in ("POST", "DELETE", "BREW"):
        response, body = ask(server, "/healthz", method)
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
        assert json.loads(body)["status"] == "method not allowed"


def test_a_probe_that_raises_is_an_error_and_the_next_one_is_answered(
    server: ProbeServer, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> tuple[bool, str]:
        raise RuntimeError("secret detail")

    daemon.ready = broken

    response, body = ask(server, "/readyz")

    assert (response.status, b"secret" in body) == (500, False)
    assert "secret detail" in caplog.text
    assert ask(server, "/healthz")[0].status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 70_000,
        b"GET / HTTP/1.0\r\n" + b"a: b\r\n" * 200,
    ],
)
def test_what_is_no_request_is_refused_and_harms_nothing(server: ProbeServer, sent: bytes) -> None:
    with connected(server, sent) as client:
        client.shutdown(socket.SHUT_WR)
        try:
            answer = read_all(client)
        except ConnectionResetError:
            answer = b""

    assert b"200" not in answer.partition(b"\r\n")[0]
    assert ask(server, "/healthz")[0].status == 200


def test_threads_are_bounded_and_free_again(server: ProbeServer, daemon: Daemon) -> None:
    entered, leave = threading.Semaphore(0), threading.Event()

    def waiting() -> tuple[bool, str]:
        entered.release()
        assert leave.wait(30)
        return True, '"waited"'

    daemon.ready = waiting
    clients = [connected(server, b"GET /readyz HTTP/1.0\r\n\r\n") for _ in range(THREADS_MAX)]
    for _ in clients:
        assert entered.acquire(timeout=30)

    with connected(server) as refused:
        assert read_all(refused).startswith(b"HTTP/1.0 503 ")

    leave.set()
    for client in clients:
        with client:
            assert b"waited" in read_all(client)
    assert ask(server, "/healthz")[0].status == 200


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost"])
def test_a_connection_that_says_too_little_is_ended(daemon: Daemon, sent: bytes) -> None:
    server = daemon.server(connection_s=0.05)
    server.start()
    try:
        with connected(server, sent) as client:
            assert b"200" not in read_all(client)
    finally:
        server.stop()


def test_a_connection_is_ended_however_often_it_sends_a_byte(daemon: Daemon) -> None:
    server = daemon.server(connection_s=0.3)
    server.start()
    try:
        with connected(server, b"GET /healthz HTTP/1.1\r\n") as client:
            client.settimeout(0.05)
            with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012  # until it is ended
                for _ in range(400):
                    client.sendall(b"a")
                    try:
                        if not client.recv(1):
                            client.sendall(b"a")
                    except TimeoutError:
                        continue
    finally:
        server.stop()


def test_the_port_is_free_after_stop_and_taken_before(server: ProbeServer, daemon: Daemon) -> None:
    second = daemon.server(f"127.0.0.1:{server.port}")
    with pytest.raises(StartError, match="Address already in use: set http_listen") as refused:
        second.start()
    assert refused.value.exit_code == 75

    server.stop()
    server.stop()

    second.start()
    assert ask(second, "/healthz")[0].status == 200
    second.stop()


def test_an_address_of_no_interface_is_a_typed_error(daemon: Daemon) -> None:
    with pytest.raises(StartError, match="Cannot assign requested address") as refused:
        daemon.server("192.0.2.1:0").start()

    assert refused.value.exit_code == 73


def test_starting_asks_no_name_service(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr(socket, "getfqdn", fail)
    server = daemon.server()

    server.start()
    server.stop()


def test_metrics_are_in_the_form_that_the_caller_accepts(server: ProbeServer) -> None:
    with connected(server, b"GET /metrics HTTP/1.0\r\nAccept: application/openmetrics-text\r\n\r\n") as client:
        _, _, body = read_all(client).partition(b"\r\n\r\n")

    assert body == b"x_total 1\napplication/openmetrics-text"
