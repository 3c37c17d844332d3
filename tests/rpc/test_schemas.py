"""Schemas over real gRPC: every RPC that reads or writes values, in the caller's schema."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core.ledger import SCHEMAS
from sidecar.core.operations import Put
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.support.daemon import WARM_TIERS, RunningDaemon, running_daemon
from tests.support.statuses import refusal
from tests.unit.schemas_support import OPERATIONS, SPACE

NAMESPACES = {SPACE: {"schema": {"version": 3, "migrations": [{"up": declared} for declared in OPERATIONS]}}}
NEW = {"person": {"name": "Ann"}, "two": 22, "three": 33}
FORMS: dict[int, Any] = {
    1: {"name": "Ann"},
    2: {"full_name": "Ann", "two": 22},
    3: NEW,
}
JSON = "application/json"


@pytest.fixture(params=list(WARM_TIERS))
async def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """Beside another, that knows schema 1 only: values are stored in that."""
    async with running_daemon(tmp_path, tiers=WARM_TIERS[request.param], namespaces=NAMESPACES) as running:
        await other_knows(running, 1)
        yield running


async def other_knows(daemon: RunningDaemon, version: int) -> None:
    row = Put(key=f"{SCHEMAS}other", value=json.dumps({SPACE: version}).encode())
    await daemon.warm.ledger.commit([row])
    await daemon.daemon._engine.fleet.look()
    assert daemon.daemon._engine.fleet.floor(SPACE) == version


def text(document: Any) -> bytes:
    return json.dumps(document).encode()


async def set_(daemon: RunningDaemon, document: Any, schema: int, key: str = "key", **fields: Any) -> int:
    request = pb.SetRequest(
        namespace=SPACE, key=key, value=text(document), schema_version=schema, content_type=JSON, **fields
    )
    version: int = (await daemon.state.Set(request)).version
    return version


async def get(daemon: RunningDaemon, maximum: int = 0, key: str = "key", **fields: Any) -> types_pb2.Entry:
    request = pb.GetRequest(namespace=SPACE, key=key, max_schema_version=maximum, **fields)
    entry: types_pb2.Entry = (await daemon.state.Get(request)).entry
    return entry


async def test_every_read_is_in_the_readers_schema(daemon: RunningDaemon) -> None:
    version = await set_(daemon, NEW, 3, labels={"color": "red"})

    row = await daemon.warm.authority.get(SPACE, ["key"])
    assert [copy.schema_version for copy in row if copy] == [1]  # type: ignore[union-attr]  # an entry
    for maximum in (1, 2, 3, 0, 9):
        level = maximum if maximum in FORMS else 3
        [batch] = (
            await daemon.state.BatchGet(pb.BatchGetRequest(namespace=SPACE, keys=["key"], max_schema_version=maximum))
        ).results
        [listed] = (await daemon.state.List(pb.ListRequest(namespace=SPACE, max_schema_version=maximum))).entries
        strong = await get(daemon, maximum, consistency=types_pb2.CONSISTENCY_STRONG)
        for entry in (await get(daemon, maximum), strong, batch.entry, listed):
            assert (entry.schema_version, json.loads(entry.value)) == (level, FORMS[level])
            assert (entry.version, dict(entry.labels)) == (version, {"color": "red"})


async def test_every_write_keeps_what_it_does_not_know(daemon: RunningDaemon) -> None:
    first = await set_(daemon, NEW, 3)
    cas = pb.CASRequest(
        namespace=SPACE,
        key="key",
        value=text({"name": "Eve"}),
        schema_version=1,
        expected_version=first,
        content_type=JSON,
    )
    won = await daemon.state.CAS(cas)
    assert json.loads((await get(daemon)).value) == {**NEW, "person": {"name": "Eve"}}
    lost = await refusal(daemon.state.CAS(cas))
    assert (lost.code, lost.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")

    update = pb.UpdateRequest(
        namespace=SPACE, key="key", merge_patch=b'{"full_name":"Joe"}', schema_version=2, return_value=True
    )
    updated = await daemon.state.Update(update)
    assert json.loads(updated.value) == {"full_name": "Joe", "two": 22}
    assert updated.version > won.version
    newest = await daemon.state.Update(
        pb.UpdateRequest(namespace=SPACE, key="key", merge_patch=b'{"three":4}', return_value=True)
    )
    assert json.loads(newest.value) == {"person": {"name": "Joe"}, "two": 22, "three": 4}

    transaction = pb.TransactRequest(
        namespace=SPACE,
        operations=[
            pb.TransactOperation(set=pb.SetRequest(key="key", value=text({"name": "Kim"}), schema_version=1)),
            pb.TransactOperation(update=pb.UpdateRequest(key="list", append=pb.Append(items=[b"1"]), create=True)),
        ],
        request_id="t",
    )
    done = await daemon.state.Transact(transaction)
    assert (await daemon.state.Transact(transaction)) == done
    assert json.loads((await get(daemon)).value) == {"person": {"name": "Kim"}, "two": 22, "three": 4}
    assert (await get(daemon, 1, "list")).schema_version == 1


async def test_values_follow_when_all_know_more(daemon: RunningDaemon) -> None:
    version = await set_(daemon, NEW, 3)
    await other_knows(daemon, 2)
    await get(daemon)
    await daemon.followups_done()

    [row] = await daemon.warm.authority.get(SPACE, ["key"])
    assert row is not None
    assert (row.version, row.schema_version) == (version, 2)  # type: ignore[union-attr]  # an entry
    assert json.loads((await get(daemon)).value) == NEW


async def test_refusals_name_what_is_too_new_and_which_step_failed(daemon: RunningDaemon) -> None:
    write = pb.SetRequest(namespace=SPACE, key="key", value=b"{}", schema_version=4)
    refused = await refusal(daemon.state.Set(write))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_TOO_NEW")
    assert (refused.info.metadata["schema_version"], refused.info.metadata["max_schema_version"]) == ("4", "3")

    failed = await refusal(
        daemon.state.Set(pb.SetRequest(namespace=SPACE, key="key", value=b"no json", schema_version=3))
    )
    assert (failed.code, failed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_STEP_FAILED")
    await daemon.state.Set(pb.SetRequest(namespace="other", key="key", value=b"no json", schema_version=5))
    request = pb.GetRequest(namespace="other", key="key")
    assert (await daemon.state.Get(request)).entry.schema_version == 5
    for call in (
        daemon.state.Get(pb.GetRequest(namespace="other", key="key", max_schema_version=4)),
        daemon.state.BatchGet(pb.BatchGetRequest(namespace="other", keys=["key"], max_schema_version=4)),
        daemon.state.List(pb.ListRequest(namespace="other", max_schema_version=4)),
    ):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_TOO_NEW")
        assert refused.info.metadata["key"] == "key"


async def test_checkpoints_are_shown_in_the_newest_schema(daemon: RunningDaemon) -> None:
    await set_(daemon, NEW, 3)
    made = (await daemon.state.Checkpoint(pb.CheckpointRequest(namespace=SPACE, key="key"))).checkpoint
    await set_(daemon, {"name": "Eve"}, 1)
    await daemon.state.Update(pb.UpdateRequest(namespace=SPACE, key="key", merge_patch=b'{"three":null}'))

    request = pb.GetCheckpointRequest(namespace=SPACE, checkpoint_id=made.checkpoint_id)
    [kept] = (await daemon.state.GetCheckpoint(request)).entries
    [restored] = (await daemon.state.Restore(pb.RestoreRequest(namespace=SPACE, key="key"))).entries
    for entry in (kept, restored, await get(daemon)):
        assert (entry.schema_version, json.loads(entry.value), dict(entry.labels)) == (3, NEW, {})


async def test_a_watcher_is_told_values_in_its_schema(daemon: RunningDaemon) -> None:
    await set_(daemon, NEW, 3)
    request = pb.WatchRequest(namespace=SPACE, key="key", include_value=True, snapshot=True, max_schema_version=2)
    watch = daemon.state.Watch(request)
    told = [reply.event.entry async for reply in upto(watch, snapshot=True) if reply.HasField("event")]
    await set_(daemon, {"name": "Eve"}, 1)
    told += [reply.event.entry async for reply in upto(watch, snapshot=False) if reply.HasField("event")]
    watch.cancel()

    assert [(entry.schema_version, json.loads(entry.value)) for entry in told] == [
        (2, FORMS[2]),
        (2, {"full_name": "Eve", "two": 22}),
    ]
    await daemon.state.Set(pb.SetRequest(namespace="other", key="key", value=b"", schema_version=5))
    too_old = pb.WatchRequest(namespace="other", all=True, include_value=True, snapshot=True, max_schema_version=4)
    refused = await refusal(daemon.state.Watch(too_old).read())
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_TOO_NEW")


async def upto(watch: Any, *, snapshot: bool) -> AsyncIterator[pb.WatchResponse]:
    """Its responses, to the end of the snapshot or to the first event."""
    while True:
        reply = await watch.read()
        yield reply
        if reply.snapshot_complete if snapshot else reply.HasField("event"):
            return
