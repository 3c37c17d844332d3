"""A daemon in the test's own event loop, called over its real port by the generated stubs, as any other program would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1.health_pb2_grpc import HealthStub

from sidecar.core.operations import Put, Write
from sidecar.runtime.daemon import Daemon
from sidecar.runtime.settings import Settings
from sidecar.tiers.placement import Placement
from statesidecar.v1.admin_service_pb2 import GetStatusRequest
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceStub
from statesidecar.v1.outbox_service_pb2_grpc import OutboxServiceStub
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub
from statesidecar.v1.types_pb2 import SERVING_MODE_NORMAL
from tests.support.switched import SwitchedStore

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
HEALED_S = 30.0
"""A breaker and a mode take a second; this bounds how long a failing test waits."""
MEMORY = {"warm": "memory://", "cold": "none://"}
"""Tiers without files. The authority says VOLATILE then."""
WARM_TIERS: dict[str, dict[str, str]] = {"memory": MEMORY, "sqlite": {"cold": "none://"}}
"""The embedded authorities by name; sqlite is the default."""


class Stubs:
    """Every service of a daemon on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.state: Any = StateServiceStub(channel)
        self.admin: Any = AdminServiceStub(channel)
        self.outbox: Any = OutboxServiceStub(channel)
        self.health: Any = HealthStub(channel)


class RunningDaemon(Stubs):
    """A daemon that serves, with a channel to it."""

    def __init__(self, daemon: Daemon, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self.daemon = daemon

    @property
    def warm(self) -> Placement:
        """The placement of namespaces with `authority: warm`."""
        placement = self.daemon._engine.namespaces.warm
        assert placement is not None
        return placement

    async def healed(self) -> None:
        """Until every tier is asked again, and the mode says so; a breaker takes a moment, and so does the mode."""
        async with asyncio.timeout(HEALED_S):
            while (await self.admin.GetStatus(GetStatusRequest())).mode != SERVING_MODE_NORMAL:
                pass

    async def followups_done(self) -> None:
        """Until what the replies so far owe is done: a drain of the queue, which then goes on."""
        queue = self.daemon._followups
        await queue.finish()
        queue._closing = False
        queue.start()

    async def in_flight(self, count: int) -> None:
        """Until so many calls are being answered."""
        while self.daemon._admission.in_flight < count:  # noqa: ASYNC110  # a count that has no signal
            await asyncio.sleep(0)

    async def channel_closed(self) -> None:
        """Until the server has let go of our connection."""
        state = self.channel.get_state()
        while state is grpc.ChannelConnectivity.READY:
            await self.channel.wait_for_state_change(state)
            state = self.channel.get_state()

    async def write_behind_the_cache(self, namespace: str, key: str, value: bytes) -> int:
        """What another daemon on the same authority does; the version."""
        put = Put(key=key, value=value)
        outcome = await self.warm.authority.commit(
            Write(namespace=namespace, operations=(put,), value_bytes_max=len(value))
        )
        return outcome.version

    def switch(self, placement: Placement | None = None) -> SwitchedStore:
        """From now on the authority (unset: of warm namespaces) can be taken away, and held in mid-call."""
        at = placement or self.warm
        switched = SwitchedStore(at.authority)
        at.authority = at.ledger.authority = switched
        return switched


def settings(data_dir: Path, **given: Any) -> Settings:
    """Settings of a test's daemon: free ports, and nothing in the background that a test didn't ask for."""
    defaults: dict[str, Any] = {
        "data_dir": data_dir,
        "listen": ["127.0.0.1:0"],
        "http_listen": "",
        "tiers": MEMORY,
        "sweep_interval_s": 3600.0,
        "cleaning_interval_s": 3600.0,
    }
    return Settings(**(defaults | given))


@asynccontextmanager
async def running_daemon(data_dir: Path, **given: Any) -> AsyncIterator[RunningDaemon]:
    """A started daemon; stopped with the block."""
    daemon = Daemon(settings(data_dir, **given))
    try:
        await daemon.start()
        async with grpc.aio.insecure_channel(daemon.addresses[0], options=CHANNEL_OPTIONS) as channel:
            yield RunningDaemon(daemon, channel)
    finally:
        await daemon.stop()
