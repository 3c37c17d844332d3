"""PostgreSQL that comes and goes: how often the daemons' mode changes, what its load is afterwards, and who disagrees."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from random import Random

import grpc

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub
from tests.chaos.deployment import DATABASE, ChaosDaemon, Deployment

CLIENTS = 6
KEYS = 50
CALLS_PER_S = 20.0
"""Of each client: a steady load, whatever the answers are."""
CALL_S = 2.0
NORMAL_S = 20.0
BUCKET_S = 5.0
AFTER_S = 40.0
CHANGES = re.compile(r"^statesidecar_mode_changes_total (\S+)", re.MULTILINE)
_PAUSE = threading.Event()
"""Never set: to let time pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`load`: transactions a second in each bucket after the last flap, of the normal rate before the first."""

    flaps: int
    minutes: float
    changes: list[int]
    load: list[float]
    disagreeing: list[str]

    def __str__(self) -> str:
        load = " ".join(f"{ratio:.2f}" for ratio in self.load)
        return (
            f"{self.flaps} flaps in {self.minutes:.1f} min: {self.changes} mode changes of the daemons, "
            f"{max(self.changes) / self.minutes:.2f} a minute at most; load after it, every {BUCKET_S:g} s, of the normal: "
            f"{load}; {len(self.disagreeing)} keys differ"
        )


class _Client(threading.Thread):
    def __init__(self, target: str, number: int, stopping: threading.Event) -> None:
        super().__init__(name=f"client-{number}")
        self._stub = StateServiceStub(grpc.insecure_channel(target))
        self._random = Random(number)
        self._stopping = stopping

    def run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            key = f"flap/{self._random.randrange(KEYS)}"
            try:
                if self._random.random() < 0.5:
                    self._stub.Set(pb.SetRequest(namespace="session", key=key, value=b"value"), timeout=CALL_S)
                else:
                    strong = types_pb2.CONSISTENCY_STRONG
                    self._stub.Get(pb.GetRequest(namespace="session", key=key, consistency=strong), timeout=CALL_S)
            except grpc.RpcError:
                pass  # an outage: the load goes on
            due = max(due + 1 / CALLS_PER_S, time.monotonic() - 1.0)
            self._stopping.wait(max(0.0, due - time.monotonic()))


def _transactions(deployment: Deployment) -> int:
    query = f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{DATABASE}'"
    [(count,)] = deployment.postgres.execute(query)
    return int(count)


def _rate(deployment: Deployment, seconds: float) -> float:
    before, began = _transactions(deployment), time.monotonic()
    _PAUSE.wait(seconds)
    return (_transactions(deployment) - before) / (time.monotonic() - began)


def _mode_changes(daemon: ChaosDaemon) -> int:
    found = CHANGES.search(daemon.probe("/metrics")[1])
    assert found is not None, "no statesidecar_mode_changes_total"
    return int(float(found[1]))


def run(deployment: Deployment, *, flaps: int, period_s: float) -> Verdict:
    """Half of each period PostgreSQL refuses every daemon."""
    stopping = threading.Event()
    clients = [_Client(deployment.targets()[number % 3], number, stopping) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    _PAUSE.wait(BUCKET_S)
    normal = _rate(deployment, NORMAL_S)
    before = [_mode_changes(daemon) for daemon in deployment.daemons]
    began = time.monotonic()
    for number in range(flaps):
        for proxy in deployment.to_postgres:
            proxy.refuse()
        _PAUSE.wait(began + (number + 0.5) * period_s - time.monotonic())
        for proxy in deployment.to_postgres:
            proxy.accept()
        _PAUSE.wait(began + (number + 1) * period_s - time.monotonic())
    minutes = (time.monotonic() - began) / 60
    load = [_rate(deployment, BUCKET_S) / normal for _ in range(int(AFTER_S / BUCKET_S))]
    changes = [_mode_changes(daemon) - count for daemon, count in zip(deployment.daemons, before, strict=True)]
    stopping.set()
    for client in clients:
        client.join()
    return Verdict(flaps=flaps, minutes=minutes, changes=changes, load=load, disagreeing=_disagreeing(deployment))


def _disagreeing(deployment: Deployment) -> list[str]:
    stubs = [StateServiceStub(grpc.insecure_channel(target)) for target in deployment.targets()]
    wrong = []
    for number in range(KEYS):
        key = f"flap/{number}"
        states = {
            (reply.entry.version, reply.entry.value)
            for stub in stubs
            for consistency in (types_pb2.CONSISTENCY_CACHED, types_pb2.CONSISTENCY_STRONG)
            for reply in [
                stub.Get(pb.GetRequest(namespace="session", key=key, consistency=consistency), timeout=CALL_S)
            ]
        }
        if len(states) > 1:
            wrong.append(f"{key}: {states}")
    return wrong
