"""From an outage to a dead write to its end, in a daemon with a journal: as an operator sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.operations import Put, Write
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1 import state_service_pb2 as state
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon, running_daemon

NS = "chat"


@asynccontextmanager
async def with_a_dead_write(tmp_path: Path) -> AsyncIterator[tuple[RunningDaemon, int]]:
    """A daemon that kept `ours` while another wrote `theirs`, whose authority is back; the version that it began with."""
    async with running_daemon(tmp_path, namespaces={NS: {"on_outage": "buffer", "reconcile": "reject"}}) as daemon:
        base = await daemon.state.Set(state.SetRequest(namespace=NS, key="key", value=b"base"))
        truth, switched = daemon.warm.authority, daemon.switch()
        switched.away()
        written = await daemon.state.Set(state.SetRequest(namespace=NS, key="key", value=b"ours", request_id="mine"))
        assert written.durability == types.DURABILITY_BUFFERED
        status = await daemon.admin.GetStatus(pb.GetStatusRequest())
        assert (status.journal_depth, status.dead_writes) == (1, 0)
        assert status.HasField("journal_oldest_time")
        theirs = Put(key="key", value=b"theirs")
        await truth.commit(Write(namespace=NS, operations=(theirs,), value_bytes_max=100))
        switched.back()
        while not await listed(daemon):  # noqa: ASYNC110  # the daemon finds out by itself
            await asyncio.sleep(0)
        yield daemon, base.version


async def value(daemon: RunningDaemon) -> bytes:
    strong = state.GetRequest(namespace=NS, key="key", consistency="CONSISTENCY_STRONG")
    entry: types.Entry = (await daemon.state.Get(strong)).entry
    return entry.value


async def listed(daemon: RunningDaemon) -> list[pb.DeadWrite]:
    return list((await daemon.admin.ListDeadWrites(pb.ListDeadWritesRequest())).dead_writes)


async def test_a_conflicting_write_is_dead_and_told_until_it_is_discarded(tmp_path: Path) -> None:
    async with with_a_dead_write(tmp_path) as (daemon, base_version):
        [dead] = await listed(daemon)
        assert (dead.namespace, dead.key, dead.operation, dead.value) == (NS, "key", "set", b"ours")
        assert (dead.request_id, dead.reason, dead.base_version) == ("mine", "VERSION_MISMATCH", base_version)
        assert 0 < dead.buffered_time.ToMilliseconds() <= dead.dead_time.ToMilliseconds()
        status = await daemon.admin.GetStatus(pb.GetStatusRequest())
        assert (status.journal_depth, status.dead_writes) == (0, 1)
        assert not status.HasField("journal_oldest_time")

        discarded = await daemon.admin.DiscardDeadWrites(pb.DiscardDeadWritesRequest(ids=[dead.id]))

        assert discarded.discarded_count == 1
        assert await listed(daemon) == []
        assert await value(daemon) == b"theirs"


@pytest.mark.parametrize(
    ("resolution", "took_effect", "left"), [("RETRY", False, b"theirs"), ("OVERWRITE", True, b"ours")]
)
async def test_tried_again_it_is_refused_unless_it_may_overwrite(
    tmp_path: Path, resolution: Any, left: bytes, *, took_effect: bool
) -> None:
    async with with_a_dead_write(tmp_path) as (daemon, _):
        request = pb.RedriveDeadWritesRequest(all=True, resolution=f"DEAD_WRITE_RESOLUTION_{resolution}")
        reply = await daemon.admin.RedriveDeadWrites(request)

        assert (reply.redriven_count, reply.refused_count) == (int(took_effect), int(not took_effect))
        assert len(await listed(daemon)) == reply.refused_count
        assert await value(daemon) == left
