"""Nothing of a tenant reaches another one: by no RPC, under no name that looks alike, by no id or token of the other's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.rpc.access.methods import METHODS as KNOWN
from sidecar.rpc.access.methods import Scope
from statesidecar.v1 import admin_service_pb2 as admin
from statesidecar.v1 import outbox_service_pb2 as outbox
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.security.callers import ALL, METHODS, Told, bearer, call, request_for, token_of, write_tokens
from tests.support.daemon import WARM_TIERS, RunningDaemon, running_daemon

CANARY = b"canary-of-b"
TEXT = CANARY.decode()
MINE, YOURS = "tenant-a", "tenant-b"
OTHERS = (
    *(YOURS, "", "*", "tenant-*", "tenant-", "tenant", "tenant-a2", "tenant-A", "Tenant-a", "TENANT-A", "tenant-a*"),
    *(" tenant-a", "tenant-a ", "tenant-a/", "/tenant-a", "tenant-a\n", "tenant-a\0", "tenant-a\0b", "tenant\u2010a"),
    *(
        "tenant-a\u200b",
        "t\u0435nant-a",
        "\uff54enant-a",
        "tenant-a\u0301",
        "tenant%2Da",
        "tenant-a,tenant-b",
        "./tenant-a",
    ),
    *("../tenant-a", "shared", "Shared-x", "x-shared-", "tenant-a" * 20, "\U0001f600"),
)
A, B = bearer(token_of("a")), bearer(token_of("b"))
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "NAMESPACE_DENIED")
OK = grpc.StatusCode.OK
ID = "0123456789abcdef"


@pytest.fixture(params=list(WARM_TIERS))
async def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """Tenants `a` and `b`, each of whom may everything in their own namespaces."""
    auth = {
        "tokens": write_tokens(tmp_path / "tokens", "a", "b"),
        "identities": {
            "a": {"namespaces": [MINE, "shared-*"], "methods": ALL},
            "b": {"namespaces": [YOURS, "shared-*"], "methods": ALL},
        },
    }
    async with running_daemon(tmp_path / "data", auth=auth, tiers=WARM_TIERS[request.param]) as running:
        yield running


@pytest.fixture
async def checkpoint_id(daemon: RunningDaemon) -> str:
    """What tenant `b` has, and the id of its checkpoint: entries, labels, a message, a request id."""
    message = types.OutboxMessage(topic=f"topic-{TEXT}", payload=CANARY, attributes={"name": TEXT})
    for key in (f"key-{TEXT}", "key"):
        await daemon.state.Set(
            pb.SetRequest(
                namespace=YOURS,
                key=key,
                value=CANARY,
                labels={"label": TEXT},
                request_id=f"{ID}-{key}",
                outbox=[message],
            ),
            metadata=B,
        )
    request = pb.CheckpointRequest(namespace=YOURS, key="key", label=TEXT, metadata={"name": TEXT}, request_id=ID)
    made = await daemon.state.Checkpoint(request, metadata=B)
    return str(made.checkpoint.checkpoint_id)


async def tried(daemon: RunningDaemon, path: str, request: Any, *, responses_max: int = 3) -> Told:
    """What `a` is told; nothing of `b`, whatever it is."""
    told = await call(daemon.channel, path, [request], A, responses_max=responses_max, timeout_s=3)
    assert CANARY not in told.everything, path
    return told


async def test_no_rpc_reaches_a_namespace_of_another(daemon: RunningDaemon, checkpoint_id: str) -> None:
    """Every method that names a namespace, and every name that could be taken for one's own."""
    named = [path for path in METHODS if KNOWN[path[1:]].scope is Scope.NAMESPACE]
    assert len(named) >= 20
    for path in named:
        for namespace in OTHERS:
            request = request_for(METHODS[path], namespace=namespace, key="key", all=True, checkpoint_id=checkpoint_id)
            told = await tried(daemon, path, request)
            assert not told.responses, (path, namespace)
            assert (told.code, told.reason) == DENIED, (path, namespace)


