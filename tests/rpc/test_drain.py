"""Drain: not ready first, nothing new, everything admitted is answered, what is owed is done. And the bound on admission."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from sidecar.core.expiry import TOUCH_SLACK
from sidecar.core.policy import PRESETS, Kind
from sidecar.runtime import ports
from statesidecar.v1 import admin_service_pb2 as admin
from statesidecar.v1 import state_service_pb2 as pb
from tests.support.clock import ManualClock
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.probes import probe
from tests.support.statuses import refusal

NS = "shop"
SERVICES = ["", "statesidecar.v1.StateService"]


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """A daemon with its probes."""
    async with running_daemon(tmp_path, http_listen="127.0.0.1:0") as running:
        yield running


async def not_serving(daemon: RunningDaemon, service: str = "") -> None:
    """Until health says so."""
    watch: Any = daemon.health.Watch(health_pb2.HealthCheckRequest(service=service))
    async for reply in watch:
        if reply.status == health_pb2.HealthCheckResponse.NOT_SERVING:
            return


async def test_a_drain_answers_what_it_admitted_and_admits_nothing_new(daemon: RunningDaemon) -> None:
    hold = daemon.switch().hold("commit")
    admitted = daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"value"))
    await hold.reached.wait()

    watching = [asyncio.create_task(not_serving(daemon, service)) for service in SERVICES]
    stopping = asyncio.create_task(daemon.daemon.stop())
    await asyncio.gather(*watching)
    refused = await refusal(daemon.state.Get(pb.GetRequest(namespace=NS, key="key")))
    status = await daemon.admin.GetStatus(admin.GetStatusRequest())
    ready, _ = await probe(daemon.daemon.http_address, "/readyz")
    alive, _ = await probe(daemon.daemon.http_address, "/healthz")
    assert not stopping.done()
    hold.release()
    reply = await admitted
    await stopping

    assert reply.version > 0
    assert refused.told == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert refused.retry is not None
    assert (status.draining, status.requests_in_flight) == (True, 1)
    assert (ready, alive) == (503, 200)


@pytest.mark.parametrize(
    "call",
    [
        lambda daemon: daemon.state.Set(pb.SetRequest(namespace=NS, key="new")),
        lambda daemon: daemon.state.List(pb.ListRequest(namespace=NS)),
        lambda daemon: daemon.state.Transact(pb.TransactRequest(namespace=NS)),
        lambda daemon: daemon.state.Touch(pb.TouchRequest(namespace=NS, key="key")),
    ],
    ids=["Set", "List", "Transact", "Touch"],
)
async def test_every_new_call_is_told_that_the_daemon_drains(daemon: RunningDaemon, call: Any) -> None:
    daemon.daemon._admission.draining = True

    refused = await refusal(call(daemon))

    assert refused.told == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_a_drain_ends_with_its_grace_period(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, grace_period_s=0.05) as daemon:
        hold = daemon.switch().hold("get")
        stuck = daemon.state.Get(pb.GetRequest(namespace=NS, key="key"))
        await hold.reached.wait()

        await daemon.daemon.stop()

        with pytest.raises(grpc.aio.AioRpcError):
            await stuck


async def test_a_commit_that_is_stuck_stops_nobody_for_longer_than_the_grace_period(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, grace_period_s=0.05) as daemon:
        hold = daemon.switch().hold("commit")
        stuck = daemon.state.Set(pb.SetRequest(namespace=NS, key="key"))
        await hold.reached.wait()
        stuck.cancel()

        await daemon.daemon.stop()

        assert len(daemon.daemon._commits) == 1
        hold.release()
        await daemon.daemon._commits.finish()


async def test_stop_twice_is_once(daemon: RunningDaemon) -> None:
    await daemon.daemon.stop()
    await daemon.daemon.stop()


async def test_followups_are_finished_before_the_stop_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    monkeypatch.setattr(ports, "SystemClock", lambda: clock)
    ttl_ms = PRESETS[Kind.SESSION].ttl_ms
    assert ttl_ms is not None
    async with running_daemon(tmp_path) as daemon:
        for key in ("a", "b"):
            await daemon.state.Set(pb.SetRequest(namespace="session", key=key))
        clock.advance(int(ttl_ms * TOUCH_SLACK) + 1)
        store = daemon.switch()
        hold = store.hold("touch")
        await daemon.state.Get(pb.GetRequest(namespace="session", key="a"))
        await hold.reached.wait()
        await daemon.state.Get(pb.GetRequest(namespace="session", key="b"))

        stopping = asyncio.create_task(daemon.daemon.stop())
        await daemon.channel_closed()
        assert not stopping.done()
        hold.release()
        await stopping

        ends = [entry.expire_time for entry in await store.get("session", ["a", "b"])]
    assert ends == [clock.now() + ttl_ms] * 2


async def test_more_calls_than_the_bound_are_refused_until_there_is_room(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, requests_max=2) as daemon:
        hold = daemon.switch().hold("commit")
        admitted = [daemon.state.Set(pb.SetRequest(namespace=NS, key=f"{number}")) for number in range(2)]
        await daemon.in_flight(2)
        refused = await refusal(daemon.state.Set(pb.SetRequest(namespace=NS, key="3")))
        hold.release()
        await asyncio.gather(*admitted)
        later = await daemon.state.Set(pb.SetRequest(namespace=NS, key="3"))

    assert refused.told == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert refused.retry is not None
    assert later.version > 0


async def test_refused_and_cancelled_calls_leave_no_trace_in_the_count(daemon: RunningDaemon) -> None:
    hold = daemon.switch().hold("commit")
    call = daemon.state.Set(pb.SetRequest(namespace=NS, key="key"))
    await hold.reached.wait()
    call.cancel()
    await refusal(daemon.state.Get(pb.GetRequest(namespace=NS)))
    hold.release()
    await hold.passed.wait()

    status = await daemon.admin.GetStatus(admin.GetStatusRequest())

    assert status.requests_in_flight == 0
