"""A stream of calls is no way around the gate: each call is checked, counted, and told, as if it came alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.rpc.access import methods as known
from sidecar.rpc.connect.calls import CARRIED
from statesidecar.v1 import state_service_pb2 as pb
from tests.security.callers import ALL, METHODS, bearer, request_for, token_of, write_tokens
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.frames import frames, told

MINE, YOURS = "tenant-a", "tenant-b"
CANARY = b"canary-of-b"
DENIED, UNKNOWN = grpc.StatusCode.PERMISSION_DENIED.value[0], grpc.StatusCode.UNAUTHENTICATED.value[0]
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
A, B, READER, NOBODY = (bearer(token_of(name)) for name in ("a", "b", "reader", "nobody"))


@asynccontextmanager
async def served(path: Path, quota: dict[str, float] | None = None) -> AsyncIterator[RunningDaemon]:
    """Tenants `a`, who has the quota, and `b`; a `reader` of a's, and `nobody`, who has a token and no rule."""
    auth = {
        "tokens": write_tokens(path / "tokens", "a", "b", "reader", "nobody"),
        "identities": {
            "a": {"namespaces": [MINE], "methods": ALL, **({"quota": quota} if quota else {})},
            "b": {"namespaces": [YOURS], "methods": ALL},
            "reader": {"namespaces": [MINE], "methods": ["statesidecar.v1.StateService/Get"]},
        },
    }
    async with running_daemon(path / "data", auth=auth, audit={"file": str(path / "audit")}) as running:
        yield running


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    async with served(tmp_path) as running:
        yield running


def requests(namespace: str, **given: str) -> list[Any]:
    """One of every call that a stream carries."""
    wanted = {"namespace": namespace, "key": "key", "keys": ["key"], **given}
    return [request_for(METHODS[f"/statesidecar.v1.StateService/{rpc}"], **wanted) for rpc in CARRIED.values()]


def get(namespace: str) -> pb.GetRequest:
    return pb.GetRequest(namespace=namespace, key="key")


def events(path: Path) -> list[dict[str, Any]]:
    """What was audited. The file is written by the time a daemon has stopped."""
    return [json.loads(line) for line in (path / "audit").read_text().splitlines()]


def test_the_stream_is_opened_by_whoever_may_make_one_of_its_calls() -> None:
    assert {f"statesidecar.v1.StateService/{rpc}" for rpc in CARRIED.values()} == known.CARRIED
    for name in known.METHODS:
        assert (known.CONNECT in known.of_rule(name)) == (name in known.CARRIED or name == known.CONNECT), name


async def test_no_call_reaches_another_tenants_namespace(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace=YOURS, key="key", value=CANARY), metadata=B)
    kept = await daemon.state.Checkpoint(pb.CheckpointRequest(namespace=YOURS, key="key"), metadata=B)
    for namespace in (YOURS, "", "tenant-", "tenant-a/", "*"):
        async with frames(daemon.state, A) as caller:
            answers = await caller.ask(*requests(namespace, checkpoint_id=kept.checkpoint.checkpoint_id))
            assert [told(answer) for answer in answers] == [(DENIED, "NAMESPACE_DENIED")] * len(CARRIED)
            assert all(CANARY not in frame.SerializeToString() for frame in caller.frames)

    assert (await daemon.state.Get(get(YOURS), metadata=B)).entry.value == CANARY


async def test_a_call_may_what_its_rpc_may(daemon: RunningDaemon) -> None:
    async with frames(daemon.state, READER) as caller:
        answers = await caller.ask(*requests(MINE))
    for rpc, answer in zip(CARRIED.values(), answers, strict=True):
        if rpc == "Get":
            assert isinstance(answer, pb.GetResponse)
        else:
            assert told(answer) == (DENIED, "METHOD_DENIED"), rpc


async def test_reads_of_a_frame_are_refused_one_by_one(daemon: RunningDaemon) -> None:
    async with frames(daemon.state, A) as caller:
        answers = await caller.ask(get(MINE), get(YOURS), get(MINE))
    assert isinstance(answers[0], pb.GetResponse)
    assert told(answers[1]) == (DENIED, "NAMESPACE_DENIED")
    assert isinstance(answers[2], pb.GetResponse)


@pytest.mark.parametrize(
    ("metadata", "code"),
    [((), grpc.StatusCode.UNAUTHENTICATED), (NOBODY, grpc.StatusCode.PERMISSION_DENIED)],
    ids=["no token", "no rule"],
)
async def test_who_may_nothing_has_no_stream(daemon: RunningDaemon, metadata: Any, code: grpc.StatusCode) -> None:
    async with frames(daemon.state, metadata) as caller:
        assert await caller.end() is code
        assert not caller.results


async def test_a_token_that_is_taken_back_ends_what_its_stream_may(tmp_path: Path) -> None:
    async with served(tmp_path) as daemon, frames(daemon.state, A) as caller:
        [answer] = await caller.ask(get(MINE))
        assert isinstance(answer, pb.GetResponse)
        write_tokens(tmp_path / "tokens", "b")
        async with asyncio.timeout(20):
            while isinstance(answer, pb.GetResponse):  # the file is looked at once a second
                [answer] = await caller.ask(get(MINE))
        [written] = await caller.ask(pb.SetRequest(namespace=MINE, key="key"))
    assert [told(one) for one in (answer, written)] == [(UNKNOWN, "TOKEN_INVALID")] * 2


async def test_each_call_counts_for_the_quota(tmp_path: Path) -> None:
    async with served(tmp_path, quota={"ops_per_s": 0.01}) as daemon, frames(daemon.state, A) as caller:
        answers = await caller.ask(get(MINE), pb.SetRequest(namespace=MINE, key="key"))
    # The stream was the one call that there was.
    assert [told(answer) for answer in answers] == [(EXHAUSTED, "QUOTA_EXCEEDED")] * 2


async def test_bytes_of_calls_count_for_the_quota(tmp_path: Path) -> None:
    async with served(tmp_path, quota={"bytes_per_s": 1000}) as daemon, frames(daemon.state, A) as caller:
        [answer] = await caller.ask(pb.SetRequest(namespace=MINE, key="key", value=b"x" * 100_000))
        assert answer.version
        [answer] = await caller.ask(get(MINE))
    assert told(answer) == (EXHAUSTED, "QUOTA_EXCEEDED")


async def test_what_calls_do_is_audited_as_of_their_rpcs(tmp_path: Path) -> None:
    async with served(tmp_path) as daemon:
        await daemon.state.Set(pb.SetRequest(namespace=MINE, key="key", value=b"v"), metadata=A)
        await daemon.state.Checkpoint(pb.CheckpointRequest(namespace=MINE, key="key"), metadata=A)
        async with frames(daemon.state, A) as caller:
            restore = pb.RestoreRequest(namespace=MINE, key="key")
            restored, *_ = await caller.ask(restore, get(YOURS), pb.ListRequest(namespace=YOURS))
            assert isinstance(restored, pb.RestoreResponse)

    seen = [
        (event["kind"], event["identity"], event["method"].rpartition("/")[2], event["outcome"])
        for event in events(tmp_path)
        if "identity" in event  # else the log says something of itself
    ]
    assert sorted(seen) == [
        ("denied", "a", "Get", "permission_denied"),
        ("denied", "a", "List", "permission_denied"),
        ("restore", "a", "Restore", "ok"),
    ]
