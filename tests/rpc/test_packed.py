"""BatchGet with `packed`: the same answers as without, in one piece."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon
from tests.support.statuses import refusal

NS = "shop"


async def both(daemon: RunningDaemon, **request: Any) -> tuple[Any, Any]:
    """Packed, and as entries."""
    packed = await daemon.state.BatchGet(pb.BatchGetRequest(namespace=NS, packed=True, **request))
    return packed, await daemon.state.BatchGet(pb.BatchGetRequest(namespace=NS, **request))


def values(packed: pb.PackedValues) -> list[bytes]:
    found, at = [], 0
    for size in packed.sizes:
        found.append(packed.values[at : at + size])
        at += size
    assert at == len(packed.values)
    return found


def types_of(packed: pb.PackedValues) -> list[str]:
    indexes = packed.content_type_indexes or [0] * len(packed.sizes)
    return [
        packed.content_types[index] if version else "" for index, version in zip(indexes, packed.versions, strict=True)
    ]


@pytest.mark.parametrize("consistency", [types.CONSISTENCY_CACHED, types.CONSISTENCY_STRONG], ids=["cached", "strong"])
@pytest.mark.parametrize("kinds", [("a/b", "a/b", "a/b"), ("a/b", "", "c/d")], ids=["one type", "three types"])
async def test_the_answers_are_those_of_entries(
    daemon: RunningDaemon, consistency: types.Consistency, kinds: tuple[str, ...]
) -> None:
    for key, value, kind in zip("abc", (b"first", b"", b"x" * 5000), kinds, strict=True):
        await daemon.state.Set(pb.SetRequest(namespace=NS, key=key, value=value, content_type=kind))
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="gone", value=b"v"))
    await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="gone"))

    reply, plain = await both(daemon, keys=["none", "c", "a", "gone", "b", "a"], consistency=consistency)

    assert values(reply.packed) == [result.entry.value for result in plain.results]
    assert list(reply.packed.versions) == [result.entry.version for result in plain.results]
    assert types_of(reply.packed) == [result.entry.content_type for result in plain.results]
    assert len(set(reply.packed.content_types)) == len(reply.packed.content_types) == len(set(kinds))
    assert (list(reply.results), plain.HasField("packed")) == ([], False)
    assert (reply.mode, reply.packed.stale_possible) == (types.SERVING_MODE_NORMAL, False)


async def test_misses_alone_are_packed_too(volatile: RunningDaemon) -> None:
    reply, _ = await both(volatile, keys=["a", "b"])

    assert reply.HasField("packed")
    assert (list(reply.packed.sizes), list(reply.packed.versions)) == ([0, 0], [0, 0])
    assert (reply.packed.values, list(reply.packed.content_types)) == (b"", [])


async def test_a_floor_is_kept(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="a", value=b"old"))
    newer = await daemon.write_behind_the_cache(NS, "a", b"new")

    old, _ = await both(daemon, keys=["a"])
    new, _ = await both(daemon, keys=["a"], min_versions=[newer])

    assert (old.packed.values, new.packed.values) == (b"old", b"new")
    assert list(new.packed.versions) == [newer]


async def test_an_outage_is_told_as_such(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="a", value=b"v"))
    daemon.switch().away()

    reply, plain = await both(daemon, keys=["a", "none"])

    assert reply.mode == plain.mode == types.SERVING_MODE_PASSTHROUGH
    assert values(reply.packed) == [b"v", b""]
    assert reply.packed.stale_possible


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"keys": []}, "TOO_MANY_KEYS"),
        ({"keys": ["k"] * 1001}, "TOO_MANY_KEYS"),
        ({"keys": ["a", "b"], "min_versions": [1]}, "MIN_VERSIONS_INVALID"),
        ({"keys": ["big"] * 6}, "RESPONSE_TOO_LARGE"),
    ],
    ids=["none", "too many", "floors", "too large"],
)
async def test_what_is_refused_is_refused_in_either_form(
    volatile: RunningDaemon, request_: dict[str, Any], reason: str
) -> None:
    await volatile.state.Set(pb.SetRequest(namespace=NS, key="big", value=b"x" * (4 << 20)))
    request = pb.BatchGetRequest(namespace=NS, packed=True, **request_)

    refused = await refusal(volatile.state.BatchGet(request))

    assert refused.told == (grpc.StatusCode.INVALID_ARGUMENT, reason)
