"""What the dialogues run on: one daemon on embedded tiers, or three that share Redis, PostgreSQL and S3."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.dialogues.sidecar_process import SidecarProcess
from servers.base import Server

DAEMONS = 3


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where workers dial, and what can be killed: a name, and a function that kills and starts again."""

    targets: list[str]
    victims: list[tuple[str, Callable[[], None]]]


@contextmanager
def embedded(directory: Path) -> Iterator[Deployment]:
    """One daemon, its tiers in memory and files."""
    with SidecarProcess(directory) as sidecar:
        yield Deployment([sidecar.target], [("daemon", sidecar.kill_and_restart)])


@contextmanager
def on_servers(directory: Path) -> Iterator[Deployment]:
    """Three daemons, and the three servers that they share; all of it dies now and again."""
    from servers.postgres import Postgres  # noqa: PLC0415  # only who asks for servers needs their programs
    from servers.redis import Valkey  # noqa: PLC0415
    from servers.seaweedfs import Seaweedfs  # noqa: PLC0415

    # Any pair is good enough for the server; the daemons find it where AWS's tools would.
    os.environ.update({"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo"})
    with ExitStack() as stack:
        hot, warm, cold = Valkey(), Postgres(fsync=True), Seaweedfs()
        for server in (hot, warm, cold):
            stack.enter_context(server)
        tiers = {
            "tiers.hot": hot.url,
            "tiers.warm": warm.url(),
            "tiers.cold": f"s3://dialogues/cold?endpoint_url={cold.endpoint_url}&region=us-east-1&create=true&path_style=true",
        }
        sidecars = []
        for number in range(DAEMONS):
            place = directory / f"daemon-{number}"
            place.mkdir()
            sidecars.append(stack.enter_context(SidecarProcess(place, **tiers)))
        victims = [("daemon", sidecar.kill_and_restart) for sidecar in sidecars]
        victims += [(hot.name, _killer(hot)), (warm.name, _killer(warm)), (cold.name, _killer(cold))]
        yield Deployment([sidecar.target for sidecar in sidecars], victims)


def _killer(server: Server) -> Callable[[], None]:
    def kill_and_restart() -> None:
        server.kill()
        server.restart()

    return kill_and_restart
