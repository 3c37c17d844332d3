"""What the presets promise: authority, durability and expiry of session, process, model, system, and any other name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon, running_daemon


@pytest.fixture
async def default(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """The embedded defaults."""
    async with running_daemon(tmp_path, tiers={}) as running:
        yield running


@pytest.mark.parametrize(
    ("namespace", "durability", "ttl_s", "authority"),
    [
        ("session", types.DURABILITY_COMMITTED, 30 * 60, types.TIER_WARM),
        ("process", types.DURABILITY_COMMITTED, None, types.TIER_WARM),
        ("model", types.DURABILITY_COMMITTED, None, types.TIER_WARM),
        ("system", types.DURABILITY_VOLATILE, 3600, types.TIER_HOT),
        ("anything", types.DURABILITY_COMMITTED, None, types.TIER_WARM),
    ],
)
async def test_a_preset_decides_durability_expiry_and_authority(
    default: RunningDaemon, namespace: str, durability: int, ttl_s: int | None, authority: int
) -> None:
    await default.state.Set(pb.SetRequest(namespace=namespace, key="before", value=b"value"))
    replies = [
        await default.state.Set(pb.SetRequest(namespace=namespace, key="set")),
        await default.state.CAS(pb.CASRequest(namespace=namespace, key="cas")),
        await default.state.Update(
            pb.UpdateRequest(namespace=namespace, key="update", increment=pb.Increment(delta=1), create=True)
        ),
    ]
    deleted = await default.state.Delete(pb.DeleteRequest(namespace=namespace, key="before"))
    read = await default.state.Get(pb.GetRequest(namespace=namespace, key="set", consistency=types.CONSISTENCY_STRONG))

    assert {reply.durability for reply in [*replies, deleted]} == {durability}
    assert {reply.mode for reply in [*replies, deleted, read]} == {types.SERVING_MODE_NORMAL}
    assert read.served_by == authority
    for reply in replies:
        assert reply.HasField("expire_time") == (ttl_s is not None)
    if ttl_s is not None:
        lived_ms = read.entry.expire_time.ToMilliseconds() - read.entry.update_time.ToMilliseconds()
        assert lived_ms == ttl_s * 1000


async def test_a_system_read_is_served_by_its_authority(default: RunningDaemon) -> None:
    await default.state.Set(pb.SetRequest(namespace="system", key="key", value=b"value"))

    cached = await default.state.Get(pb.GetRequest(namespace="system", key="key"))

    assert (cached.served_by, cached.entry.value) == (types.TIER_HOT, b"value")


async def test_the_ttl_of_a_write_wins_over_the_namespaces(default: RunningDaemon) -> None:
    request = pb.SetRequest(namespace="session", key="key")
    request.ttl.FromSeconds(60)
    await default.state.Set(request)

    entry = (await default.state.Get(pb.GetRequest(namespace="session", key="key"))).entry

    assert entry.expire_time.ToMilliseconds() - entry.update_time.ToMilliseconds() == 60_000


async def test_a_configured_namespace_has_its_own_policy(tmp_path: Path) -> None:
    namespaces = {"carts": {"kind": "session", "ttl": "1h"}, "small": {"value_bytes_max": 10}}
    async with running_daemon(tmp_path, namespaces=namespaces) as daemon:
        await daemon.state.Set(pb.SetRequest(namespace="carts", key="key", value=b"x" * 11))
        entry = (await daemon.state.Get(pb.GetRequest(namespace="carts", key="key"))).entry
        kept = await daemon.state.Set(pb.SetRequest(namespace="small", key="key", value=b"x" * 10))

    assert entry.expire_time.ToMilliseconds() - entry.update_time.ToMilliseconds() == 3_600_000
    assert kept.version > 0


async def test_a_restart_keeps_what_was_committed_and_its_request_ids(tmp_path: Path) -> None:
    request = pb.SetRequest(namespace="session", key="key", value=b"value", request_id="once")
    async with running_daemon(tmp_path, tiers={}) as daemon:
        written = await daemon.state.Set(request)
        await daemon.state.Set(pb.SetRequest(namespace="session", key="other", value=b"value"))
    async with running_daemon(tmp_path, tiers={}) as daemon:
        repeated = await daemon.state.Set(request)
        reply = await daemon.state.Get(pb.GetRequest(namespace="session", key="key"))
        later = await daemon.state.Set(pb.SetRequest(namespace="session", key="later"))

    assert repeated == written
    assert (reply.entry.value, reply.entry.version) == (b"value", written.version)
    assert later.version > written.version