async def test_what_tells_of_all_namespaces_is_for_who_may_all(daemon: RunningDaemon, checkpoint_id: str) -> None:
    for name in ("GetStatus", "CollectGarbage"):
        path = f"/statesidecar.v1.AdminService/{name}"
        told = await tried(daemon, path, request_for(METHODS[path]))
        assert (told.code, told.reason) == DENIED, name


async def test_every_answer_in_ones_own_namespace_holds_nothing_of_another(
    daemon: RunningDaemon, checkpoint_id: str
) -> None:
    """With the keys, prefixes, ids and request ids of the other: what there is of them here is one's own, or nothing."""
    state = "/statesidecar.v1.StateService/"
    for path, method in METHODS.items():
        scope = KNOWN[path[1:]].scope
        request = request_for(method, namespace=MINE, key="key", checkpoint_id=checkpoint_id, request_id=f"{ID}-key")
        if scope is Scope.NAMESPACE and "Watch" not in path:
            await tried(daemon, path, request)
    for request in (
        pb.ListRequest(namespace=MINE),
        pb.ListRequest(namespace=MINE, key_prefix="key"),
        pb.ListRequest(namespace=MINE, key_prefix=f"\0{YOURS}"),
    ):
        listed = pb.ListResponse.FromString((await tried(daemon, f"{state}List", request)).responses[0])
        assert {entry.namespace for entry in listed.entries} <= {MINE}
    assert (await tried(daemon, f"{state}ListCheckpoints", pb.ListCheckpointsRequest(namespace=MINE))).code is OK
    for name, kind in (
        ("GetCheckpoint", pb.GetCheckpointRequest),
        ("DeleteCheckpoint", pb.DeleteCheckpointRequest),
        ("Restore", pb.RestoreRequest),
    ):
        told = await tried(daemon, state + name, kind(namespace=MINE, checkpoint_id=checkpoint_id))
        assert told.code is grpc.StatusCode.NOT_FOUND, name

    found = await daemon.state.GetCheckpoint(
        pb.GetCheckpointRequest(namespace=YOURS, checkpoint_id=checkpoint_id), metadata=B
    )
    assert found.entries[0].value == CANARY


async def test_request_ids_and_parents_are_of_their_namespace(daemon: RunningDaemon, checkpoint_id: str) -> None:
    """The id of another's write is a free one here: neither refused as used, nor answered as theirs was."""
    request = pb.SetRequest(namespace=MINE, key="key", value=b"mine", request_id=f"{ID}-key")
    told = await daemon.state.Set(request, metadata=A)
    read = await daemon.state.Get(pb.GetRequest(namespace=MINE, key="key"), metadata=A)
    assert (read.entry.value, read.entry.version) == (b"mine", told.version)

    continued = pb.CheckpointRequest(namespace=MINE, key="key", parent_id=checkpoint_id, request_id=ID)
    told = await tried(daemon, "/statesidecar.v1.StateService/Checkpoint", continued)
    if told.code is OK:
        made = pb.CheckpointResponse.FromString(told.responses[0]).checkpoint
        assert (made.checkpoint_id != checkpoint_id, made.entry_count, made.value_bytes) == (True, 1, len(b"mine"))


async def test_page_and_resume_tokens_are_of_their_namespace(daemon: RunningDaemon, checkpoint_id: str) -> None:
    page = await daemon.state.List(pb.ListRequest(namespace=YOURS, page_size=1), metadata=B)
    assert page.next_page_token
    request = pb.ListRequest(namespace=MINE, page_size=1, page_token=page.next_page_token)
    assert (await tried(daemon, "/statesidecar.v1.StateService/List", request)).code is grpc.StatusCode.INVALID_ARGUMENT

    watch = daemon.state.Watch(pb.WatchRequest(namespace=YOURS, all=True), metadata=B)
    bookmark = await watch.read()
    await daemon.state.Set(pb.SetRequest(namespace=YOURS, key=f"later-{TEXT}", value=CANARY), metadata=B)
    watch.cancel()
    resumed = pb.WatchRequest(namespace=MINE, all=True, resume_token=bookmark.resume_token, include_value=True)
    told = await tried(daemon, "/statesidecar.v1.StateService/Watch", resumed)
    assert (told.code, told.responses) == (grpc.StatusCode.INVALID_ARGUMENT, [])


