"""A container of a built image, as a pod would run it: its user, no capabilities, and only the data volume to write to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.image.bases import POLICY, buildah, isolated

# What a runtime brings: /proc and a few devices. $1 root, $2 what is mounted at /data, $3 user, $4 group.
_START = """
set -e
root=$1 data=$2 user=$3 group=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
chown "$user:$group" "$data"
mount --bind "$data" "$root/data"
mount --rbind /proc "$root/proc"
for device in null urandom; do mount --bind /dev/$device "$root/dev/$device"; done
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs unshare --root="$root" --wd=/data --setgid="$group" --setuid="$user" "$@"
"""


class Image:
    """An image's files, and what it says of itself."""

    def __init__(self, root: Path, config: dict[str, Any], size_bytes: int) -> None:
        self.root = root
        self.config = config
        self.size_bytes = size_bytes

    @property
    def environ(self) -> dict[str, str]:
        """Its variables."""
        return dict(pair.split("=", 1) for pair in self.config["Env"])

    @contextmanager
    def container(
        self, data: Path, *arguments: str, environ: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """The process of a container with `data` as its volume; `arguments` in the place of its own. Killed with the block."""
        user, group = self.config["User"].split(":")
        command = [*self.config["Entrypoint"], *(arguments or self.config["Cmd"])]
        started = isolated(["sh", "-c", _START, "sh", self.root, data, user, group, *command])
        with subprocess.Popen(
            started, env=self.environ | (environ or {}), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def unpacked(image: str, folder: Path) -> Image:
    """An image of the store, its layers one over the other in `folder`."""
    packed, root = folder / "packed", folder / "root"
    root.mkdir()
    buildah("push", "--quiet", "--disable-compression", "--signature-policy", POLICY, image, f"dir:{packed}")
    manifest = json.loads((packed / "manifest.json").read_text())
    for layer in manifest["layers"]:
        extract = ["tar", "--extract", "--same-owner", "--same-permissions", "--directory", str(root)]
        subprocess.run(isolated([*extract, "--file", packed / _hex(layer)]), check=True)
    assert not list(root.rglob(".wh.*")), "a layer takes away files of another"
    # Where a runtime mounts what it brings.
    for name in ("proc", "dev"):
        (root / name).mkdir(exist_ok=True)
    for name in ("null", "urandom"):
        (root / "dev" / name).touch()
    config: dict[str, Any] = json.loads((packed / _hex(manifest["config"])).read_text())["config"]
    return Image(root, config, sum(layer["size"] for layer in manifest["layers"]))


def _hex(blob: dict[str, str]) -> str:
    return blob["digest"].removeprefix("sha256:")
