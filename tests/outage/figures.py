"""What a caller of one daemon sees when every backend is away from the start, and when those of a running one hang."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from servers.postgres import Postgres
from servers.redis import Valkey
from servers.seaweedfs import BUCKET, Seaweedfs
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from statesidecar.v1.admin_service_pb2 import GetStatusRequest
from tests.support.process import Caller, DaemonProcess

CALLS = 500
PATIENCE_S = 60.0
KEY = pb.GetRequest(namespace="session", key="cold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Durations of one Get after the other, in seconds, and the modes that they said."""

    first_s: float
    p50_s: float
    p99_s: float
    modes: Counter[str]

    def __str__(self) -> str:
        modes = ", ".join(f"{count} {mode}" for mode, count in self.modes.items())
        return f"first Get {self.first_s * 1e3:.1f} ms; then p50 {self.p50_s * 1e3:.2f}, p99 {self.p99_s * 1e3:.2f} ms: {modes}"


def asked(caller: Caller, calls: int = CALLS) -> Answers:
    """Gets of a key that is nowhere near."""
    durations, modes = [], Counter[str]()
    for _ in range(calls + 1):
        began = time.perf_counter()
        reply = caller.state.Get(KEY, timeout=10.0)
        durations.append(time.perf_counter() - began)
        modes[types_pb2.ServingMode.Name(reply.mode).removeprefix("SERVING_MODE_")] += 1
    first, rest = durations[0], sorted(durations[1:])
    return Answers(first_s=first, p50_s=rest[len(rest) // 2], p99_s=rest[int(len(rest) * 0.99)], modes=modes)


def normal_after(caller: Caller) -> float:
    """Seconds until the daemon says NORMAL."""
    began = time.monotonic()
    while caller.admin.GetStatus(GetStatusRequest()).mode != types_pb2.SERVING_MODE_NORMAL:
        assert time.monotonic() < began + PATIENCE_S, "it does not become NORMAL"
    return time.monotonic() - began


def serving_after(daemon: DaemonProcess, address: str) -> float:
    """Seconds from the start of the process until its health service says SERVING."""
    began = time.monotonic()
    daemon.launch()
    with Caller(address) as caller:
        while True:
            try:
                reply = caller.health.Check(HealthCheckRequest(), timeout=1.0, wait_for_ready=True)
            except grpc.RpcError:
                continue
            if reply.status == HealthCheckResponse.SERVING:
                return time.monotonic() - began


@contextmanager
def backends() -> Iterator[tuple[Postgres, Valkey, Seaweedfs, dict[str, str]]]:
    """Servers, and the settings that name them."""
    with ExitStack() as stack:
        postgres, valkey = stack.enter_context(Postgres()), stack.enter_context(Valkey())
        seaweedfs = stack.enter_context(Seaweedfs())
        tiers = {
            "tiers.hot": valkey.url,
            "tiers.warm": postgres.url(),
            "tiers.cold": f"s3://{BUCKET}/outage?endpoint_url={seaweedfs.endpoint_url}&region=us-east-1",
        }
        yield postgres, valkey, seaweedfs, tiers


def everything_away(address: str) -> Iterator[str]:
    """A start with all backends unreachable, and their return."""
    with backends() as (postgres, valkey, seaweedfs, tiers), tempfile.TemporaryDirectory() as directory:
        for server in (postgres, valkey, seaweedfs):
            server.end()
        daemon = DaemonProcess(Path(directory) / "data", listen=address, **tiers)
        try:
            yield f"SERVING {serving_after(daemon, address):.2f} s after the start, with Redis, PostgreSQL and S3 unreachable"
            with Caller(address) as caller:
                yield str(asked(caller))
                for server in (postgres, valkey, seaweedfs):
                    server.restart()
                yield f"NORMAL {normal_after(caller):.2f} s after they were there"
        finally:
            daemon.kill()


def everything_hangs(address: str) -> Iterator[str]:
    """Backends that are stopped: connections stay open, and nothing answers."""
    with backends() as (postgres, valkey, _, tiers), tempfile.TemporaryDirectory() as directory:
        daemon = DaemonProcess(Path(directory) / "data", listen=address, **tiers)
        try:
            daemon.start()
            with Caller(address) as caller:
                yield f"before: {asked(caller)}"
                for server in (postgres, valkey):
                    server.pause()
                yield f"both stopped: {asked(caller)}"
                for server in (postgres, valkey):
                    server.resume()
                yield f"NORMAL {normal_after(caller):.2f} s after they went on"
        finally:
            daemon.kill()
