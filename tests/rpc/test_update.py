"""Update: applied where the value is, so that concurrent updates merge."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon

NS = "shop"


def update(**fields: Any) -> pb.UpdateRequest:
    given: dict[str, Any] = {"namespace": NS, "key": "key", "create": True} | fields
    return pb.UpdateRequest(**given)


def merge_patch(patch: Any, **fields: Any) -> pb.UpdateRequest:
    return update(merge_patch=json.dumps(patch).encode(), **fields)


def append(*items: Any, max_items: int = 0, **fields: Any) -> pb.UpdateRequest:
    change = pb.Append(items=[json.dumps(item).encode() for item in items], max_items=max_items)
    return update(append=change, **fields)


def increment(delta: int, *, minimum: int | None = None, maximum: int | None = None, **fields: Any) -> pb.UpdateRequest:
    change = pb.Increment(delta=delta, minimum=minimum, maximum=maximum)
    return update(increment=change, **fields)


async def put(daemon: RunningDaemon, value: bytes, **fields: Any) -> None:
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=value, **fields))


async def stored(daemon: RunningDaemon) -> types.Entry:
    read = pb.GetRequest(namespace=NS, key="key", consistency=types.CONSISTENCY_STRONG)
    entry: types.Entry = (await daemon.state.Get(read)).entry
    return entry


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        # The examples of RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
async def test_a_merge_patch_does_what_rfc_7396_says(
    volatile: RunningDaemon, before: Any, patch: Any, after: Any
) -> None:
    await put(volatile, json.dumps(before).encode())

    reply = await volatile.state.Update(merge_patch(patch, return_value=True))

    assert json.loads(reply.value) == after
    assert json.loads((await stored(volatile)).value) == after


@pytest.mark.parametrize(
    ("request_", "value"),
    [(merge_patch({"a": 1}), b'{"a":1}'), (append(1, "zwei"), b'[1,"zwei"]'), (increment(-5), b"-5")],
    ids=["merge_patch", "append", "increment"],
)
async def test_create_begins_with_the_empty_value(
    daemon: RunningDaemon, request_: pb.UpdateRequest, value: bytes
) -> None:
    reply = await daemon.state.Update(request_)

    entry = await stored(daemon)
    assert entry.value == value
    assert entry.version == reply.version
    assert reply.value == b""


@pytest.mark.parametrize("request_", [merge_patch({"a": 1}), append(1), increment(1)], ids=["patch", "append", "incr"])
async def test_the_value_comes_back_if_asked_for(daemon: RunningDaemon, request_: pb.UpdateRequest) -> None:
    request_ = pb.UpdateRequest.FromString(request_.SerializeToString())
    request_.return_value = True

    reply = await daemon.state.Update(request_)

    assert reply.value == (await stored(daemon)).value != b""


async def test_append_keeps_the_last_max_items(daemon: RunningDaemon) -> None:
    await daemon.state.Update(append(*range(10)))

    await daemon.state.Update(append(10, 11, max_items=3))

    assert json.loads((await stored(daemon)).value) == [9, 10, 11]


async def test_increment_stops_at_its_bounds_and_reaches_them(daemon: RunningDaemon) -> None:
    upper = await daemon.state.Update(increment(10, minimum=0, maximum=10, return_value=True))
    lower = await daemon.state.Update(increment(-10, minimum=0, maximum=10, return_value=True))

    assert (upper.value, lower.value) == (b"10", b"0")


@pytest.mark.parametrize("edge", [2**63 - 1, -(2**63)])
async def test_increment_reaches_the_ends_of_an_int64(daemon: RunningDaemon, edge: int) -> None:
    reply = await daemon.state.Update(increment(edge, return_value=True))

    assert int(reply.value) == edge


async def test_an_update_keeps_what_it_does_not_change(daemon: RunningDaemon) -> None:
    request = pb.SetRequest(
        namespace=NS, key="key", value=b"{}", content_type="text/json", schema_version=7, labels={"a": "b"}
    )
    request.ttl.FromSeconds(600)
    await daemon.state.Set(request)
    before = await stored(daemon)

    reply = await daemon.state.Update(merge_patch({"x": 1}))

    entry = await stored(daemon)
    assert (entry.content_type, entry.schema_version, dict(entry.labels)) == ("text/json", 7, {"a": "b"})
    assert (entry.create_time, entry.expire_time) == (before.create_time, before.expire_time)
    assert reply.expire_time == entry.expire_time
    assert entry.version > before.version


async def test_an_update_may_give_a_new_ttl(daemon: RunningDaemon) -> None:
    request = increment(1)
    request.ttl.FromSeconds(60)

    reply = await daemon.state.Update(request)

    entry = await stored(daemon)
    assert reply.expire_time == entry.expire_time
    assert entry.expire_time.ToMilliseconds() - entry.update_time.ToMilliseconds() == 60_000


async def test_concurrent_updates_of_all_kinds_merge(daemon: RunningDaemon) -> None:
    requests = [
        *(increment(1, key="count") for _ in range(50)),
        *(append(number, key="list") for number in range(50)),
        *(merge_patch({f"field {number}": number}, key="object") for number in range(50)),
    ]

    await asyncio.gather(*(daemon.state.Update(request) for request in requests))

    reply = await daemon.state.BatchGet(pb.BatchGetRequest(namespace=NS, keys=["count", "list", "object"]))
    count, items, fields = (json.loads(result.entry.value) for result in reply.results)
    assert count == 50
    assert sorted(items) == list(range(50))
    assert fields == {f"field {number}": number for number in range(50)}
