"""A tenant that asks for ten times its quota gets its quota, and another one hardly feels it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import yaml

from statesidecar.v1 import state_service_pb2 as pb
from tests.support.daemon import CHANNEL_OPTIONS, Stubs
from tests.support.process import DaemonProcess

pytestmark = pytest.mark.timeout(120)

QUOTA_PER_S = 20
GREED = 10
ROUNDS = 6
CALLS = 150
RATIO_MAX = 2.0


@contextmanager
def two_tenants(home: Path) -> Iterator[DaemonProcess]:
    (home / "tokens").write_text("greedy: greedy-tenants-token\nmodest: modest-tenants-token\n")
    (home / "tokens").chmod(0o600)
    identities = {
        "greedy": {"namespaces": ["greedy"], "methods": ["write"], "quota": {"ops_per_s": QUOTA_PER_S}},
        "modest": {"namespaces": ["modest"], "methods": ["read", "write"]},
    }
    settings = {"auth": {"tokens": str(home / "tokens"), "identities": identities}, "tiers": {"warm": "memory://"}}
    (home / "config.yaml").write_text(yaml.safe_dump(settings))
    daemon = DaemonProcess(home / "data")
    try:
        daemon.launch({"STATE_SIDECAR_CONFIG": str(home / "config.yaml")})
        daemon.wait_serving()
        yield daemon
    finally:
        if daemon.alive():
            daemon.kill()


@contextmanager
def greed(target: str) -> Iterator[Callable[[Callable[[], float]], tuple[float, int, int]]]:
    """Runs something while the greedy tenant calls: what it answered, and how many calls were let in and refused."""
    command = [sys.executable, "-m", "tests.security.greedy", target, "greedy-tenants-token", str(QUOTA_PER_S * GREED)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        says, hears = process.stdin, process.stdout

        def during(measure: Callable[[], float]) -> tuple[float, int, int]:
            print("go", file=says, flush=True)
            measured = measure()
            print("stop", file=says, flush=True)
            let_in, refused = map(int, hears.readline().split())
            return measured, let_in, refused

        try:
            yield during
        finally:
            process.kill()


def test_a_greedy_tenant_gets_its_quota_and_the_other_one_is_served(tmp_path: Path) -> None:
    """How much the other one feels it is measured by `python -m tests.security.test_quota_share`, on a quiet machine."""
    share(tmp_path)


def share(tmp_path: Path) -> float:
    """Another tenant's p99 beside a greedy one, to that alone, in one run."""
    with (
        two_tenants(tmp_path) as daemon,
        greed(daemon.target) as during,
        grpc.insecure_channel(daemon.target, options=CHANNEL_OPTIONS) as channel,
    ):
        state = Stubs(channel).state  # type: ignore[arg-type]

        def p99() -> float:
            times = []
            for number in range(CALLS):
                began = time.perf_counter()
                request = pb.SetRequest(namespace="modest", key=f"key {number % 10}", value=b"value")
                state.Set(request, metadata=(("authorization", "Bearer modest-tenants-token"),), timeout=10)
                times.append(time.perf_counter() - began)
                time.sleep(0.003)  # a caller that thinks between calls
            return sorted(times)[int(len(times) * 0.99) - 1]

        p99()
        alone, beside, let_in, refused, took_s = [], [], 0, 0, 0.0
        for _ in range(ROUNDS):
            alone.append(p99())
            began = time.perf_counter()
            measured, *counts = during(p99)
            took_s += time.perf_counter() - began
            beside.append(measured)
            let_in, refused = let_in + counts[0], refused + counts[1]
    # What a tenant costs another is there in every round; what else the machine does is not in the quietest of them.
    ratio = min(beside) / min(alone)
    print(f"p99 {min(alone) * 1e3:.2f} ms alone, {min(beside) * 1e3:.2f} ms beside: {ratio:.2f}")
    assert refused > 2 * let_in  # a round is short, and begins with a second's worth
    assert let_in <= QUOTA_PER_S * (took_s + ROUNDS) + 1
    return ratio


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        sys.exit(share(Path(home)) > RATIO_MAX)
