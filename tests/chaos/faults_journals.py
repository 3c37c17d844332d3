"""Faults of the files in which daemons keep writes while PostgreSQL is away."""

from __future__ import annotations

import resource

import grpc

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.chaos.deployment import BUFFERING, ChaosDaemon
from tests.chaos.faults import Scene, fault
from tests.chaos.proxies import DOWN, PASSING, UP, Rule
from tests.support.process import Caller

PROBE_TIMEOUT_S = 2.0


def disk_full(scene: Scene) -> str:
    """No file of one daemon grows any more while it is cut off from PostgreSQL."""
    daemon = scene.daemon()
    proxy = scene.deployment.to_postgres[daemon.number]
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    proxy.set(Rule(lost=frozenset({UP, DOWN})))
    try:
        scene.hold(1.5)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (1, limits[1]))
        scene.hold(1.0, 4.0)
        said = _probe(daemon)
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, limits)
        proxy.set(PASSING)
    return "" if said == "BUFFERED" else f"daemon {daemon.number}: {said}"


if BUFFERING:
    fault("journal-disk-full")(disk_full)


def _probe(daemon: ChaosDaemon) -> str:
    """What becomes of a write that would have to be buffered."""
    with Caller(daemon.target) as caller:
        try:
            reply = caller.state.Set(pb.SetRequest(namespace="chat", key="probe", value=b"1"), timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
        return types_pb2.Durability.Name(reply.durability).removeprefix("DURABILITY_")