async def test_a_watch_and_a_consumer_hear_only_of_their_own(daemon: RunningDaemon, checkpoint_id: str) -> None:
    watch = daemon.state.Watch(pb.WatchRequest(namespace=MINE, all=True, include_value=True, snapshot=True), metadata=A)
    consume = daemon.outbox.Consume(metadata=A)
    await consume.write(outbox.ConsumeRequest(namespace=MINE))
    for namespace, metadata, value in ((YOURS, B, CANARY), (MINE, A, b"mine")):
        message = types.OutboxMessage(topic="topic", payload=value)
        request = pb.SetRequest(namespace=namespace, key="later", value=value, outbox=[message])
        await daemon.state.Set(request, metadata=metadata)

    heard = await consume.read()
    assert [one.message.payload for one in heard.messages] == [b"mine"]
    event = await watch.read()
    while not event.HasField("event"):
        event = await watch.read()
    assert event.event.entry.value == b"mine"


async def test_a_consumer_that_has_begun_cannot_go_over_to_another_namespace(daemon: RunningDaemon) -> None:
    requests = [outbox.ConsumeRequest(namespace=MINE), outbox.ConsumeRequest(namespace=YOURS)]
    told = await call(daemon.channel, "/statesidecar.v1.OutboxService/Consume", requests, A)

    assert told.responses == []
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_transaction_has_one_namespace(daemon: RunningDaemon, checkpoint_id: str) -> None:
    operations = [
        pb.TransactOperation(set=pb.SetRequest(namespace=YOURS, key="key", value=b"theirs")),
        pb.TransactOperation(cas=pb.CASRequest(namespace=YOURS, key="key", value=b"theirs")),
        pb.TransactOperation(delete=pb.DeleteRequest(namespace=YOURS, key="key")),
        pb.TransactOperation(update=pb.UpdateRequest(namespace=YOURS, key="key", merge_patch=b"{}")),
    ]
    for operation in operations:
        request = pb.TransactRequest(namespace=MINE, operations=[operation])
        told = await tried(daemon, "/statesidecar.v1.StateService/Transact", request)
        assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    left = await daemon.state.Get(pb.GetRequest(namespace=YOURS, key="key"), metadata=B)
    assert left.entry.value == CANARY


async def test_a_rule_with_a_star_is_of_what_begins_so(daemon: RunningDaemon) -> None:
    for namespace in ("shared-", "shared-x", "shared-*"):
        await daemon.state.Set(pb.SetRequest(namespace=namespace, key="key", value=b"ours"), metadata=A)
        assert (
            await daemon.state.Get(pb.GetRequest(namespace=namespace, key="key"), metadata=B)
        ).entry.value == b"ours"


async def test_status_tells_names_of_namespaces_only_to_who_may_all(tmp_path: Path) -> None:
    auth = {
        "tokens": write_tokens(tmp_path / "tokens", "operator"),
        "identities": {"operator": {"namespaces": ["*"], "methods": ["statesidecar.v1.AdminService/GetStatus"]}},
    }
    async with running_daemon(tmp_path / "data", auth=auth) as daemon:
        operator = bearer(token_of("operator"))
        assert (await daemon.admin.GetStatus(admin.GetStatusRequest(), metadata=operator)).daemon_version
        told = await call(
            daemon.channel, "/statesidecar.v1.StateService/Get", [pb.GetRequest(namespace=YOURS, key="key")], operator
        )
        assert told.reason == "METHOD_DENIED"
