"""Dead writes over the wire: listed page by page, put back, forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from sidecar.core import paging
from sidecar.core.errors import StoreUnavailable
from sidecar.core.journal import Base
from sidecar.core.operations import Append, Change, Increment, MergePatch, Put
from sidecar.rpc.convert_dead import PAGE_BYTES_MAX
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceStub
from tests.rpc.error_table import with_unknown
from tests.rpc.graves import Graves, Operated, dead_write, operated
from tests.support.clock import START_MS
from tests.support.statuses import refusal

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@asynccontextmanager
async def asked(graves: Graves | None, **options: Any) -> AsyncIterator[tuple[Any, Operated]]:
    """The stub of a served AdminService."""
    async with operated(graves, **options) as (target, served), grpc.aio.insecure_channel(target) as channel:
        yield AdminServiceStub(channel), served


async def pages(stub: Any, **fields: Any) -> list[list[str]]:
    """Ids of every page."""
    found, token = [], ""
    while True:
        reply = await stub.ListDeadWrites(pb.ListDeadWritesRequest(page_token=token, **fields))
        found.append([dead.id for dead in reply.dead_writes])
        token = reply.next_page_token
        if not token:
            return found


async def test_a_dead_write_is_told_with_all_that_it_was() -> None:
    async with asked(Graves(dead_write(12, reason="MERGE_CONFLICT", message="both wrote /a"))) as (stub, _):
        [dead] = (await stub.ListDeadWrites(pb.ListDeadWritesRequest())).dead_writes

    assert (dead.id, dead.namespace, dead.key, dead.operation) == ("12", "chat", "key 12", "set")
    assert (dead.request_id, dead.value, dead.base_version) == ("request 12", b"value 12", 7)
    assert dead.buffered_time.ToMilliseconds() == START_MS + 12
    assert dead.dead_time.ToMilliseconds() == START_MS + 12_000
    assert (dead.reason, dead.message) == ("MERGE_CONFLICT", "both wrote /a")


@pytest.mark.parametrize(
    ("base", "version"), [(None, None), (Base(version=0, value=None), 0), (Base(version=-1, value=b"imagined"), None)]
)
async def test_an_unknown_base_is_no_base_version_and_a_known_absence_is_0(
    base: Base | None, version: int | None
) -> None:
    async with asked(Graves(dead_write(1, base=base))) as (stub, _):
        [dead] = (await stub.ListDeadWrites(pb.ListDeadWritesRequest())).dead_writes

    assert (dead.base_version if dead.HasField("base_version") else None) == version


@pytest.mark.parametrize(
    ("change", "operation", "told"),
    [
        (MergePatch(patch={"a": None}), "merge_patch", {"a": None}),
        (Append(items=({"role": "user"}, 2)), "append", {"items": [{"role": "user"}, 2]}),
        (Append(items=(1,), max_items=5), "append", {"items": [1], "max_items": 5}),
        (Increment(delta=-3), "increment", {"delta": -3}),
        (Increment(delta=1, minimum=0, maximum=9), "increment", {"delta": 1, "minimum": 0, "maximum": 9}),
    ],
)
async def test_an_update_is_told_as_its_change_in_json(change: Any, operation: str, told: Any) -> None:
    async with asked(Graves(dead_write(1, Change(key="k", change=change)))) as (stub, _):
        [dead] = (await stub.ListDeadWrites(pb.ListDeadWritesRequest())).dead_writes

    assert (dead.key, dead.operation, json.loads(dead.value)) == ("k", operation, told)


async def test_a_change_that_is_nested_too_deeply_to_be_told_does_not_hide_the_others() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    graves = Graves(dead_write(1, Change(key="k", change=MergePatch(patch=deep))), dead_write(2))

    async with asked(graves) as (stub, _):
        first, second = (await stub.ListDeadWrites(pb.ListDeadWritesRequest())).dead_writes

    assert (first.id, first.operation, first.value) == ("1", "merge_patch", b"")
    assert second.value == b"value 2"


async def test_pages_are_by_the_time_of_death_and_hold_each_once() -> None:
    graves = Graves(*(dead_write(number, dead_time=START_MS + abs(number - 3)) for number in range(1, 6)))

    async with asked(graves) as (stub, _):
        assert await pages(stub, page_size=2) == [["3", "2"], ["4", "1"], ["5"]]
        assert await pages(stub, page_size=5) == [["3", "2", "4", "1", "5"]]
        assert await pages(stub) == [["3", "2", "4", "1", "5"]]


async def test_the_default_page_has_100() -> None:
    async with asked(Graves(*map(dead_write, range(1, 252)))) as (stub, _):
        assert [len(page) for page in await pages(stub)] == [100, 100, 51]
        assert [len(page) for page in await pages(stub, page_size=1000)] == [251]


async def test_a_page_ends_when_it_is_large_and_never_without_a_dead_write() -> None:
    half = bytes(PAGE_BYTES_MAX // 2)
    large = bytes(PAGE_BYTES_MAX + 1)
    values = [half, half, half, large, b"", large]
    graves = Graves(*(dead_write(number, Put(key="k", value=value)) for number, value in enumerate(values)))

    async with asked(graves) as (stub, _):
        assert await pages(stub) == [["0", "1"], ["2", "3"], ["4", "5"]]


async def test_a_listing_goes_on_when_its_last_dead_write_was_discarded_and_others_died() -> None:
    graves = Graves(*map(dead_write, range(1, 5)))
    async with asked(graves) as (stub, _):
        first = await stub.ListDeadWrites(pb.ListDeadWritesRequest(page_size=2))
        await stub.DiscardDeadWrites(pb.DiscardDeadWritesRequest(ids=["2"]))
        graves.kept[9] = dead_write(9)

        rest = await stub.ListDeadWrites(pb.ListDeadWritesRequest(page_size=9, page_token=first.next_page_token))

    assert [dead.id for dead in rest.dead_writes] == ["3", "4", "9"]


async def test_a_namespace_has_its_own_list() -> None:
    graves = Graves(dead_write(1), dead_write(2, namespace="other"), dead_write(3))
    async with asked(graves) as (stub, _):
        assert await pages(stub, namespace="chat", page_size=1) == [["1"], ["3"]]
        assert await pages(stub, namespace="other") == [["2"]]
        assert await pages(stub, namespace="absent") == [[]]


@pytest.mark.parametrize(
    ("rpc", "request_of", "reason", "at"),
    [
        ("ListDeadWrites", {"page_size": -1}, "PAGE_SIZE_INVALID", "page_size"),
        ("ListDeadWrites", {"page_size": 1001}, "PAGE_SIZE_INVALID", "page_size"),
        ("ListDeadWrites", {"page_token": "x"}, "PAGE_TOKEN_INVALID", "page_token"),
        ("ListDeadWrites", {"page_token": paging.page_token("", "", "1:1")}, "PAGE_TOKEN_INVALID", "page_token"),
        (
            "ListDeadWrites",
            {"page_token": paging.page_token("dead writes\n", "", "k")},
            "PAGE_TOKEN_INVALID",
            "page_token",
        ),
        ("RedriveDeadWrites", {}, "DEAD_WRITES_UNNAMED", "ids"),
        ("RedriveDeadWrites", {"namespace": "chat"}, "DEAD_WRITES_UNNAMED", "ids"),
        ("RedriveDeadWrites", {"ids": ["1"], "all": True}, "DEAD_WRITES_UNNAMED", "ids"),
        ("RedriveDeadWrites", {"all": True, "resolution": 3}, "RESOLUTION_INVALID", "resolution"),
        ("DiscardDeadWrites", {}, "DEAD_WRITES_UNNAMED", "ids"),
        ("DiscardDeadWrites", {"ids": ["1"], "all": True}, "DEAD_WRITES_UNNAMED", "ids"),
    ],
)
@pytest.mark.parametrize("journal", [True, False])
async def test_a_request_that_is_wrong_is_refused_and_settles_nothing(
    rpc: str, request_of: dict[str, Any], reason: str, at: str, *, journal: bool
) -> None:
    graves = Graves(dead_write(1))
    async with asked(graves if journal else None) as (stub, _):
        refused = await refusal(getattr(stub, rpc)(getattr(pb, f"{rpc}Request")(**request_of)))

    assert refused.told == (INVALID, reason)
    assert [violation.field for violation in refused.violations] == [at]
    assert list(graves.kept) == [1]


async def test_a_token_of_another_namespace_is_refused() -> None:
    async with asked(Graves(dead_write(1), dead_write(2))) as (stub, _):
        token = (await stub.ListDeadWrites(pb.ListDeadWritesRequest(page_size=1))).next_page_token

        refused = await refusal(stub.ListDeadWrites(pb.ListDeadWritesRequest(namespace="chat", page_token=token)))

    assert refused.told == (INVALID, "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize("rpc", ["ListDeadWrites", "RedriveDeadWrites", "DiscardDeadWrites"])
async def test_a_field_that_is_not_known_is_refused(rpc: str) -> None:
    graves = Graves(dead_write(1))
    named = {} if rpc == "ListDeadWrites" else {"all": True}
    async with asked(graves) as (stub, _):
        refused = await refusal(getattr(stub, rpc)(with_unknown(getattr(pb, f"{rpc}Request")(**named))))

    assert refused.told == (INVALID, "FIELD_UNKNOWN")
    assert list(graves.kept) == [1]


NAMED: list[tuple[dict[str, Any], Sequence[int]]] = [
    ({"ids": ["4", "2"]}, [2, 4]),
    ({"ids": ["2", "2"]}, [2]),
    ({"ids": ["2", "77", "no id", " 4", "٤"]}, [2]),
    ({"ids": ["2", "3"], "namespace": "other"}, [3]),
    ({"all": True}, [1, 2, 3, 4]),
    ({"all": True, "namespace": "chat"}, [1, 2, 4]),
    ({"all": True, "namespace": "absent"}, []),
]


def four() -> Graves:
    """Written in the order of their sequences, refused in another."""
    return Graves(
        dead_write(4), dead_write(1, dead_time=START_MS + 9_000), dead_write(3, namespace="other"), dead_write(2)
    )


@pytest.mark.parametrize(("named", "sequences"), NAMED)
async def test_those_that_are_named_and_there_are_tried_again_in_the_order_of_their_writing(
    named: dict[str, Any], sequences: Sequence[int]
) -> None:
    graves = four()
    async with asked(graves) as (stub, _):
        reply = await stub.RedriveDeadWrites(pb.RedriveDeadWritesRequest(**named))

    assert (reply.redriven_count, reply.refused_count) == (len(sequences), 0)
    assert graves.redriven == ([(list(sequences), False)] if sequences else [])
    assert graves.kept.keys() == {1, 2, 3, 4} - set(sequences)


async def test_those_that_are_refused_again_are_told() -> None:
    graves = four()
    graves.refused = {2, 4}
    async with asked(graves) as (stub, _):
        reply = await stub.RedriveDeadWrites(pb.RedriveDeadWritesRequest(ids=["1", "2", "77"]))

    assert (reply.redriven_count, reply.refused_count) == (1, 1)
    assert graves.kept.keys() == {2, 3, 4}


@pytest.mark.parametrize(("named", "sequences"), NAMED)
async def test_those_that_are_named_and_there_are_forgotten(named: dict[str, Any], sequences: Sequence[int]) -> None:
    graves = four()
    async with asked(graves) as (stub, _):
        reply = await stub.DiscardDeadWrites(pb.DiscardDeadWritesRequest(**named))

    assert reply.discarded_count == len(sequences)
    assert graves.discarded == ([list(sequences)] if sequences else [])
    assert graves.kept.keys() == {1, 2, 3, 4} - set(sequences)


@pytest.mark.parametrize(
    ("resolution", "overwrite"),
    [("UNSPECIFIED", False), ("RETRY", False), ("OVERWRITE", True)],
)
async def test_only_overwrite_overwrites(resolution: str, *, overwrite: bool) -> None:
    graves = Graves(dead_write(1))
    request: Any = pb.RedriveDeadWritesRequest(all=True, resolution=f"DEAD_WRITE_RESOLUTION_{resolution}")
    async with asked(graves) as (stub, _):
        await stub.RedriveDeadWrites(request)

    assert graves.redriven == [([1], overwrite)]


async def test_a_daemon_without_a_journal_has_no_dead_writes() -> None:
    async with asked(None) as (stub, _):
        listed = await stub.ListDeadWrites(pb.ListDeadWritesRequest())
        redriven = await stub.RedriveDeadWrites(pb.RedriveDeadWritesRequest(all=True))
        discarded = await stub.DiscardDeadWrites(pb.DiscardDeadWritesRequest(ids=["1"]))

    assert listed == pb.ListDeadWritesResponse()
    assert (redriven.redriven_count, discarded.discarded_count) == (0, 0)


async def test_a_journal_that_cannot_be_written_is_told() -> None:
    graves = Graves(dead_write(1))
    graves.error = StoreUnavailable("the journal's disk is full")
    async with asked(graves) as (stub, served):
        refused = await refusal(stub.DiscardDeadWrites(pb.DiscardDeadWritesRequest(all=True)))
        assert served.admission.in_flight == 0

    assert refused.told == (grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE")


async def test_an_authority_that_goes_away_half_way_is_not_told_as_if_nothing_was_done() -> None:
    graves = four()
    graves.error, graves.settled_before_error = StoreUnavailable("it is away"), 3
    async with asked(graves) as (stub, _):
        refused = await refusal(stub.RedriveDeadWrites(pb.RedriveDeadWritesRequest(all=True)))

    assert refused.told == (grpc.StatusCode.UNKNOWN, "WRITE_OUTCOME_UNKNOWN")
    assert refused.message == "3 of 4 dead writes were settled, the others not (it is away): list them"
    assert list(graves.kept) == [4]


async def test_draining_settles_nothing_more_and_still_lists() -> None:
    graves = Graves(dead_write(1))
    async with asked(graves) as (stub, served):
        served.admission.draining = True

        refused = await refusal(stub.RedriveDeadWrites(pb.RedriveDeadWritesRequest(all=True)))

        assert refused.told == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert await pages(stub) == [["1"]]
        assert graves.redriven == []


async def test_what_takes_longer_than_its_time_is_told_as_unknown_and_finished() -> None:
    graves = Graves(dead_write(1))
    graves.held = asyncio.Event()
    async with asked(graves, timeout_s=0.02) as (stub, served):
        refused = await refusal(stub.RedriveDeadWrites(pb.RedriveDeadWritesRequest(all=True)))
        assert refused.told == (grpc.StatusCode.DEADLINE_EXCEEDED, "WRITE_OUTCOME_UNKNOWN")
        assert "list them" in refused.message
        assert "request_id" not in refused.message

        graves.held.set()
        await served.commits.finish()

    assert graves.redriven == [([1], False)]


async def test_a_caller_that_goes_away_stops_nothing() -> None:
    graves = Graves(dead_write(1))
    graves.held = asyncio.Event()
    async with asked(graves) as (stub, served):
        call = stub.DiscardDeadWrites(pb.DiscardDeadWritesRequest(all=True))
        await graves.reached.wait()
        assert served.admission.in_flight == 1
        call.cancel()
        while served.admission.in_flight:  # noqa: ASYNC110  # a count that has no signal
            await asyncio.sleep(0)

        graves.held.set()
        await served.commits.finish()

    assert graves.kept == {}
