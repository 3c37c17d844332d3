"""What the log tells: of a watched request its trace, of nobody a key, a value or a password."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from servers.base import free_ports
from sidecar.core.tracing import TRACE
from sidecar.runtime.logs import JsonFormatter
from sidecar.telemetry.tracing import SpanQueue, SpanTracer
from statesidecar.v1 import outbox_service_pb2, types_pb2
from statesidecar.v1 import state_service_pb2 as pb
from tests.support.daemon import running_daemon
from tests.support.otlp import receiving
from tests.telemetry.traces import NS, SAMPLED, SERVICE, TRACE_ID, received, traced_daemon, written


@contextmanager
def json_log(level: int = logging.INFO) -> Iterator[io.StringIO]:
    """What the daemon's JSON log would be, from everyone."""
    written_to, root = io.StringIO(), logging.getLogger()
    handler, before = logging.StreamHandler(written_to), root.level
    handler.setFormatter(JsonFormatter())
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield written_to
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


async def test_a_line_about_a_watched_request_has_its_trace(tmp_path: Path) -> None:
    with json_log() as log, receiving() as receiver:
        async with traced_daemon(tmp_path, receiver) as daemon:
            daemon.switch().fail_next("commit", RuntimeError("planted"))
            with pytest.raises(grpc.aio.AioRpcError):
                await daemon.state.Set(written(), metadata=[("traceparent", SAMPLED)])
            [server] = await received(receiver, f"{SERVICE}/Set")

    [bug] = [line for line in lines(log) if line["message"].startswith("bug in")]
    assert (bug["trace_id"], bug["span_id"]) == (TRACE_ID, server.span_id)
    assert bug["exception"].endswith("builtins.RuntimeError")
    assert "planted" not in bug["exception"]
    assert not [line for line in lines(log) if line["message"] == "serving" and "trace_id" in line]


async def test_a_line_about_a_request_that_nobody_watches_has_none(tmp_path: Path) -> None:
    with json_log() as log:
        async with running_daemon(tmp_path, tiers={"cold": "none://"}) as daemon:
            daemon.switch().fail_next("commit", RuntimeError("planted"))
            with pytest.raises(grpc.aio.AioRpcError):
                await daemon.state.Set(written(), metadata=[("traceparent", SAMPLED)])

    [bug] = [line for line in lines(log) if line["message"].startswith("bug in")]
    assert "trace_id" not in bug


def test_what_a_request_left_running_is_not_told_as_its() -> None:
    request = SpanTracer(SpanQueue(), ratio=1.0, places={}).request("s", "Get", ())
    assert request is not None
    token = TRACE.set(request)
    try:
        with json_log() as log:
            logging.getLogger("sidecar").info("during")
            request.end("OK", None, {})
            logging.getLogger("sidecar").info("after")
    finally:
        TRACE.reset(token)

    during, after = lines(log)
    assert during["trace_id"] == request.trace_id
    assert "trace_id" not in after


async def test_no_line_has_a_key_a_value_or_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary-access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    postgres, redis, nats, s3 = free_ports(4)
    tiers = {
        "hot": f"redis://who:canary-redis@127.0.0.1:{redis}/0",
        "warm": f"postgresql://who:canary-postgres@127.0.0.1:{postgres}/db",
        "cold": f"s3://bucket?endpoint_url=http://127.0.0.1:{s3}&region=here",
    }
    outbox = {"sink": f"nats://who:canary-nats@127.0.0.1:{nats}?stream=S&subject_prefix=p"}
    for given in ({"tiers": tiers, "outbox": outbox}, {"tiers": {"cold": "none://"}, "outbox": outbox}):
        with json_log() as log:
            async with running_daemon(tmp_path, grace_period_s=0.5, **given) as daemon:
                for namespace in (NS, "plan", "system"):
                    await _every_call(daemon.state, namespace)
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await daemon.outbox.Redrive(outbox_service_pb2.RedriveRequest(namespace=NS, ids=["canary"]))

        assert lines(log)
        assert "canary" not in log.getvalue().lower()


async def _every_call(state: Any, namespace: str) -> None:
    message = types_pb2.OutboxMessage(topic="canary", payload=b"canary", attributes={"canary": "canary"})
    key: dict[str, Any] = {"namespace": namespace, "key": "canary-key"}
    calls = (
        state.Set(pb.SetRequest(**key, value=b"canary", outbox=[message], request_id="canary"), timeout=5),
        state.Set(pb.SetRequest(**key, value=b"canary", labels={"canary": "canary"}), timeout=5),
        state.Get(pb.GetRequest(**key), timeout=5),
        state.CAS(pb.CASRequest(**key, value=b"canary", expected_version=1), timeout=5),
        state.Update(pb.UpdateRequest(**key, merge_patch=b'{"canary": "canary"}'), timeout=5),
        state.List(pb.ListRequest(namespace=namespace, key_prefix="canary"), timeout=5),
        state.Delete(pb.DeleteRequest(**key), timeout=5),
        state.DeletePrefix(pb.DeletePrefixRequest(namespace=namespace, key_prefix="canary"), timeout=5),
    )
    for call in calls:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call
