"""What the gate tells: each refusal once, and the calls that a review asks for; and how it counts for quotas."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core.audit import AuditKind
from sidecar.rpc.access.methods import METHODS as KNOWN
from statesidecar.v1 import admin_service_pb2 as admin
from statesidecar.v1 import outbox_service_pb2 as outbox
from statesidecar.v1 import state_service_pb2 as pb
from tests.security.callers import ALL, METHODS, bearer, call, request_for, token_of, write_tokens
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.statuses import refusal

STATE, ADMIN = "statesidecar.v1.StateService", "statesidecar.v1.AdminService"
QUOTA = (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
APP = bearer(token_of("app"))


@asynccontextmanager
async def served(tmp_path: Path, *, known: bool = True, **rule: Any) -> AsyncIterator[RunningDaemon]:
    """A daemon with an audit log, which is whole when the block ends. `known`: whether callers are told apart."""
    auth = {
        "tokens": write_tokens(tmp_path / "tokens", "app", "nobody"),
        "identities": {"app": {"namespaces": ["*"], "methods": ALL} | rule},
    }
    audit = {"file": str(tmp_path / "audit.jsonl")}
    async with running_daemon(tmp_path / "data", audit=audit, auth=auth if known else {}) as daemon:
        yield daemon


def written(tmp_path: Path) -> list[dict[str, Any]]:
    """What was audited, without what the log says of itself."""
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    fields = ("kind", "identity", "method", "namespace", "outcome", "reason")
    return [
        {name: line[name] for name in fields if name in line} for line in lines if line.get("kind") in set(AuditKind)
    ]


async def test_every_refusal_is_told_once(tmp_path: Path) -> None:
    get = f"{STATE}/Get"
    request = pb.GetRequest(namespace="theirs", key="secret-key")
    async with served(tmp_path, namespaces=["shop"]) as daemon:
        for metadata in (None, bearer("secret-token-0123"), bearer(token_of("nobody")), APP):
            await call(daemon.channel, f"/{get}", [request], metadata)
        await call(daemon.channel, "/no.Service/Such", [request], APP)
        consumed = [outbox.ConsumeRequest(namespace="theirs"), outbox.ConsumeRequest()]
        await call(daemon.channel, "/statesidecar.v1.OutboxService/Consume", consumed, APP)
        await daemon.state.Get(pb.GetRequest(namespace="shop", key="key"), metadata=APP)

    denied = {"kind": "denied", "outcome": "permission_denied"}
    unknown = {"kind": "denied", "method": get, "outcome": "unauthenticated"}
    assert written(tmp_path) == [
        unknown | {"reason": "TOKEN_MISSING"},
        unknown | {"reason": "TOKEN_INVALID"},
        denied | {"identity": "nobody", "method": get, "reason": "METHOD_DENIED"},
        denied | {"identity": "app", "method": get, "namespace": "theirs", "reason": "NAMESPACE_DENIED"},
        denied | {"identity": "app", "method": "no.Service/Such", "reason": "METHOD_DENIED"},
        denied
        | {
            "identity": "app",
            "method": "statesidecar.v1.OutboxService/Consume",
            "namespace": "theirs",
            "reason": "NAMESPACE_DENIED",
        },
    ]
    assert "secret" not in (tmp_path / "audit.jsonl").read_text()


@pytest.mark.parametrize("known", [True, False])
async def test_what_a_review_asks_for_is_told_with_and_without_identities(tmp_path: Path, known: bool) -> None:
    audited = {path: KNOWN[path[1:]].audited for path in METHODS if KNOWN[path[1:]].audited is not None}
    async with served(tmp_path, known=known) as daemon:
        for path in audited:
            request = request_for(METHODS[path], namespace="shop", key="key", all=True)
            await call(daemon.channel, path, [request], APP if known else None)
        await daemon.admin.GetStatus(admin.GetStatusRequest(), metadata=APP if known else None)
        await daemon.state.Get(pb.GetRequest(namespace="shop", key="key"), metadata=APP if known else None)

    told = {event["method"]: event for event in written(tmp_path)}
    assert {f"/{method}": event["kind"] for method, event in told.items()} == audited
    assert {event.get("identity", "") for event in told.values()} == {"app" if known else ""}
    assert told[f"{STATE}/Restore"]["outcome"] == "not_found"
    assert told[f"{STATE}/Restore"]["namespace"] == "shop"
    assert told[f"{ADMIN}/CollectGarbage"]["outcome"] == "ok"


async def test_no_token_is_in_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at debug, which tells what is wrong with one."""
    caplog.set_level(logging.DEBUG)
    async with served(tmp_path) as daemon:
        for token in ("secret-token-0123", "secret.secret.secret", token_of("app"), token_of("nobody")):
            await call(daemon.channel, f"/{STATE}/Get", [pb.GetRequest(namespace="shop", key="key")], bearer(token))

    assert any("TOKEN_INVALID" in record.getMessage() for record in caplog.records)
    for record in caplog.records:
        text = f"{record.getMessage()} {record.__dict__}"
        assert "secret" not in text
        assert token_of("app") not in text


# ---- quotas


async def test_a_quota_is_of_one_identity_and_of_all_its_calls(tmp_path: Path) -> None:
    async with served(tmp_path, quota={"ops_per_s": 0.01}) as daemon:
        request = pb.GetRequest(namespace="shop", key="key")
        await daemon.state.Get(request, metadata=APP)
        refused = await refusal(daemon.state.Get(request, metadata=APP))
        assert refused.told == QUOTA
        assert refused.retry is not None

    assert written(tmp_path) == [], "a quota that is used up is no refusal of that kind"


@pytest.mark.parametrize("size", [1000, 2 << 20])
@pytest.mark.parametrize("asks", [True, False])
async def test_bytes_either_way_count(tmp_path: Path, size: int, asks: bool) -> None:
    """Also of values that go beside their message."""
    async with served(tmp_path, quota={"bytes_per_s": 100}) as daemon:
        read = pb.GetRequest(namespace="shop", key="key")
        if asks:
            await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=bytes(size)), metadata=APP)
        else:
            await daemon.write_behind_the_cache("shop", "key", bytes(size))
            await daemon.state.Get(read, metadata=APP)
        refused = await refusal(daemon.state.Get(read, metadata=APP))

    assert refused.told == QUOTA
    assert refused.retry is not None
    assert refused.retry.retry_delay.seconds >= (size - 100) // 100 - 1


async def test_streams_that_are_open_count(tmp_path: Path) -> None:
    async with served(tmp_path, quota={"watches": 1}) as daemon:
        request = pb.WatchRequest(namespace="shop", all=True)
        watch = daemon.state.Watch(request, metadata=APP)
        await watch.read()
        assert (await refusal(daemon.state.Watch(request, metadata=APP).read())).told == QUOTA
        watch.cancel()
        async with asyncio.timeout(10):
            while await _refused(daemon.state.Watch(request, metadata=APP)):  # until the daemon has heard of it
                pass


async def _refused(watch: Any) -> bool:
    try:
        await watch.read()
    except grpc.aio.AioRpcError:
        return True
    watch.cancel()
    return False
