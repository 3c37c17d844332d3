"""Versions remembered, pages and batches, as they go over the wire; both clients."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from statesidecar import (
    CheckOp,
    Consistency,
    DeleteOp,
    Durability,
    FailedPrecondition,
    IncrementOp,
    ServingMode,
    SetOp,
    StateClient,
    Tier,
    Unavailable,
    VersionConflict,
)
from statesidecar.v1 import admin_service_pb2, types_pb2
from statesidecar.v1 import state_service_pb2 as pb
from tests.client.conftest import Client
from tests.client.scripted import Server, conflict, entry, got, passthrough, set_done, status

EPOCH_CHANGED = status(grpc.StatusCode.FAILED_PRECONDITION, "EPOCH_CHANGED")


def test_a_read_after_a_write_asks_for_what_was_written(client: Client, server: Server) -> None:
    server.expect(set_done(7), got(b"v", 9), got(b"v", 9), got(b"v", 9))

    client.call("set", "session", "alice", "v")
    client.call("get", "session", "alice")
    client.call("get", "session", "alice")
    client.call("get", "session", "alice", consistency=Consistency.STRONG)

    assert [request.min_version for request in server.requests[1:]] == [7, 9, 0]
    assert [request.consistency for request in server.requests[1:]] == [1, 1, 2]


def test_floors_are_a_key_s_own(client: Client, server: Server) -> None:
    server.expect(set_done(7), got(), got())

    client.call("set", "session", "alice", "v")
    client.call("get", "session", "bob")
    client.call("get", "process", "alice")

    assert [request.min_version for request in server.requests[1:]] == [0, 0]


def test_a_lost_compare_and_set_raises_the_floor(client: Client, server: Server) -> None:
    server.expect(conflict(3, 5), got(b"v", 5))

    with pytest.raises(VersionConflict):
        client.call("cas", "session", "alice", "v", expected_version=3)
    client.call("get", "session", "alice")

    assert server.requests[1].min_version == 5


def test_a_floor_of_another_epoch_is_forgotten_and_the_read_repeated_once(client: Client, server: Server) -> None:
    server.expect(set_done(7), EPOCH_CHANGED, got(b"v", 2), got(b"v", 2))

    client.call("set", "session", "alice", "v")
    result = client.call("get", "session", "alice")
    client.call("get", "session", "alice")

    assert result.version == 2
    assert [request.min_version for request in server.requests[1:]] == [7, 0, 2]


def test_a_given_min_version_of_another_epoch_is_the_caller_s_to_hear_of(client: Client, server: Server) -> None:
    server.expect(EPOCH_CHANGED)

    with pytest.raises(FailedPrecondition):
        client.call("get", "session", "alice", min_version=9)

    assert server.requests[0].min_version == 9


def test_a_batch_sends_a_floor_for_each_key_or_none(client: Client, server: Server) -> None:
    alice = pb.BatchGetResult(key="alice", entry=entry(b"v", 8), served_by="TIER_WARM")
    reply = pb.BatchGetResponse(results=[alice, pb.BatchGetResult(key="bob")], mode="SERVING_MODE_DEGRADED")
    server.expect(reply, reply, EPOCH_CHANGED, reply)

    first, second = client.call("batch_get", "session", ["alice", "bob"])
    client.call("batch_get", "session", ["alice", "bob"])
    client.call("batch_get", "session", ["alice", "bob"])

    assert [list(request.min_versions) for request in server.requests] == [[], [8, 0], [8, 0], []]
    assert (first.value, first.version, first.served_by, first.mode) == (b"v", 8, Tier.WARM, ServingMode.DEGRADED)
    assert (second.found, second.value, second.version) == (False, None, 0)


def test_pages_are_fetched_as_they_are_needed(connect: Callable[..., Client], server: Server) -> None:
    client = connect(server.target)
    server.expect(
        pb.ListResponse(entries=[entry(key="a"), entry(key="b")], next_page_token="2"),
        pb.ListResponse(next_page_token="3"),
        pb.ListResponse(entries=[entry(key="c")]),
    )

    keys = [found.key for found in client.listed("session", "p", keys_only=True, page_size=2)]

    assert keys == ["a", "b", "c"]
    assert [request.page_token for request in server.requests] == ["", "2", "3"]
    assert all(request.keys_only and request.page_size == 2 for request in server.requests)


def test_a_page_nobody_asks_for_is_not_fetched(server: Server) -> None:
    server.expect(pb.ListResponse(entries=[entry(key="a")], next_page_token="2"))

    with StateClient(server.target) as client:
        first = next(client.list("session"))

    assert first.key == "a"
    assert len(server.requests) == 1


def test_an_entry_comes_as_python_values(client: Client, server: Server) -> None:
    reply = got(b'{"turns":[1]}', 4)
    reply.entry.update_time.FromJsonString("2026-11-23T01:02:03.004Z")
    reply.entry.content_type = "application/json"
    reply.entry.labels["team"] = "red"
    server.expect(reply)

    found = client.call("get", "session", "alice").entry

    assert found.json() == {"turns": [1]}
    assert found.update_time == datetime(2026, 11, 23, 1, 2, 3, 4000, tzinfo=UTC)
    assert found.expire_time is None
    assert (found.content_type, found.labels) == ("application/json", {"team": "red"})


def test_an_enum_value_of_a_later_release_is_unspecified(client: Client, server: Server) -> None:
    server.expect(pb.GetResponse(mode=99, served_by=99))  # type: ignore[arg-type]  # the stubs don't take a number

    result = client.call("get", "session", "alice")

    assert (result.mode, result.served_by) == (ServingMode.UNSPECIFIED, Tier.UNSPECIFIED)


def test_a_discarded_increment_has_no_count(client: Client, server: Server) -> None:
    server.expect(pb.UpdateResponse(durability="DURABILITY_DISCARDED", mode="SERVING_MODE_PASSTHROUGH"))

    result = client.call("increment", "session", "n")

    assert result.durability is Durability.DISCARDED
    with pytest.raises(Unavailable):
        _ = result.count


@pytest.mark.parametrize("value", [b"", b"7"])
def test_a_buffered_increment_counts_but_may_not_know_its_sum(client: Client, server: Server, value: bytes) -> None:
    server.expect(pb.UpdateResponse(value=value, durability="DURABILITY_BUFFERED", mode="SERVING_MODE_DEGRADED"))

    result = client.call("increment", "session", "n")

    assert (result.durability, result.version) == (Durability.BUFFERED, 0)
    if value:
        assert result.count == 7
    else:
        with pytest.raises(ValueError, match="buffered"):
            _ = result.count


def test_a_transaction_sends_its_operations_under_one_request_id(client: Client, server: Server) -> None:
    done: dict[str, Any] = {"version": 9, "durability": "DURABILITY_COMMITTED", "mode": "SERVING_MODE_NORMAL"}
    server.expect(
        pb.TransactResponse(
            results=[
                pb.TransactResult(set=pb.SetResponse(**done)),
                pb.TransactResult(update=pb.UpdateResponse(value=b"5", **done)),
                pb.TransactResult(delete=pb.DeleteResponse(found=True, **done)),
                pb.TransactResult(check=pb.Check(key="d", expected_version=1)),
            ],
            **done,
        ),
        got(b"v", 9),
    )

    result = client.call("transact", "session", [SetOp("a", "v"), IncrementOp("b", 2), DeleteOp("c"), CheckOp("d", 1)])
    client.call("get", "session", "a")

    request = server.requests[0]
    assert request.request_id
    assert [op.WhichOneof("operation") for op in request.operations] == ["set", "update", "delete", "check"]
    assert not any(op.set.request_id or op.set.namespace for op in request.operations)
    assert not request.operations[2].delete.HasField("expected_version")
    assert [type(part).__name__ for part in result.results] == [
        "WriteResult",
        "UpdateResult",
        "DeleteResult",
        "NoneType",
    ]
    assert result.results[1].count == 5
    assert server.requests[1].min_version == 9


def test_a_status_comes_as_python_values(client: Client, server: Server) -> None:
    tier = admin_service_pb2.TierStatus(
        tier=types_pb2.TIER_WARM,
        url="sqlite://",
        state="TIER_STATE_UP",
        breaker="BREAKER_STATE_CLOSED",
        hit_ratio=0.5,
        authority=True,
    )
    tier.latency.p99.FromMilliseconds(12)
    server.expect(
        admin_service_pb2.GetStatusResponse(mode="SERVING_MODE_NORMAL", tiers=[tier], daemon_version="0.1.0"),
    )

    result = client.call("status")

    assert result.daemon_version == "0.1.0"
    assert result.outbox_lag is None
    (warm,) = result.tiers
    assert (warm.tier, warm.hit_ratio, warm.authority) == (Tier.WARM, 0.5, True)
    assert warm.latency is not None
    assert warm.latency.p99_s == 0.012


def test_a_guard_of_zero_is_sent_and_none_is_not(client: Client, server: Server) -> None:
    gone = pb.DeleteResponse(durability="DURABILITY_COMMITTED", mode="SERVING_MODE_NORMAL")
    server.expect(gone, gone)

    client.call("delete", "session", "alice")
    client.call("delete", "session", "alice", expected_version=0)

    assert [request.HasField("expected_version") for request in server.requests] == [False, True]


def test_passthrough_answers_at_once(client: Client, server: Server) -> None:
    server.expect(passthrough())

    with pytest.raises(Unavailable) as caught:
        client.call("cas", "session", "alice", "v", expected_version=0)

    assert (caught.value.reason, caught.value.retry_after_s) == ("PASSTHROUGH", 1.0)
