"""The daemon as a process of its own, as operators run it: started, killed, asked over its ports."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import grpc
from grpc_health.v1.health_pb2_grpc import HealthStub

from statesidecar.v1.admin_service_pb2_grpc import AdminServiceStub
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub
from tests.support.daemon import CHANNEL_OPTIONS
from tests.support.probes import probe_now

START_S = 30.0
"""A start takes a fraction of a second; this bounds how long a failing test waits."""
_SERVING = re.compile(r"is serving on (.*?)(?:; probes and metrics on http://(\S+))?$")


class Caller:
    """The services of a daemon, blocking, on one channel."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        self.state: Any = StateServiceStub(self.channel)
        self.admin: Any = AdminServiceStub(self.channel)
        self.health: Any = HealthStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


class DaemonProcess:
    """`state-sidecar serve`; what it says is kept in `lines`. `limits` are arguments of tests.support.limited."""

    def __init__(self, data_dir: Path, limits: tuple[str, ...] = (), /, **settings: str) -> None:
        self.data_dir = data_dir
        self.addresses: list[str] = []
        self.http_address = ""
        self.lines: list[str] = []
        defaults = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0", "tiers.cold": "none://"}
        given = defaults | {name.replace("__", "."): value for name, value in settings.items()}
        overrides = [f"--set={name}={value}" for name, value in {"data_dir": str(data_dir), **given}.items()]
        limited = [sys.executable, "-m", "tests.support.limited", *limits, "--"] if limits else []
        self._command = [*limited, sys.executable, "-m", "sidecar", "serve", *overrides]
        self._said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def target(self) -> str:
        """The first address, as gRPC dials it."""
        return self.addresses[0]

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process, once it was started."""
        assert self._process is not None, "not started"
        return self._process

    def launch(self, environ: Mapping[str, str] | None = None) -> None:
        """Start it, without waiting until it serves."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STATE_SIDECAR_")}
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",  # gRPC repeats what a peer said
            cwd=Path(__file__).parents[2],
            env=inherited | dict(environ or {}),
        )
        self._said = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self._process, self._said), daemon=True)
        self._reader.start()

    def start(self) -> Self:
        """Start it, and wait until it serves."""
        self.launch()
        self.wait_serving()
        return self

    def wait_serving(self) -> None:
        """Until it serves."""
        match = self.says(_SERVING)
        self.addresses = match[1].split(", ")
        self.http_address = match[2] or ""

    def restart(self) -> None:
        """Start again after an end, on the same ports."""
        listen = f"--set=listen={','.join(self.addresses)}"
        self._command = [part for part in self._command if not part.startswith("--set=listen=")] + [listen]
        self.start()

    def says(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait for the next line that matches."""
        while True:
            line = self._said.get(timeout=START_S)
            assert line is not None, f"the process ended ({self.process.poll()}) without saying {pattern}: {self.lines}"
            if match := re.search(pattern, line):
                return match

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        code = self.process.wait(START_S)
        if self._reader is not None:
            self._reader.join(START_S)
        return code

    def terminate(self) -> int:
        """Drain and stop; the exit code."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def probe(self, path: str) -> tuple[int, str]:
        """What it answers over HTTP."""
        return probe_now(self.http_address, path)

    def _read(self, process: subprocess.Popen[str], said: queue.SimpleQueue[str | None]) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))
                said.put(self.lines[-1])
        said.put(None)


@contextmanager
def daemon_process(data_dir: Path, limits: tuple[str, ...] = (), /, **settings: str) -> Iterator[DaemonProcess]:
    """A daemon that serves; whatever the test did to it, it is gone after the block."""
    daemon = DaemonProcess(data_dir, limits, **settings)
    try:
        yield daemon.start()
    finally:
        if daemon.alive():
            daemon.kill()


@contextmanager
def unstarted_process(data_dir: Path, limits: tuple[str, ...] = (), /, **settings: str) -> Iterator[DaemonProcess]:
    """A daemon that the test starts; it is gone after the block."""
    daemon = DaemonProcess(data_dir, limits, **settings)
    try:
        yield daemon
    finally:
        if daemon.alive():
            daemon.kill()
