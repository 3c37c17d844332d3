"""The trailing metadata `statesidecar-mode` of every reply, errors included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest

from sidecar.core.limits import Limits
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.policy import PolicyTable
from sidecar.engine.engine import Engine
from sidecar.rpc.calls import Admission, Commits
from sidecar.rpc.connect.reads import GetBatches
from sidecar.rpc.connect.streams import Streams
from sidecar.rpc.state_service import StateService
from sidecar.rpc.watch_service import Watches
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.placement import Placement
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub, add_StateServiceServicer_to_server
from tests.rpc.error_table import made
from tests.rpc.graves import serving
from tests.support.daemon import RunningDaemon
from tests.support.switched import SwitchedStore

NS = "shop"
KEY = "statesidecar-mode"


@dataclass
class Served:
    """A StateService whose daemon says `mode`, over an authority that can be away."""

    stub: Any
    store: SwitchedStore
    admission: Admission
    mode: ServingMode | None = ServingMode.DEGRADED


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    ports = SystemPorts()
    store = SwitchedStore(MemoryStore(clock=ports.clock))
    warm: Any = Placement(store, tier=Tier.WARM, ports=ports)
    engine = Engine(policies=PolicyTable({}), limits=Limits(), hot=None, warm=warm)
    admission = Admission(requests_max=2)
    service = StateService(
        engine,
        admission=admission,
        commits=Commits(5.0),
        streams=Streams(admission, cast("GetBatches", None), timeout_s=1.0),
        watches=Watches(engine.watching, admission, watches_max=1),
        submit=lambda _: None,
        read_timeout_s=5.0,
        mode=lambda: running.mode,
    )
    async with (
        serving(lambda server: add_StateServiceServicer_to_server(service, server)) as target,
        grpc.aio.insecure_channel(target) as channel,
    ):
        running = Served(StateServiceStub(channel), store, admission)
        yield running


async def modes(call: Any) -> tuple[grpc.StatusCode, list[Any]]:
    """The code that a call ends with, and every mode in its trailing metadata."""
    code = await call.code()
    return code, [value for key, value in await call.trailing_metadata() if key == KEY]


@pytest.mark.parametrize(
    "rpc", ["Get", "Set", "Delete", "Touch", "Update", "BatchGet", "List", "DeletePrefix", "Transact"]
)
async def test_a_reply_carries_its_own_mode(served: Served, rpc: str) -> None:
    assert await modes(getattr(served.stub, rpc)(made(rpc, namespace=NS))) == (grpc.StatusCode.OK, ["NORMAL"])


async def test_a_cas_that_won_carries_its_mode(served: Served) -> None:
    assert await modes(served.stub.CAS(made("CAS", namespace=NS))) == (grpc.StatusCode.OK, ["NORMAL"])


@pytest.mark.parametrize("rpc", ["Get", "Set", "Update"])
async def test_a_reply_that_passed_through_says_so(served: Served, rpc: str) -> None:
    served.store.away()

    call = getattr(served.stub, rpc)(made(rpc, namespace=NS))

    assert await modes(call) == (grpc.StatusCode.OK, ["PASSTHROUGH"])
    assert (await call).mode == ServingMode.PASSTHROUGH


ERRORS: dict[str, tuple[str, Any, grpc.StatusCode]] = {
    "VERSION_MISMATCH": ("CAS", made("CAS", namespace=NS, expected_version=1), grpc.StatusCode.ABORTED),
    "KEY_INVALID": ("Get", made("Get", namespace=NS, key=""), grpc.StatusCode.INVALID_ARGUMENT),
    "CHECKPOINT_NOT_FOUND": ("Restore", pb.RestoreRequest(namespace=NS, key="k"), grpc.StatusCode.NOT_FOUND),
}


@pytest.mark.parametrize("mode", list(ServingMode))
@pytest.mark.parametrize("reason", list(ERRORS))
async def test_an_error_carries_the_mode_of_the_daemon(served: Served, reason: str, mode: ServingMode) -> None:
    rpc, request, code = ERRORS[reason]
    served.mode = mode

    assert await modes(getattr(served.stub, rpc)(request)) == (code, [mode.name])


async def test_unavailable_carries_the_mode_of_the_daemon(served: Served) -> None:
    served.store.away()

    assert await modes(served.stub.CAS(made("CAS", namespace=NS))) == (grpc.StatusCode.UNAVAILABLE, ["DEGRADED"])


async def test_what_is_not_admitted_carries_the_mode_of_the_daemon(served: Served) -> None:
    served.admission.in_flight = 2
    assert await modes(served.stub.Get(made("Get"))) == (grpc.StatusCode.RESOURCE_EXHAUSTED, ["DEGRADED"])

    served.admission.draining = True
    assert await modes(served.stub.Get(made("Get"))) == (grpc.StatusCode.UNAVAILABLE, ["DEGRADED"])


async def test_a_bug_carries_the_mode_of_the_daemon(served: Served) -> None:
    served.store.fail_next("get", ZeroDivisionError())

    assert await modes(served.stub.Get(made("Get", namespace=NS))) == (grpc.StatusCode.INTERNAL, ["DEGRADED"])


async def test_an_error_of_a_daemon_that_does_not_know_its_mode_carries_none(served: Served) -> None:
    served.mode = None

    assert await modes(served.stub.Get(made("Get", key=""))) == (grpc.StatusCode.INVALID_ARGUMENT, [])


async def test_a_daemon_tells_its_mode_in_errors_and_in_replies(volatile: RunningDaemon) -> None:
    refused = volatile.state.Get(made("Get", namespace=NS, key=""))
    assert await modes(refused) == (grpc.StatusCode.INVALID_ARGUMENT, ["NORMAL"])

    switched = volatile.switch()
    switched.away()
    answered = volatile.state.Get(made("Get", namespace=NS))
    assert await modes(answered) == (grpc.StatusCode.OK, ["PASSTHROUGH"])
    refused = volatile.state.Get(made("Get", namespace=NS, key=""))
    assert await modes(refused) == (grpc.StatusCode.INVALID_ARGUMENT, ["DEGRADED"])
