"""`python -m servers.debian`: unpacks the servers that have no wheel from Debian's packages, without root.

They land in `.servers/debian`. On a system that is not Debian's, install memcached, redis-server, pgbouncer, prometheus and
the library of Python 3.11 yourself.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from ctypes.util import find_library
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".servers" / "debian"
PACKAGES = (
    "memcached",
    "libevent-2.1-7",
    "redis-server",
    "redis-tools",
    "libjemalloc2",
    "liblua5.1-0",
    "lua-bitop",
    "lua-cjson",
    "liblzf1",
    "libhiredis0.14",
    "pgbouncer",
    "libc-ares2",
    "prometheus",  # with promtool: of Go, so it needs no libraries; those of its web pages are left out
    "libpython3.11",  # for the collector in the wheel `rotel`
)
PROGRAMS = ("memcached", "redis-server", "pgbouncer", "prometheus", "promtool")
LIBRARIES = ("python3.11",)


@cache
def program(name: str) -> Path | None:
    """The unpacked program."""
    for folder in ("bin", "sbin"):
        path = HOME / "usr" / folder / name
        if path.exists():
            return path
    return None


def environ() -> dict[str, str]:
    """Where the unpacked programs find their libraries."""
    libraries = _libraries()
    return {"LD_LIBRARY_PATH": str(libraries)} if libraries.exists() else {}


def main() -> int:
    """Fetch what is missing."""
    if all(program(name) or shutil.which(name) for name in PROGRAMS) and all(map(_has_library, LIBRARIES)):
        return 0
    with tempfile.TemporaryDirectory(prefix="debian-") as folder:
        directory = Path(folder)
        try:
            _download(directory)
            HOME.mkdir(parents=True, exist_ok=True)
            for package in sorted(directory.glob("*.deb")):
                subprocess.run(["dpkg-deb", "-x", package, HOME], check=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            output = getattr(exc, "stderr", None) or exc
            print(f"{', '.join((*PROGRAMS, *LIBRARIES))} could not be fetched: {output}", file=sys.stderr)
            return 1
    return 0


def _has_library(name: str) -> bool:
    return any(_libraries().glob(f"lib{name}.so.*")) or find_library(name) is not None


def _libraries() -> Path:
    return HOME / "usr" / "lib" / f"{platform.machine()}-linux-gnu"


def _download(directory: Path) -> None:
    try:
        _apt(["download", *PACKAGES], directory)
    except subprocess.CalledProcessError:
        # No package lists, or old ones: our own, where no root is needed.
        state, cache_ = directory / "state", directory / "cache"
        for made in (state / "lists" / "partial", cache_ / "archives" / "partial"):
            made.mkdir(parents=True)
        options = [
            "-o",
            f"Dir::State={state}",
            "-o",
            "Dir::State::status=/var/lib/dpkg/status",
            "-o",
            f"Dir::Cache={cache_}",
        ]
        _apt([*options, "update"], directory)
        _apt([*options, "download", *PACKAGES], directory)


def _apt(arguments: Sequence[str], directory: Path) -> None:
    subprocess.run(["apt-get", "-q", *arguments], cwd=directory, check=True, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
