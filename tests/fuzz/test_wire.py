"""A daemon under malformed HTTP/2 and gRPC: it goes on answering, in bounded memory, and logs no error of its own."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from statesidecar.v1 import state_service_pb2 as pb
from tests.fuzz import http2
from tests.fuzz.wire import Wire
from tests.support.process import Caller, daemon_process

pytestmark = pytest.mark.timeout(120)

SECONDS = 8


def test_hostile_bytes(tmp_path: Path) -> None:
    with daemon_process(tmp_path) as daemon:
        wire = Wire(daemon, seed=20261123)
        wire.run(SECONDS)
        assert wire.connections > 100, wire.line
        assert daemon.terminate() == 0


def test_a_path_that_is_no_text(tmp_path: Path) -> None:
    """Releases of gRPC from 1.84 on end their server on one: none that do may be installed."""
    with daemon_process(tmp_path) as daemon, Caller(daemon.target) as caller:
        host, _, port = daemon.target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            fields = http2.request(b"/statesidecar.v1.StateService/\xff")
            connection.sendall(
                http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b"") + http2.headers(1, fields, end=True)
            )
            connection.settimeout(1)
            with suppress(OSError):
                connection.recv(65536)
        assert not caller.state.Get(pb.GetRequest(namespace="session", key="k"), timeout=10).HasField("entry")
