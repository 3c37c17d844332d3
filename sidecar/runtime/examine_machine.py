"""What this machine, container and user give a daemon: versions, files, memory, processor, and what its data is kept on."""

from __future__ import annotations

import platform
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from sidecar import __version__
from sidecar.runtime.findings import Finding, note, ok, wrong
from sidecar.runtime.parsing import url_path
from sidecar.runtime.settings import Settings

CGROUPS = Path("/sys/fs/cgroup")
FILES_MIN = 1024
"""Connections of clients, of backends, and files."""
REST_BYTES = 128 << 20
"""What a daemon takes beside its caches, under load."""
FREE_SHARE_MIN = 0.05
FREE_BYTES_MIN = 256 << 20
PYTHON_ENDS = {(3, 11): date(2027, 10, 31), (3, 12): date(2028, 10, 31), (3, 13): date(2029, 10, 31)}
"""When a version gets its last release (https://devguide.python.org/versions/)."""
LIBRARIES = ("psycopg", "hiredis", "botocore", "aiohttp", "nats-py", "confluent-kafka", "opentelemetry-sdk")
"""What adapters and exporters need, each only where it is used."""
_UNLIMITED = 1 << 60
_MIB = 1 << 20


def examine(settings: Settings, *, now: int) -> list[Finding]:
    """What doesn't depend on where data is kept, the versions first."""
    groups = Path("/proc/self/cgroup").read_text() if Path("/proc/self/cgroup").exists() else ""
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    return [
        *_versions(today),
        *_files(),
        *memory(settings, memory_bytes(CGROUPS, groups)),
        *processor(processors(CGROUPS, groups)),
    ]


def _versions(today: date) -> Iterator[Finding]:
    told = f"state-sidecar {__version__}, Python {platform.python_version()}, gRPC {grpc.__version__}"
    libraries = "".join(f", {name} {found}" for name in LIBRARIES if (found := _installed(name)))
    yield ok("versions", platform.platform(terse=True), f"{told}, SQLite {sqlite3.sqlite_version}{libraries}")
    version = (int(platform.python_version_tuple()[0]), int(platform.python_version_tuple()[1]))
    if PYTHON_ENDS.get(version, date.max) < today:
        yield note("versions", "Python", f"Python {version[0]}.{version[1]} gets no more fixes: use a newer image")


def _installed(name: str) -> str:
    """A library's version; empty: it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _files() -> Iterator[Finding]:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limit < FILES_MIN:
        yield note(
            "machine", "open files", f"{limit} at most, each connection is one: set ulimit -n to {FILES_MIN} or more"
        )


def memory(settings: Settings, limit: int | None) -> Iterator[Finding]:
    """Whether the caches fit into the container's memory."""
    if limit is None:
        return
    hot = urlsplit(settings.tier_urls().hot).scheme
    caches = (
        {"cache_bytes_max": settings.cache_bytes_max}
        if hot == "memory"
        else {"near_bytes_max": settings.near_bytes_max}
    )
    needed = REST_BYTES + sum(caches.values())
    if limit < needed:
        names = " and ".join(caches)
        told = (
            f"{limit // _MIB} MiB at most, and {names} alone may take {sum(caches.values()) // _MIB}: the kernel will kill "
            f"the daemon; raise the limit to {needed // _MIB} MiB, or lower {names}"
        )
        yield wrong("machine", "memory", told)


def processor(count: float | None) -> Iterator[Finding]:
    """Whether the container's share makes requests wait."""
    if count is not None and count < 1:
        told = f"{count:g} processors at most: requests stand still for parts of each 100 ms; set a limit of 1, or none"
        yield note("machine", "processor", told)


def memory_bytes(root: Path, groups: str) -> int | None:
    """The bound of our control group or of one above it; None: there is none."""
    found = [*_limits(root, groups, "", "memory.max"), *_limits(root, groups, "memory", "memory.limit_in_bytes")]
    numbers = [int(text) for text in found if text.isdecimal()]
    return min((number for number in numbers if number < _UNLIMITED), default=None)


def processors(root: Path, groups: str) -> float | None:
    """How many processors' time our control group may use; None: all."""
    shares = [text.split() for text in _limits(root, groups, "", "cpu.max")]
    quotas = _limits(root, groups, "cpu", "cpu.cfs_quota_us")
    shares += [list(pair) for pair in zip(quotas, _limits(root, groups, "cpu", "cpu.cfs_period_us"), strict=False)]
    return min((int(quota) / int(period) for quota, period in shares if quota.isdecimal()), default=None)


def _limits(root: Path, groups: str, controller: str, name: str) -> list[str]:
    """A file's content in our group and in those above; `controller` empty: of version 2."""
    lines = [line.split(":", 2) for line in groups.splitlines()]
    paths = [path for _, controllers, path in lines if controller in controllers.split(",")]
    top = root / controller
    groups_of_us = [Path(f"{top}{path}") for path in paths]
    # Seen from inside of a container, groups may begin at its own.
    files = [place / name for group in groups_of_us for place in (group, *group.parents) if place.is_relative_to(top)]
    return [file.read_text().strip() for file in files if file.is_file()]


# ---- what data is kept on


def kept(settings: Settings) -> list[Finding]:
    """Of the data directory, and of databases and blobs beside it."""
    urls = settings.tier_urls()
    places = {"data_dir": settings.data_dir}
    for name, url in (("tiers.warm", urls.warm), ("tiers.cold", urls.cold)):
        if urlsplit(url).scheme in {"sqlite", "file"}:
            places[name] = url_path(url)
    seen: set[Path] = set()
    found: list[Finding] = []
    for setting, path in places.items():
        there = path.absolute()
        while not there.is_dir():
            there = there.parent
        if there not in seen:
            seen.add(there)
            usage = shutil.disk_usage(there)
            found += [*disk(setting, str(path), usage.total, usage.free)]
            found += [*medium(setting, str(path), _filesystem(there))]
    return found


def disk(setting: str, shown: str, total: int, free: int) -> Iterator[Finding]:
    """Whether there is room for more."""
    if free < FREE_BYTES_MIN or free < FREE_SHARE_MIN * total:
        yield note(
            setting, shown, f"the disk is nearly full, {free // _MIB} MiB are free: make room, or it refuses writes"
        )


def medium(setting: str, shown: str, filesystem: str) -> Iterator[Finding]:
    """Whether it outlives the container."""
    if filesystem in {"tmpfs", "ramfs"}:
        yield note(setting, shown, f"it is in memory ({filesystem}): a restart loses it; mount a volume there")
    elif filesystem == "overlay":
        yield note(
            setting, shown, "it is in the container's own layer, and goes with the container: mount a volume there"
        )


def _filesystem(path: Path) -> str:
    """Its type; empty: nobody says."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return ""
    found, longest = "", -1
    for line in mounts.read_text(errors="replace").splitlines():
        _, at, kind, *_ = line.split(" ")
        where = at.encode().decode("unicode_escape")
        if len(where) >= longest and path.is_relative_to(where):
            found, longest = kind, len(where)
    return found
