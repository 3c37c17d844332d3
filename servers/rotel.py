"""Rotel, an OpenTelemetry collector in Rust, from its wheel: takes OTLP over gRPC, and passes it on the same way.

Its program is linked with Python's library, which `servers.debian` unpacks where the system has none.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from servers import debian
from servers.base import HOST, Server, binary

READY_TIMEOUT_S = 2.0


class Rotel(Server):
    """A collector on loopback that exports to `target`, the URL of another. Unlike others, it is ready when it listens."""

    name = "rotel"
    ports_count = 2

    def __init__(self, target: str) -> None:
        super().__init__()
        self._target = target

    @property
    def endpoint(self) -> str:
        """Where traces and metrics go to."""
        return f"http://{HOST}:{self.port}"

    def command(self) -> Sequence[str | Path]:
        """Batches of a tenth of a second."""
        return (
            *(_program(), "start", "--log-file", self.directory / "rotel.log"),
            *("--otlp-grpc-endpoint", f"{HOST}:{self.ports[0]}", "--otlp-http-endpoint", f"{HOST}:{self.ports[1]}"),
            *("--exporter", "otlp", "--otlp-exporter-endpoint", self._target, "--otlp-exporter-protocol", "grpc"),
            *("--batch-timeout", "100ms"),
        )

    def environ(self) -> Mapping[str, str]:
        """Where its library is."""
        return debian.environ()

    def ready(self) -> None:
        """It takes a connection. What it passes on is seen at the other end only."""
        with socket.create_connection((HOST, self.port), READY_TIMEOUT_S):
            pass


def _program() -> Path:
    spec = find_spec("rotel")
    wheel = None if spec is None or spec.origin is None else Path(spec.origin).with_name("rotel-agent")
    return binary("rotel-agent", wheel=wheel, variable="STATE_SIDECAR_ROTEL")
