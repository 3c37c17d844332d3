"""Traces, as a collector gets them: who is watched, the server's span, the tiers' and the deliveries', and what is never told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from servers.postgres import Postgres
from servers.redis import Redis
from statesidecar.v1 import state_service_pb2 as pb
from tests.sinks.harness_webhook import HttpServer
from tests.support.daemon import CHANNEL_OPTIONS, Stubs
from tests.support.otlp import Receiver, receiving
from tests.support.process import daemon_process
from tests.telemetry.traces import (
    NS,
    SAMPLED,
    SERVICE,
    SPAN_ID,
    TRACE_ID,
    children,
    consumed,
    message,
    received,
    traced_daemon,
    written,
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


async def test_a_request_is_a_server_span_with_a_span_of_each_operation_on_a_tier_below_it(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with traced_daemon(tmp_path, receiver, app="chat") as daemon:
        await daemon.state.Set(written(), metadata=[("traceparent", SAMPLED), ("tracestate", "vendor=1,other=2")])
        [server] = await received(receiver, f"{SERVICE}/Set")

    assert (server.trace_id, server.parent_id) == (TRACE_ID, SPAN_ID)
    assert server.span.kind == Span.SPAN_KIND_SERVER
    assert server.span.trace_state == "vendor=1,other=2"
    assert server.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/Set",
        "rpc.response.status_code": "OK",
        "statesidecar.namespace.kind": "session",
        "statesidecar.mode": "normal",
    }
    assert server.resource["service.name"] == "state-sidecar"
    assert server.resource["statesidecar.app"] == "chat"
    below = {one.span.name: one for one in children(receiver.spans, server)}
    assert set(below) == {"lease memory", "commit sqlite", "fill memory"}
    commit = below["commit sqlite"]
    assert commit.span.kind == Span.SPAN_KIND_CLIENT
    assert commit.attributes == {
        "db.system.name": "sqlite",
        "db.operation.name": "commit",
        "statesidecar.tier": "warm",
    }
    assert commit.span.trace_state == "vendor=1,other=2"
    assert server.span.start_time_unix_nano <= commit.span.start_time_unix_nano
    assert commit.span.end_time_unix_nano <= server.span.end_time_unix_nano


async def test_servers_are_told_by_the_conventions_for_databases(tmp_path: Path, receiver: Receiver) -> None:
    with Postgres() as postgres, Redis() as redis:
        tiers = {"hot": redis.url, "warm": postgres.url(), "cold": f"file://{tmp_path}/cold"}
        namespaces = {NS: {"large_value_bytes": 65_536}}
        async with traced_daemon(tmp_path, receiver, tiers=tiers, namespaces=namespaces) as daemon:
            count, below = 0, dict[str, Any]()
            while "lease redis" not in below:  # a cache is not asked before it is known to be as new as the authority
                count += 1
                await daemon.state.Set(pb.SetRequest(namespace=NS, key=f"k{count}", value=bytes(100_000)))
                server = (await received(receiver, f"{SERVICE}/Set", count))[-1]
                below = {one.span.name: one.attributes for one in children(receiver.spans, server)}

    place = {"server.address": "127.0.0.1", "statesidecar.tier": "warm", "server.port": postgres.port}
    assert below["commit postgresql"] == place | {"db.system.name": "postgresql", "db.operation.name": "commit"}
    place = {"server.address": "127.0.0.1", "statesidecar.tier": "hot", "server.port": redis.port}
    assert below["lease redis"] == place | {"db.system.name": "redis", "db.operation.name": "lease"}
    [stored] = [told for name, told in below.items() if name.endswith(" file")]
    operation = stored["db.operation.name"]
    assert stored == {"db.system.name": "file", "db.operation.name": operation, "statesidecar.tier": "cold"}


async def test_the_tier_that_served_is_told(tmp_path: Path, receiver: Receiver) -> None:
    async with traced_daemon(tmp_path, receiver) as daemon:
        await daemon.state.Set(written())
        await daemon.state.Get(pb.GetRequest(namespace=NS, key="k"))
        [get] = await received(receiver, f"{SERVICE}/Get")

    assert get.attributes["statesidecar.tier"] == "hot"


@pytest.mark.parametrize(
    ("metadata", "ratio", "watched"),
    [
        pytest.param([], 1.0, True, id="no caller's word, and all are sampled"),
        pytest.param([], 0.0, False, id="no caller's word, and none is sampled"),
        pytest.param([("traceparent", SAMPLED)], 0.0, True, id="the caller is watched"),
        pytest.param([("traceparent", SAMPLED[:-1] + "0")], 1.0, False, id="the caller is not watched"),
        pytest.param([("traceparent", "00-nonsense")], 1.0, True, id="nonsense counts as nothing"),
        pytest.param([("traceparent", "00-nonsense")], 0.0, False, id="nonsense watches nobody"),
    ],
)
async def test_who_is_watched(
    tmp_path: Path, receiver: Receiver, metadata: list[tuple[str, str]], ratio: float, watched: bool
) -> None:
    async with traced_daemon(tmp_path, receiver, telemetry={"trace_ratio": ratio}) as daemon:
        await daemon.state.Set(written(), metadata=metadata)
        await daemon.state.Get(pb.GetRequest(namespace=NS, key="k"), metadata=[("traceparent", SAMPLED)])
        await received(receiver, f"{SERVICE}/Get")

    found = receiver.named(f"{SERVICE}/Set")
    assert len(found) == watched
    assert all((one.trace_id == TRACE_ID) == (metadata == [("traceparent", SAMPLED)]) for one in found)


async def test_a_callers_mistake_is_named_and_no_error_of_ours(tmp_path: Path, receiver: Receiver) -> None:
    async with traced_daemon(tmp_path, receiver) as daemon:
        with pytest.raises(grpc.aio.AioRpcError):
            await daemon.state.CAS(pb.CASRequest(namespace=NS, key="k", value=b"v", expected_version=7))
        [cas] = await received(receiver, f"{SERVICE}/CAS")

    assert cas.attributes["rpc.response.status_code"] == "ABORTED"
    assert cas.attributes["error.type"] == "VERSION_MISMATCH"
    assert cas.span.status.code == Status.STATUS_CODE_UNSET
    [commit] = [one for one in children(receiver.spans, cas) if one.span.name == "commit sqlite"]
    assert commit.attributes["statesidecar.refusal"] == "VERSION_MISMATCH"
    assert commit.span.status.code == Status.STATUS_CODE_UNSET


async def test_a_tier_that_is_away_is_an_error_of_both_spans_without_its_text(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with traced_daemon(tmp_path, receiver) as daemon:
        daemon.switch().away()
        with pytest.raises(grpc.aio.AioRpcError):
            await daemon.state.Set(written("k", message()))
        [failed] = await received(receiver, f"{SERVICE}/Set")

    assert failed.attributes["rpc.response.status_code"] == "UNAVAILABLE"
    assert failed.attributes["error.type"] == "AUTHORITY_UNAVAILABLE"
    [commit, *_] = [one for one in children(receiver.spans, failed) if one.span.name == "commit sqlite"]
    assert commit.attributes["error.type"] == "AUTHORITY_UNAVAILABLE"
    assert {one.span.status.code for one in (failed, commit)} == {Status.STATUS_CODE_ERROR}
    assert not any(one.span.status.message or one.span.events for one in receiver.spans)


# ---- messages


async def test_a_messages_delivery_continues_the_trace_of_its_write_and_links_to_it(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with traced_daemon(tmp_path, receiver) as daemon:
        await daemon.state.Set(written("k", message()), metadata=[("traceparent", SAMPLED)])
        [got] = await consumed(daemon)
        [delivery] = await received(receiver, "publish state-sidecar")
    [server] = receiver.named(f"{SERVICE}/Set")

    assert got.attributes["traceparent"] == f"00-{TRACE_ID}-{server.span_id}-01"
    assert (delivery.trace_id, delivery.parent_id) == (TRACE_ID, server.span_id)
    assert delivery.span.kind == Span.SPAN_KIND_PRODUCER
    [link] = delivery.span.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE_ID, server.span_id)
    assert delivery.attributes.pop("messaging.message.id")
    assert delivery.attributes == {
        "messaging.system": "state-sidecar",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "statesidecar.outbox.attempt": 1,
        "statesidecar.outbox.outcome": "delivered",
    }


async def test_each_attempt_has_a_span_and_the_sink_is_told_the_trace(tmp_path: Path, receiver: Receiver) -> None:
    statuses = [500, 400, 200]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=statuses.pop(0) if statuses else 200)

    sink = HttpServer(answer)
    await sink.start()
    outbox = {"sink": f"http://{sink.address}/hook?secret=hush", "retry_delay_s": 0.05, "poll_interval_s": 0.05}
    try:
        async with traced_daemon(tmp_path, receiver, outbox=outbox) as daemon:
            await daemon.state.Set(written("k", message()), metadata=[("traceparent", SAMPLED)])
            spans = await received(receiver, "publish webhook", 2)
    finally:
        await sink.stop()

    outcomes = [one.attributes["statesidecar.outbox.outcome"] for one in spans]
    assert outcomes[0] in {"unknown", "refused"}
    assert spans[0].span.status.code == Status.STATUS_CODE_ERROR
    assert {one.trace_id for one in spans} == {TRACE_ID}
    assert spans[0].attributes["server.address"] == "127.0.0.1"
    request, body = sink.requests[0]
    [server] = receiver.named(f"{SERVICE}/Set")
    traceparent = f"00-{TRACE_ID}-{server.span_id}-01"
    assert traceparent.encode() in body or traceparent in request.headers.values()
    assert b"hush" not in receiver.raw


async def test_a_delivery_after_a_crash_continues_the_trace_too(tmp_path: Path, receiver: Receiver) -> None:
    given = {"telemetry__otlp_endpoint": receiver.endpoint, "telemetry__trace_ratio": "0"}
    with daemon_process(tmp_path, **given) as daemon:
        async with grpc.aio.insecure_channel(daemon.target, options=CHANNEL_OPTIONS) as channel:
            await Stubs(channel).state.Set(written("k", message()), metadata=[("traceparent", SAMPLED)])
            [server] = await received(receiver, f"{SERVICE}/Set")
        await asyncio.to_thread(daemon.kill)
        await asyncio.to_thread(daemon.restart)
        async with grpc.aio.insecure_channel(daemon.target, options=CHANNEL_OPTIONS) as channel:
            await consumed(Stubs(channel))
            [delivery] = await received(receiver, "publish state-sidecar")

    assert (delivery.trace_id, delivery.parent_id) == (TRACE_ID, server.span_id)
    assert delivery.span.links[0].span_id == server.span.span_id
    assert delivery.resource["service.instance.id"] != server.resource["service.instance.id"]


async def test_a_messages_own_traceparent_is_the_writers(tmp_path: Path, receiver: Receiver) -> None:
    own = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    async with traced_daemon(tmp_path, receiver) as daemon:
        await daemon.state.Set(written("k", message(traceparent=own)), metadata=[("traceparent", SAMPLED)])
        [got] = await consumed(daemon)
        [delivery] = await received(receiver, "publish state-sidecar")

    assert got.attributes["traceparent"] == own
    assert (delivery.trace_id, delivery.parent_id) == ("1" * 32, "2" * 16)


async def test_the_trace_takes_no_attributes_place_and_changes_no_requests_identity(
    tmp_path: Path, receiver: Receiver
) -> None:
    limits = {"labels_max": 2}
    request = written("k", message(a="1", b="2"), request_id="once")
    async with traced_daemon(tmp_path, receiver, limits=limits) as daemon:
        first = await daemon.state.Set(request, metadata=[("traceparent", SAMPLED)])
        again = await daemon.state.Set(request, metadata=[("traceparent", "00-" + "3" * 32 + "-" + "4" * 16 + "-01")])
        [got] = await consumed(daemon)

    assert first.version == again.version
    assert set(got.attributes) == {"a", "b", "traceparent"}


async def test_messages_of_writes_that_nobody_watches_stay_as_they_are(tmp_path: Path, receiver: Receiver) -> None:
    async with traced_daemon(tmp_path, receiver, telemetry={"trace_ratio": 0.0}) as daemon:
        await daemon.state.Set(written("k", message()))
        [got] = await consumed(daemon)

    assert dict(got.attributes) == {}
    assert receiver.spans == []


# ---- what is never told


async def test_no_key_value_or_other_text_of_a_caller_is_in_what_is_exported(
    tmp_path: Path, receiver: Receiver
) -> None:
    canary = "canary"
    outbox = message(b"canary-payload", note=f"{canary}-attribute")
    outbox.topic = outbox.content_type = f"{canary}-topic"
    fields: dict[str, Any] = {"labels": {f"{canary}-label": f"{canary}-label"}, "content_type": f"{canary}/type"}
    async with traced_daemon(tmp_path, receiver) as daemon:
        for namespace in (NS, "plan"):
            put = pb.SetRequest(
                namespace=namespace,
                key=f"{canary}-key",
                value=b"canary-value",
                outbox=[outbox],
                request_id=f"{canary}-id",
                **fields,
            )
            await daemon.state.Set(put)
            await daemon.state.Get(pb.GetRequest(namespace=namespace, key=f"{canary}-key"))
            with pytest.raises(grpc.aio.AioRpcError):
                await daemon.state.CAS(
                    pb.CASRequest(namespace=namespace, key=f"{canary}-key", value=b"canary", expected_version=1)
                )
            await daemon.state.Update(
                pb.UpdateRequest(
                    namespace=namespace, key=f"{canary}-json", create=True, merge_patch=b'{"canary": "canary"}'
                )
            )
            await daemon.state.List(pb.ListRequest(namespace=namespace, key_prefix=canary))
            await daemon.state.Delete(pb.DeleteRequest(namespace=namespace, key=f"{canary}-key"))
        await consumed(daemon)
        await received(receiver, f"{SERVICE}/Delete", 2)
        await received(receiver, "publish state-sidecar")
        seen = receiver.exports
        await asyncio.to_thread(receiver.until, lambda: receiver.exports > seen + 1)

    assert len(receiver.spans) > 12
    assert receiver.metrics
    assert b"canary" not in receiver.raw.lower()
