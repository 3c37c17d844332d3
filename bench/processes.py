"""The processes that are measured: the daemon and the floor, each alone in its own, over loopback TCP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDaemon:
    """A daemon that answers, and the seconds from its process's birth until its health said SERVING."""

    target: str
    pid: int
    start_s: float
    log: Path

    def rss_mb(self) -> float:
        """Memory that is resident now, in MB of 10^6 bytes."""
        [kilobytes] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(kilobytes) * 1024 / 1e6


@contextmanager
def daemon(
    *settings: str,
    python_options: tuple[str, ...] = (),
    bytecode: Path | None = None,
    token: str = "",
    environ: Mapping[str, str] | None = None,
) -> Iterator[RunningDaemon]:
    """`state-sidecar serve` on embedded tiers in a fresh directory, on any free port.

    `bytecode`: where compiled modules are kept from one start to the next, whatever the environment says about that.
    `token`: what it asks callers for. `environ`: variables beside ours.
    """
    with tempfile.TemporaryDirectory(prefix="state-sidecar-bench-") as directory:
        log = Path(directory, "log")
        chosen = (f"data_dir={directory}/data", "listen=127.0.0.1:0", "http_listen=127.0.0.1:0", *settings)
        command = [sys.executable, *python_options, "-m", "sidecar", "serve"]
        command += [argument for setting in chosen for argument in ("--set", setting)]
        environment = {**_environment(bytecode), **(environ or {})}
        born = time.monotonic()
        with log.open("wb") as output, subprocess.Popen(command, env=environment, stderr=output) as process:
            try:
                target = _address(process, log)
                _wait_until_serving(target, token)
                yield RunningDaemon(target=target, pid=process.pid, start_s=time.monotonic() - born, log=log)
            finally:
                process.terminate()
                process.wait(STOP_TIMEOUT_S)


@contextmanager
def floor(answers: dict[str, dict[str, str]]) -> Iterator[str]:
    """The bare handler; its address."""
    command = [sys.executable, "-m", "bench.floor"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(answers) + "\n")
        process.stdin.flush()
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()
        process.wait(STOP_TIMEOUT_S)


def _environment(bytecode: Path | None) -> dict[str, str]:
    """Ours, without the daemon's settings of whoever runs us."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("STATE_SIDECAR_")}
    if bytecode is not None:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    return environment


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"is serving on (127\.0\.0\.1:\d+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.005)
    raise RuntimeError(f"the daemon did not start:\n{log.read_text(errors='replace')}")


def _wait_until_serving(target: str, token: str) -> None:
    metadata = (("authorization", f"Bearer {token}"),) if token else None
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(
            health_pb2.HealthCheckRequest(), timeout=START_TIMEOUT_S, wait_for_ready=True, metadata=metadata
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer
