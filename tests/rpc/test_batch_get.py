"""BatchGet: each key as Get would, in the order asked for."""

from __future__ import annotations

import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon

NS = "shop"
CONSISTENCIES = [types.CONSISTENCY_CACHED, types.CONSISTENCY_STRONG]


@pytest.mark.parametrize("consistency", CONSISTENCIES, ids=["cached", "strong"])
@pytest.mark.parametrize("warmed", [False, True], ids=["cold", "warmed"])
async def test_results_come_in_order_misses_and_duplicates_included(
    daemon: RunningDaemon, consistency: types.Consistency, warmed: bool
) -> None:
    for key in ("b", "a"):
        await daemon.write_behind_the_cache(NS, key, key.encode())
    if warmed:
        await daemon.state.BatchGet(pb.BatchGetRequest(namespace=NS, keys=["a", "none"]))
        await daemon.followups_done()
    keys = ["b", "none", "a", "b", "none", "a", "b"]

    reply = await daemon.state.BatchGet(pb.BatchGetRequest(namespace=NS, keys=keys, consistency=consistency))

    assert [result.key for result in reply.results] == keys
    assert [result.entry.value for result in reply.results] == [b"b", b"", b"a", b"b", b"", b"a", b"b"]
    assert [result.HasField("entry") for result in reply.results] == [key != "none" for key in keys]
    assert reply.mode == types.SERVING_MODE_NORMAL


async def test_the_second_batch_comes_from_the_hot_tier(daemon: RunningDaemon) -> None:
    keys = [f"key {number}" for number in range(1000)]
    for key in keys[::100]:
        await daemon.write_behind_the_cache(NS, key, key.encode())
    request = pb.BatchGetRequest(namespace=NS, keys=keys)

    first = await daemon.state.BatchGet(request)
    await daemon.followups_done()
    second = await daemon.state.BatchGet(request)

    assert {result.served_by for result in first.results} == {types.TIER_WARM}
    assert {result.served_by for result in second.results} == {types.TIER_HOT}
    assert [result.entry.value for result in first.results] == [result.entry.value for result in second.results]
    assert sum(result.HasField("entry") for result in second.results) == 10


async def test_each_key_has_its_own_floor(daemon: RunningDaemon) -> None:
    for key in ("a", "b"):
        await daemon.state.Set(pb.SetRequest(namespace=NS, key=key, value=b"old"))
    newer = await daemon.write_behind_the_cache(NS, "b", b"new")
    await daemon.write_behind_the_cache(NS, "a", b"new")

    reply = await daemon.state.BatchGet(pb.BatchGetRequest(namespace=NS, keys=["a", "b"], min_versions=[0, newer]))

    assert [result.entry.value for result in reply.results] == [b"old", b"new"]
    assert [result.served_by for result in reply.results] == [types.TIER_HOT, types.TIER_WARM]
