"""Each refusal of the table over the real wire: code, reason, details; and nothing is changed by it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from tests.rpc.error_table import ABORTED, CASES, INVALID, NS, Case
from tests.support.daemon import RunningDaemon
from tests.support.statuses import refusal


def send(daemon: RunningDaemon, rpc: str, request: Any) -> Any:
    return getattr(daemon.admin if rpc == "GetStatus" else daemon.state, rpc)(request)


async def contents(daemon: RunningDaemon) -> list[Any]:
    return list((await daemon.state.List(pb.ListRequest(namespace=NS, keys_only=True))).entries)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_refusal_says_what_is_wrong_and_changes_nothing(volatile: RunningDaemon, case: Case) -> None:
    for rpc, request in case.before:
        await send(volatile, rpc, request)
    before = await contents(volatile)

    refused = await refusal(send(volatile, case.rpc, case.request))

    assert refused.told == (case.code, case.reason)
    assert refused.message
    assert [violation.field for violation in refused.violations] == ([case.at] if case.code is INVALID else [])
    assert (refused.conflict is not None) == (case.code is ABORTED)
    assert refused.retry is None
    assert case.metadata.items() <= dict(refused.info.metadata).items()
    assert await contents(volatile) == before


async def test_the_smallest_ttl_is_a_nanosecond_and_rounds_up_to_a_millisecond(daemon: RunningDaemon) -> None:
    request = pb.SetRequest(namespace=NS, key="key")
    request.ttl.FromNanoseconds(1)

    written = await daemon.state.Set(request)

    assert written.expire_time.nanos % 1_000_000 == 0
    assert written.version > 0


async def test_the_largest_ttl_is_ten_years(daemon: RunningDaemon) -> None:
    request = pb.SetRequest(namespace=NS, key="key")
    request.ttl.FromSeconds(3650 * 86_400)

    await daemon.state.Set(request)

    entry = (await daemon.state.Get(pb.GetRequest(namespace=NS, key="key"))).entry
    assert entry.expire_time.seconds - entry.update_time.seconds == 3650 * 86_400


async def test_the_bounds_themselves_are_allowed(daemon: RunningDaemon) -> None:
    labels = {f"{number:0128}": "v" * 1024 for number in range(64)}
    request = pb.SetRequest(
        namespace="n" * 128, key="k" * 1024, content_type="t" * 256, labels=labels, request_id="r" * 128
    )

    await daemon.state.Set(request)

    entry = (await daemon.state.Get(pb.GetRequest(namespace="n" * 128, key="k" * 1024))).entry
    assert dict(entry.labels) == labels


@pytest.mark.parametrize(
    "request_bytes", [b"\xff\xff\xff\xff", b"\x12\x02\xc3\x28"], ids=["no message", "key not UTF-8"]
)
@pytest.mark.parametrize("method", ["StateService/Get", "StateService/Set", "AdminService/GetStatus"])
async def test_a_message_that_is_no_request_is_refused_and_the_daemon_goes_on(
    volatile: RunningDaemon, method: str, request_bytes: bytes
) -> None:
    raw: Any = volatile.channel.unary_unary(f"/statesidecar.v1.{method}")

    refused = await refusal(raw(request_bytes))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.reason in {"REQUEST_MALFORMED", "FIELD_UNKNOWN"}

    assert (await volatile.state.Set(pb.SetRequest(namespace=NS, key="key"))).version > 0


async def test_a_message_above_the_limit_is_refused_and_the_daemon_goes_on(volatile: RunningDaemon) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await volatile.state.Set(pb.SetRequest(namespace=NS, key="key", value=bytes(17 * 1024 * 1024)))

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await volatile.state.Set(pb.SetRequest(namespace=NS, key="key"))).version > 0
