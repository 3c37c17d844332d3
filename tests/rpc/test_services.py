"""What else a daemon answers: status, health, reflection; and what it says of RPCs that it doesn't have yet."""

from __future__ import annotations

from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from sidecar import __version__
from statesidecar.v1 import admin_service_pb2 as admin
from statesidecar.v1 import outbox_service_pb2 as outbox
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon

SERVICES = ["statesidecar.v1.StateService", "statesidecar.v1.OutboxService", "statesidecar.v1.AdminService"]


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_health_is_serving_for_every_service(volatile: RunningDaemon, service: str) -> None:
    reply = await volatile.health.Check(health_pb2.HealthCheckRequest(service=service))

    assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_and_describes_the_services(volatile: RunningDaemon) -> None:
    async def requests() -> Any:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        for service in SERVICES:
            yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)

    stub: Any = ServerReflectionStub(volatile.channel)
    listed, *described = [reply async for reply in stub.ServerReflectionInfo(requests())]

    names = {service.name for service in listed.list_services_response.service}
    assert names >= {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert all(reply.file_descriptor_response.file_descriptor_proto for reply in described)


async def test_status_of_a_daemon_that_has_answered(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=b"value"))
    for _ in range(4):
        await daemon.state.Get(pb.GetRequest(namespace="shop", key="key"))

    status = await daemon.admin.GetStatus(admin.GetStatusRequest())

    assert status.mode == types.SERVING_MODE_NORMAL
    assert status.daemon_version == __version__
    assert status.start_time.seconds > 0
    assert not status.draining
    hot, warm = status.tiers
    assert (hot.tier, warm.tier) == (types.TIER_HOT, types.TIER_WARM)
    assert hot.url == "memory://"
    assert (hot.state, warm.state) == (admin.TIER_STATE_UP, admin.TIER_STATE_UP)
    assert (hot.authority, warm.authority) == (False, True)
    assert hot.hit_ratio == 1.0
    assert hot.lookups == 4
    assert warm.latency.count > 0
    assert warm.latency.p50.ToNanoseconds() <= warm.latency.p99.ToNanoseconds()


async def test_every_rpc_of_the_protos_is_answered() -> None:
    rpcs = {
        method.name
        for descriptor, service in ((pb, "StateService"), (outbox, "OutboxService"), (admin, "AdminService"))
        for method in descriptor.DESCRIPTOR.services_by_name[service].methods
    }

    built = {"Get", "Set", "CAS", "Delete", "Touch", "Update", "BatchGet", "List", "DeletePrefix", "Transact"}
    built |= {"Checkpoint", "GetCheckpoint", "ListCheckpoints", "DeleteCheckpoint", "Restore", "Watch"}
    operated = {"GetStatus", "ListDeadWrites", "RedriveDeadWrites", "DiscardDeadWrites", "CollectGarbage", "Migrate"}
    operated |= {"Reseal"}
    delivered = {"Consume", "ListDeadLetters", "Redrive"}
    assert rpcs == built | operated | delivered | {"Connect"}
