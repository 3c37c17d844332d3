"""A repeated request id answers what it did the first time, and does nothing again."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon
from tests.support.statuses import refusal

NS = "shop"
ID = "request 1"

WRITES: dict[str, Any] = {
    "Set": pb.SetRequest(namespace=NS, key="key", value=b"value", request_id=ID),
    "CAS": pb.CASRequest(namespace=NS, key="new", value=b"value", request_id=ID),
    "Delete": pb.DeleteRequest(namespace=NS, key="key", request_id=ID),
    "merge_patch": pb.UpdateRequest(
        namespace=NS, key="json", merge_patch=b'{"a":1}', create=True, return_value=True, request_id=ID
    ),
    "append": pb.UpdateRequest(
        namespace=NS, key="list", append=pb.Append(items=[b"1"]), create=True, return_value=True, request_id=ID
    ),
    "increment": pb.UpdateRequest(
        namespace=NS, key="count", increment=pb.Increment(delta=1), create=True, return_value=True, request_id=ID
    ),
    "Transact": pb.TransactRequest(
        namespace=NS,
        operations=[
            pb.TransactOperation(set=pb.SetRequest(key="key", value=b"value")),
            pb.TransactOperation(
                update=pb.UpdateRequest(key="count", increment=pb.Increment(delta=1), create=True, return_value=True)
            ),
            pb.TransactOperation(check=pb.Check(key="absent", expected_version=0)),
        ],
        request_id=ID,
    ),
    "DeletePrefix": pb.DeletePrefixRequest(namespace=NS, key_prefix="k", request_id=ID),
}
UPDATES = {"merge_patch", "append", "increment"}


def send(daemon: RunningDaemon, name: str, request: Any) -> Any:
    return getattr(daemon.state, "Update" if name in UPDATES else name)(request)


async def contents(daemon: RunningDaemon) -> dict[str, tuple[bytes, int]]:
    reply = await daemon.state.List(pb.ListRequest(namespace=NS))
    return {entry.key: (entry.value, entry.version) for entry in reply.entries}


@pytest.mark.parametrize("name", list(WRITES))
async def test_a_repetition_answers_the_same_and_does_nothing(daemon: RunningDaemon, name: str) -> None:
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"before"))

    first = await send(daemon, name, WRITES[name])
    # What is there now is no longer what the write met.
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"after"))
    between = await contents(daemon)
    again = await send(daemon, name, WRITES[name])

    assert again == first
    assert await contents(daemon) == between


@pytest.mark.parametrize("name", list(WRITES))
async def test_at_once_it_takes_effect_once(daemon: RunningDaemon, name: str) -> None:
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"before"))

    replies = await asyncio.gather(*(send(daemon, name, WRITES[name]) for _ in range(8)))

    assert all(reply == replies[0] for reply in replies)
    assert "count" not in await contents(daemon) or (await contents(daemon))["count"][0] == b"1"


@pytest.mark.parametrize("name", list(WRITES))
async def test_for_another_request_it_is_refused(daemon: RunningDaemon, name: str) -> None:
    await send(daemon, name, WRITES[name])
    before = await contents(daemon)
    other = type(WRITES[name])()
    other.CopyFrom(WRITES[name])
    if hasattr(other, "key"):
        other.key = "other"
    elif name == "Transact":
        other.operations[0].set.value = b"other"
    else:
        other.key_prefix = "other"

    refused = await refusal(send(daemon, name, other))

    assert refused.told == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert [violation.field for violation in refused.violations] == ["request_id"]
    assert await contents(daemon) == before


async def test_for_another_rpc_it_is_refused(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"value", request_id=ID))

    for call in (
        daemon.state.CAS(pb.CASRequest(namespace=NS, key="key", value=b"value", request_id=ID)),
        daemon.state.DeletePrefix(pb.DeletePrefixRequest(namespace=NS, key_prefix="key", request_id=ID)),
    ):
        assert (await refusal(call)).reason == "REQUEST_ID_REUSED"


async def test_in_another_namespace_it_is_another(daemon: RunningDaemon) -> None:
    first = await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", request_id=ID))
    second = await daemon.state.Set(pb.SetRequest(namespace="bank", key="key", request_id=ID))

    assert second.version > first.version


async def test_a_conflict_stays_a_conflict(daemon: RunningDaemon) -> None:
    current = (await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"1"))).version
    request = pb.CASRequest(namespace=NS, key="key", value=b"2", request_id=ID)

    first = await refusal(daemon.state.CAS(request))
    await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key"))
    again = await refusal(daemon.state.CAS(request))

    assert first.conflict == again.conflict == types.ConflictInfo(key="key", current_version=current)
    assert first.told == again.told == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert await contents(daemon) == {}


async def test_a_cas_that_won_is_never_told_as_a_conflict(daemon: RunningDaemon) -> None:
    request = pb.CASRequest(namespace=NS, key="key", value=b"1", request_id=ID)
    won = await daemon.state.CAS(request)
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"2"))

    again = await daemon.state.CAS(request)

    assert again == won


async def test_a_failed_precondition_is_remembered(daemon: RunningDaemon) -> None:
    request = pb.UpdateRequest(namespace=NS, key="key", increment=pb.Increment(delta=1), request_id=ID)

    first = await refusal(daemon.state.Update(request))
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"1"))
    again = await refusal(daemon.state.Update(request))

    assert first.told == again.told == (grpc.StatusCode.FAILED_PRECONDITION, "KEY_NOT_FOUND")
    assert (await contents(daemon))["key"][0] == b"1"


async def test_a_request_that_was_refused_as_malformed_may_be_corrected(daemon: RunningDaemon) -> None:
    bad = pb.SetRequest(namespace=NS, key="", value=b"value", request_id=ID)
    assert (await refusal(daemon.state.Set(bad))).reason == "KEY_INVALID"

    good = await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"value", request_id=ID))

    assert good.version > 0


async def test_labels_in_another_order_are_the_same_request(daemon: RunningDaemon) -> None:
    names = [f"label {number}" for number in range(20)]

    def request(order: list[str]) -> pb.SetRequest:
        return pb.SetRequest(namespace=NS, key="key", labels=dict.fromkeys(order, "x"), request_id=ID)

    first = await daemon.state.Set(request(names))
    again = await daemon.state.Set(request(names[::-1]))

    assert again == first


async def test_without_a_request_id_a_repetition_is_a_new_write(daemon: RunningDaemon) -> None:
    request = pb.UpdateRequest(namespace=NS, key="count", increment=pb.Increment(delta=1), create=True)
    await daemon.state.Update(request)
    await daemon.state.Update(request)

    assert (await contents(daemon))["count"][0] == b"2"
