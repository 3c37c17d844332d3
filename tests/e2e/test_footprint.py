"""What a daemon costs that nobody uses: memory, start, and no library of a backend that isn't there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its stubs are not among our tools
from grpc_health.v1 import health_pb2

from tests.support.process import Caller, DaemonProcess

MIB = 1024 * 1024
START_CPU_S_MAX = 1.5
"""A start to SERVING takes a second at most on a machine that is free; a busy one's caches cost more."""
NOT_LOADED = ("boto3", "botocore", "psycopg", "redis", "opentelemetry", "hiredis", "rich")


def test_an_idle_daemon_holds_at_most_75_mb(daemon: DaemonProcess) -> None:
    with Caller(daemon.target) as caller:
        caller.health.Check(health_pb2.HealthCheckRequest())
    daemon.probe("/metrics")

    resident = psutil.Process(daemon.pid).memory_info().rss

    assert resident <= 75 * MIB, f"{resident / MIB:.1f} MiB"


def test_a_start_costs_little_processor_time(daemon: DaemonProcess) -> None:
    # Not the time on the wall: the machine may be busy with something else.
    spent = psutil.Process(daemon.pid).cpu_times()

    assert spent.user + spent.system <= START_CPU_S_MAX


def test_the_process_maps_no_library_of_another_backend(daemon: DaemonProcess) -> None:
    maps = Path(f"/proc/{daemon.pid}/maps").read_text()

    assert "grpc" in maps
    assert [name for name in ("psycopg", "libpq", "hiredis") if name in maps] == []


def test_a_daemon_on_embedded_tiers_imports_no_library_of_another(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
import sidecar.__main__
from sidecar.cli.serve import serve
from sidecar.runtime import serve as entry
from sidecar.runtime.daemon import Daemon
from sidecar.runtime.settings import load_settings

async def live():
    settings = load_settings(None, ["data_dir={tmp_path}", "listen=127.0.0.1:0", "http_listen=127.0.0.1:0"], {{}})
    daemon = Daemon(settings)
    await daemon.start()
    await daemon.stop()

asyncio.run(live())
assert {{"sidecar.stores.sqlite", "sidecar.stores.files", "sidecar.stores.memory"}} <= set(sys.modules)
print(*sorted({{name.partition(".")[0] for name in sys.modules}} & {set(NOT_LOADED)!r}))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout.split() == []
