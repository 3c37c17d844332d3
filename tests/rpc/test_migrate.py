"""Migrate over real gRPC: its progress, its end, and how it ends when its caller or its daemon does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core.failpoints import armed
from sidecar.core.ledger import LEDGER, SCHEMAS
from sidecar.engine.cleaning import asked
from sidecar.engine.schemas import migration
from sidecar.rpc import migrating
from sidecar.rpc.admin_service import AdminService
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1 import state_service_pb2 as state
from statesidecar.v1 import types_pb2
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceStub, add_AdminServiceServicer_to_server
from tests.rpc.graves import serving
from tests.support.daemon import CHANNEL_OPTIONS, MEMORY, RunningDaemon, running_daemon
from tests.support.statuses import refusal_of
from tests.unit.schemas_support import OPERATIONS, SPACE, Sidecar

STRONG = types_pb2.CONSISTENCY_STRONG
OLD = {"name": "n"}
NEW = {"person": {"name": "n"}, "two": 0, "three": 0}
NAMESPACES = {SPACE: {"schema": {"version": 3, "migrations": [{"up": declared} for declared in OPERATIONS]}}}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    async with running_daemon(tmp_path, namespaces=NAMESPACES) as running:
        yield running


async def told(daemon: Any, **request: Any) -> list[pb.MigrateResponse]:
    return [reply async for reply in daemon.admin.Migrate(pb.MigrateRequest(namespace=SPACE, **request))]


async def stored(daemon: RunningDaemon, key: str, document: Any, schema: int) -> int:
    """As an older daemon stored it; the version."""
    return await _behind(daemon).put(key, document, schema)


def _behind(daemon: RunningDaemon) -> Sidecar:
    sidecar = Sidecar.__new__(Sidecar)
    sidecar.placement = daemon.warm
    return sidecar


async def test_entries_come_to_the_newest_schema_under_their_versions(daemon: RunningDaemon) -> None:
    versions = [await stored(daemon, f"{number}", OLD, 1) for number in range(3)]

    *_, done = await told(daemon)

    assert done == pb.MigrateResponse(
        state=pb.COLLECTION_STATE_DONE, scanned_count=3, migrated_count=3, total_count=3, target_version=3
    )
    for number, version in enumerate(versions):
        found = await daemon.state.Get(state.GetRequest(namespace=SPACE, key=f"{number}", consistency=STRONG))
        assert (found.entry.version, found.entry.schema_version) == (version, 3)
        assert json.loads(found.entry.value) == NEW
        assert (await _behind(daemon).row(f"{number}")).schema_version == 3


async def test_progress_is_told_after_each_page(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "PAGE", 2)
    for number in range(5):
        await stored(daemon, f"{number}", OLD, 1)

    replies = await told(daemon)

    assert [reply.state for reply in replies[:-1]] == [pb.COLLECTION_STATE_RUNNING] * (len(replies) - 1)
    assert [reply.scanned_count for reply in replies] == [2, 4, 5]
    assert {reply.total_count for reply in replies} == {5}


async def test_a_dry_run_changes_nothing_and_tells_what_would_fail(daemon: RunningDaemon) -> None:
    await stored(daemon, "a", OLD, 1)
    await stored(daemon, "b", b"no JSON", 1)

    *_, done = await told(daemon, dry_run=True)

    assert (done.migrated_count, done.failed_count, done.remaining_count) == (1, 1, 2)
    [failure] = done.failures
    assert (failure.key, "not JSON" in failure.message) == ("b", True)
    assert await _behind(daemon).schemas() == [1, 1]


async def test_to_an_older_schema_and_back(daemon: RunningDaemon) -> None:
    await stored(daemon, "a", NEW | {"three": 3}, 3)

    *_, down = await told(daemon, target_version=1)
    assert (down.target_version, down.migrated_count, await _behind(daemon).schemas()) == (1, 1, [1])
    *_, up = await told(daemon)
    assert (up.migrated_count, json.loads((await _behind(daemon).row("a")).value)) == (1, NEW | {"three": 3})


async def test_a_namespace_without_schemas_or_name_is_refused(daemon: RunningDaemon) -> None:
    for namespace, code, reason in (
        ("other", grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_NOT_CONFIGURED"),
        ("", grpc.StatusCode.INVALID_ARGUMENT, "NAMESPACE_INVALID"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await daemon.admin.Migrate(pb.MigrateRequest(namespace=namespace)).read()
        assert refusal_of(refused.value).told == (code, reason)


async def test_a_field_of_a_later_release_is_refused(daemon: RunningDaemon) -> None:
    newer = pb.MigrateRequest.FromString(b"\xca\x3e\x03new")

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await daemon.admin.Migrate(newer).read()

    assert refusal_of(refused.value).reason == "FIELD_UNKNOWN"


async def test_without_an_authority_it_is_passthrough(tmp_path: Path) -> None:
    nothing = {"hot": "none://", "warm": "none://", "cold": "none://"}
    async with running_daemon(tmp_path, tiers=nothing, namespaces=NAMESPACES) as daemon:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await daemon.admin.Migrate(pb.MigrateRequest(namespace=SPACE)).read()

    assert refusal_of(refused.value).reason == "PASSTHROUGH"


async def test_an_authority_that_is_away_is_unavailable_and_the_next_call_goes_on(
    daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "LEASE_MS", 100)
    await stored(daemon, "a", OLD, 1)
    switched = daemon.switch()
    switched.away()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await told(daemon)
    assert refusal_of(refused.value).reason == "AUTHORITY_UNAVAILABLE"

    switched.back()
    await daemon.healed()
    *_, done = await told(daemon)
    assert (done.migrated_count, done.remaining_count) == (1, 0)


async def test_a_service_without_schemas_refuses() -> None:
    service = AdminService(pb.GetStatusResponse)
    async with (
        serving(lambda server: add_AdminServiceServicer_to_server(service, server)) as target,
        grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await AdminServiceStub(channel).Migrate(pb.MigrateRequest(namespace=SPACE)).read()

    assert refusal_of(refused.value).reason == "SCHEMA_NOT_CONFIGURED"


# ---- its end before its end


@asynccontextmanager
async def in_mid_page(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A call whose first page of two is under way; it is let go with the block's end."""
    monkeypatch.setattr(migration, "PAGE", 2)
    for number in range(6):
        await stored(daemon, f"{number}", OLD, 1)
    reached, go_on = asyncio.Event(), asyncio.Event()
    relocate = daemon.warm.relocate

    async def held(write: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await relocate(write)

    monkeypatch.setattr(daemon.warm, "relocate", held)
    call = daemon.admin.Migrate(pb.MigrateRequest(namespace=SPACE))
    reading = asyncio.ensure_future(call.read())
    await reached.wait()
    try:
        yield call
    finally:
        go_on.set()
        await asyncio.wait({reading})
        admission = daemon.daemon._admission
        while admission.in_flight:  # noqa: ASYNC110  # a count that has no signal
            await asyncio.sleep(0)


async def test_a_caller_that_leaves_ends_it_after_the_page_and_another_goes_on(
    daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[migrating._Working[Any]] = []
    begin = migrating._Working.__init__

    def recorded(self: migrating._Working[Any], *arguments: Any) -> None:
        begin(self, *arguments)
        calls.append(self)

    monkeypatch.setattr(migrating._Working, "__init__", recorded)
    async with in_mid_page(daemon, monkeypatch) as call:
        call.cancel()
        await calls[0]._given_up.wait()
    schemas = await _behind(daemon).schemas()
    *_, done = await told(daemon)

    assert schemas == [3, 3, 1, 1, 1, 1]
    assert (done.migrated_count, done.remaining_count, await _behind(daemon).schemas()) == (4, 0, [3] * 6)


async def read_to_its_end(call: Any) -> None:
    """Raises what it ended with."""
    while await call.read() is not grpc.aio.EOF:
        pass
    await call


async def test_a_drain_ends_it_after_the_page(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_mid_page(daemon, monkeypatch) as call:
        draining = asyncio.create_task(daemon.daemon._admission.drain())
        await asyncio.sleep(0)
    await draining

    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await read_to_its_end(call)
    assert refusal_of(ended.value).reason == "DRAINING"
    assert await _behind(daemon).schemas() == [3, 3, 1, 1, 1, 1]


async def test_daemons_on_one_store_say_what_they_know_and_leave(tmp_path: Path) -> None:
    tiers = MEMORY | {"warm": f"sqlite://{tmp_path}/state.db"}
    async with running_daemon(tmp_path / "one", tiers=tiers, namespaces=NAMESPACES) as daemon:
        authority = daemon.warm.authority
        [row] = (await daemon.warm.ledger.scan(SCHEMAS, limit=10)).entries
        assert json.loads(row.value) == {SPACE: 3}
        assert daemon.daemon._engine.fleet.floor(SPACE) == 3
    async with running_daemon(tmp_path / "two", tiers=tiers) as daemon:
        authority = daemon.warm.authority
        page = await authority.scan(LEDGER, SCHEMAS, after=None, limit=10, bytes_max=1 << 20, keys_only=True)

    assert page.entries == ()
    assert not armed
