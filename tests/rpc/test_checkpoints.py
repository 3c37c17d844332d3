"""Checkpoint, GetCheckpoint, ListCheckpoints, DeleteCheckpoint, Restore over the real wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core import ledger as names
from sidecar.core.operations import Put, Write
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.statuses import refusal

NS = "shop"
PROCESS = "process"
MIB = 1 << 20


async def put(daemon: RunningDaemon, key: str, value: bytes, namespace: str = NS, **fields: Any) -> int:
    return int((await daemon.state.Set(pb.SetRequest(namespace=namespace, key=key, value=value, **fields))).version)


async def take(daemon: RunningDaemon, namespace: str = NS, **asked: Any) -> Any:
    return (await daemon.state.Checkpoint(pb.CheckpointRequest(namespace=namespace, **asked))).checkpoint


async def restore(daemon: RunningDaemon, namespace: str = NS, **asked: Any) -> Any:
    return await daemon.state.Restore(pb.RestoreRequest(namespace=namespace, **asked))


async def value(daemon: RunningDaemon, key: str, namespace: str = NS) -> bytes | None:
    request = pb.GetRequest(namespace=namespace, key=key)
    reply = await daemon.state.Get(request)
    return bytes(reply.entry.value) if reply.HasField("entry") else None


async def listed(daemon: RunningDaemon, namespace: str = NS, **asked: Any) -> list[Any]:
    request = pb.ListCheckpointsRequest(namespace=namespace, page_size=1_000, **asked)
    return list((await daemon.state.ListCheckpoints(request)).checkpoints)


async def test_a_key_is_kept_read_listed_restored_and_forgotten(daemon: RunningDaemon) -> None:
    await put(daemon, "k", b"one", content_type="x/y", schema_version=3, labels={"a": "b"})
    entry = (await daemon.state.Get(pb.GetRequest(namespace=NS, key="k"))).entry
    made = await take(daemon, key="k", label="first", metadata={"m": "n"})
    later = await put(daemon, "k", b"two")

    read = await daemon.state.GetCheckpoint(pb.GetCheckpointRequest(namespace=NS, checkpoint_id=made.checkpoint_id))
    restored = await restore(daemon, key="k", expected_version=later)

    assert (made.key, made.label, dict(made.metadata), made.entry_count) == ("k", "first", {"m": "n"}, 1)
    assert (made.value_bytes, made.automatic, made.parent_id) == (3, False, "")
    assert made.stored_bytes > 0
    assert made.create_time.seconds > 0
    assert read.checkpoint == made
    assert list(read.entries) == [entry]
    assert read.mode == restored.mode == types.SERVING_MODE_NORMAL
    assert restored.version > later
    [told] = restored.entries
    assert told == (await daemon.state.Get(pb.GetRequest(namespace=NS, key="k"))).entry
    assert (told.value, told.version, dict(told.labels)) == (b"one", restored.version, {"a": "b"})
    assert await listed(daemon, key="k") == await listed(daemon) == [made]

    request = pb.DeleteCheckpointRequest(namespace=NS, checkpoint_id=made.checkpoint_id)
    assert (await daemon.state.DeleteCheckpoint(request)).mode == types.SERVING_MODE_NORMAL
    refused = await refusal(daemon.state.DeleteCheckpoint(request))
    assert refused.told == (grpc.StatusCode.NOT_FOUND, "CHECKPOINT_NOT_FOUND")
    assert await listed(daemon) == []


async def test_a_prefix_is_restored_with_what_was_made_since_deleted(daemon: RunningDaemon) -> None:
    for key in ("p/1", "p/2", "q"):
        await put(daemon, key, key.encode())
    made = await take(daemon, key_prefix="p/")
    await put(daemon, "p/2", b"other")
    await put(daemon, "p/3", b"new")

    restored = await restore(daemon, key_prefix="p/")

    assert [entry.key for entry in restored.entries] == ["p/1", "p/2"]
    found = {entry.key: entry.value for entry in (await daemon.state.List(pb.ListRequest(namespace=NS))).entries}
    assert found == {"p/1": b"p/1", "p/2": b"p/2", "q": b"q"}
    assert await listed(daemon, key_prefix="p/") == [made]
    assert await listed(daemon, key_prefix="p") == []


async def test_concurrent_checkpoints_of_a_prefix_see_whole_transactions(daemon: RunningDaemon) -> None:
    keys = [f"p/{index}" for index in range(6)]
    for key in keys:
        await put(daemon, key, b"0")
    going = True

    async def write() -> None:
        number = 0
        while going:
            number += 1
            operations = [pb.TransactOperation(set=pb.SetRequest(key=key, value=b"%d" % number)) for key in keys]
            await daemon.state.Transact(pb.TransactRequest(namespace=NS, operations=operations))

    writers = [asyncio.create_task(write()) for _ in range(3)]
    made = [(await take(daemon, key_prefix="p/")).checkpoint_id for _ in range(15)]
    going = False
    await asyncio.gather(*writers)

    states = []
    for each in made:
        read = await daemon.state.GetCheckpoint(pb.GetCheckpointRequest(namespace=NS, checkpoint_id=each))
        states.append({bytes(entry.value) for entry in read.entries})
        assert len({entry.version for entry in read.entries} - {0}) <= (1 if states[-1] != {b"0"} else 6)
    assert all(len(state) == 1 for state in states)


async def test_every_fifth_update_of_a_process_has_one(daemon: RunningDaemon) -> None:
    """The preset `process`: exact with many writers, and the last twenty are kept."""

    async def append(writer: int) -> None:
        for _ in range(3):
            update = pb.UpdateRequest(namespace=PROCESS, key="plan", create=True)
            update.append.items.append(b"%d" % writer)
            await daemon.state.Update(update)

    await asyncio.gather(*[append(writer) for writer in range(20)])

    made = await listed(daemon, PROCESS, key="plan")
    assert len(made) == 12
    assert all(each.automatic for each in made)
    assert [each.parent_id for each in made] == [*[each.checkpoint_id for each in made[1:]], ""]
    final = (await value(daemon, "plan", PROCESS) or b"")[1:-1].split(b",")
    for number, each in enumerate(reversed(made), start=1):
        request = pb.GetCheckpointRequest(namespace=PROCESS, checkpoint_id=each.checkpoint_id)
        [entry] = (await daemon.state.GetCheckpoint(request)).entries
        assert entry.value[1:-1].split(b",") == final[: 5 * number]
        assert dict(entry.labels) == {}
    restored = await restore(daemon, PROCESS, checkpoint_id=made[-1].checkpoint_id)
    assert dict(restored.entries[0].labels) == {}
    assert await value(daemon, "plan", PROCESS) == b"[" + b",".join(final[:5]) + b"]"


async def test_pages_are_followed_by_their_tokens(daemon: RunningDaemon) -> None:
    await put(daemon, "k", b"x")
    made = [(await take(daemon, key="k")).checkpoint_id for _ in range(5)][::-1]

    found, request = [], pb.ListCheckpointsRequest(namespace=NS, key="k", page_size=2)
    while True:
        page = await daemon.state.ListCheckpoints(request)
        found += [each.checkpoint_id for each in page.checkpoints]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break

    assert found == made


async def test_a_request_id_answers_what_it_did(daemon: RunningDaemon) -> None:
    await put(daemon, "k", b"one")
    made = await take(daemon, key="k", request_id="r1")
    restored = await restore(daemon, key="k", request_id="r2")
    await put(daemon, "k", b"two")
    await take(daemon, key="k")

    assert await take(daemon, key="k", request_id="r1") == made
    again = await restore(daemon, key="k", request_id="r2")
    assert (again.version, again.entries[0].value) == (restored.version, b"one")
    assert await value(daemon, "k") == b"two"
    refused = await refusal(restore(daemon, key="k", request_id="r2", expected_version=1))
    assert refused.told == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


@pytest.fixture
async def small_messages(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    limits = {"message_bytes_max": 1 * MIB}
    namespaces = {NS: {"value_bytes_max": MIB // 2}}
    async with running_daemon(tmp_path, limits=limits, namespaces=namespaces) as running:
        yield running


async def test_what_fits_no_message_is_refused_when_read_and_restored_without_values(
    small_messages: RunningDaemon,
) -> None:
    for index in range(4):
        await put(small_messages, f"p/{index}", b"%d" % index * (MIB // 2 - 10))
    made = await take(small_messages, key_prefix="p/")

    request = pb.GetCheckpointRequest(namespace=NS, checkpoint_id=made.checkpoint_id)
    refused = await refusal(small_messages.state.GetCheckpoint(request))
    await put(small_messages, "p/3", b"")
    restored = await restore(small_messages, checkpoint_id=made.checkpoint_id)

    assert refused.told == (grpc.StatusCode.INVALID_ARGUMENT, "RESPONSE_TOO_LARGE")
    assert [(entry.key, entry.value) for entry in restored.entries] == [(f"p/{index}", b"") for index in range(4)]
    assert await value(small_messages, "p/3") == b"3" * (MIB // 2 - 10)


async def test_a_corrupt_one_is_data_loss(volatile: RunningDaemon) -> None:
    await put(volatile, "k", b"one")
    made = await take(volatile, key="k")
    page = await volatile.warm.ledger.scan(names.CONTENTS, limit=10)
    spoilt = Put(key=page.entries[0].key, value=page.entries[0].value[:-1] + b"?")
    await volatile.warm.authority.commit(Write(namespace=names.LEDGER, operations=(spoilt,), value_bytes_max=MIB))
    volatile.daemon._engine.checkpoints._homes.clear()

    for call in (
        volatile.state.GetCheckpoint(pb.GetCheckpointRequest(namespace=NS, checkpoint_id=made.checkpoint_id)),
        restore(volatile, checkpoint_id=made.checkpoint_id),
    ):
        refused = await refusal(call)
        assert refused.told == (grpc.StatusCode.DATA_LOSS, "CHECKPOINT_CORRUPT")


async def test_in_an_outage_all_of_them_are_unavailable(volatile: RunningDaemon) -> None:
    """Also where the namespace passes through: nothing is discarded, and nothing is told as missing."""
    await put(volatile, "k", b"one")
    made = (await take(volatile, key="k")).checkpoint_id
    volatile.switch().away()

    for call in (
        take(volatile, key="k"),
        take(volatile, key_prefix="k"),
        volatile.state.GetCheckpoint(pb.GetCheckpointRequest(namespace=NS, checkpoint_id=made)),
        volatile.state.ListCheckpoints(pb.ListCheckpointsRequest(namespace=NS)),
        volatile.state.ListCheckpoints(pb.ListCheckpointsRequest(namespace=NS, key="k")),
        volatile.state.DeleteCheckpoint(pb.DeleteCheckpointRequest(namespace=NS, checkpoint_id=made)),
        restore(volatile, checkpoint_id=made),
        restore(volatile, key="k", request_id="r"),
    ):
        refused = await refusal(call)
        assert refused.told == (grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE")
        assert refused.retry is not None


async def test_a_namespace_of_the_hot_tier_has_those_that_are_asked_for(volatile: RunningDaemon) -> None:
    await put(volatile, "k", b"one", "system")
    made = await take(volatile, "system", key="k")
    await put(volatile, "k", b"two", "system")

    await restore(volatile, "system", checkpoint_id=made.checkpoint_id)

    assert await value(volatile, "k", "system") == b"one"


async def test_the_ledger_is_no_namespace(volatile: RunningDaemon) -> None:
    for call in (take(volatile, names.LEDGER, key="secret"), listed(volatile, names.LEDGER)):
        refused = await refusal(call)
        assert refused.reason == "NAMESPACE_INVALID"
