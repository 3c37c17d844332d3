"""A value of 64 MiB set and got through S3: how long it takes, and how much memory the daemon needs for it."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from servers.base import shared
from servers.ministack import CREDENTIALS
from servers.seaweedfs import BUCKET, Seaweedfs
from sidecar.core.policy import VALUE_BYTES_MAX
from statesidecar import Consistency, StateClient
from tests.support.process import DaemonProcess, unstarted_process

MIB = 1 << 20
TIMEOUT_S = 120.0
GROWTH_MAX = 3.0
"""Of the daemon's resident memory at its peak, in sizes of the value."""
_HELD = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one call took: seconds, and the daemon's memory at its peak above what it held before, in bytes."""

    name: str
    seconds: float
    growth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The calls with values of `size` bytes, and whether each came back as it was set."""

    size: int
    calls: list[Call]
    equal: bool

    @property
    def growth(self) -> float:
        """The largest, in sizes of the value."""
        return max(call.growth for call in self.calls) / self.size

    def __str__(self) -> str:
        told = "; ".join(
            f"{call.name} {call.seconds:.2f} s, +{call.growth / MIB:.0f} MiB ({call.growth / self.size:.2f} x)"
            for call in self.calls
        )
        return f"values of {self.size / MIB:g} MiB: {told}; {'all' if self.equal else 'NOT all'} came back as they were"


def run(*, size: int = 64 * MIB, rounds: int = 3) -> Verdict:
    """Set a value and get it, both ways of reading, a few times: what stays behind would add up."""
    url = f"s3://{BUCKET}/large-{time.time_ns()}?endpoint_url={shared(Seaweedfs).endpoint_url}"
    settings = {
        "tiers__cold": url,
        "namespaces__media__value_bytes_max": str(size),
        "write_timeout_s": f"{TIMEOUT_S:g}",
        "read_timeout_s": f"{TIMEOUT_S:g}",
    }
    with tempfile.TemporaryDirectory() as directory, unstarted_process(Path(directory), **settings) as daemon:
        daemon.launch(CREDENTIALS)
        daemon.wait_serving()
        with StateClient(daemon.target, timeout_s=TIMEOUT_S) as client:
            return _measured(daemon, client, size, rounds)


def _measured(daemon: DaemonProcess, client: StateClient, size: int, rounds: int) -> Verdict:
    for _ in range(3):  # a daemon that has served values as large as they may be by default
        client.set("media", "first", bytes(VALUE_BYTES_MAX))
        client.get("media", "first", consistency=Consistency.STRONG)
    base, calls, equal = _memory(daemon, _HELD), [], True
    for n in range(rounds):
        value = Random(n).randbytes(size)
        got: list[bytes] = []

        def read(consistency: Consistency, got: list[bytes] = got) -> None:
            got.append(client.get("media", "large", consistency=consistency).value or b"")

        calls.append(_called(daemon, base, "set", partial(client.set, "media", "large", value)))
        calls.append(_called(daemon, base, "get", partial(read, Consistency.CACHED)))
        calls.append(_called(daemon, base, "strong get", partial(read, Consistency.STRONG)))
        equal = equal and got == [value, value]
    return Verdict(size=size, calls=calls, equal=equal)


def _called(daemon: DaemonProcess, base: int, name: str, call: Callable[[], object]) -> Call:
    Path(f"/proc/{daemon.pid}/clear_refs").write_text("5")  # the peak begins again at what is held now
    begin = time.monotonic()
    call()
    seconds = time.monotonic() - begin
    return Call(name=name, seconds=seconds, growth=_memory(daemon, _PEAK) - base)


def _memory(daemon: DaemonProcess, figure: re.Pattern[str]) -> int:
    found = figure.search(Path(f"/proc/{daemon.pid}/status").read_text())
    assert found, "the kernel tells it"
    return int(found[1]) * 1024
