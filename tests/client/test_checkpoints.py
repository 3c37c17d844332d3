"""The calls about checkpoints as they go over the wire; both clients."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from statesidecar import (
    CapabilityMissing,
    Checkpoint,
    DataLoss,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    ServingMode,
    VersionConflict,
    WriteOutcomeUnknown,
    errors,
)
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.client.conftest import Client
from tests.client.scripted import Lost, Server, entry, got, set_done, status

ID = "0" * 28
NOT_FOUND = status(grpc.StatusCode.NOT_FOUND, errors.CHECKPOINT_NOT_FOUND)
GONE = status(grpc.StatusCode.UNAVAILABLE, message="connection reset")


def info(**fields: Any) -> pb.CheckpointInfo:
    return pb.CheckpointInfo(**{"checkpoint_id": ID, "key": "alice"} | fields)


def made(**fields: Any) -> pb.CheckpointResponse:
    return pb.CheckpointResponse(checkpoint=info(**fields), mode="SERVING_MODE_NORMAL")


def restored(*entries: types_pb2.Entry) -> pb.RestoreResponse:
    return pb.RestoreResponse(entries=entries, version=9, mode="SERVING_MODE_NORMAL")


def test_a_checkpoint_is_asked_for_as_it_was_told(client: Client, server: Server) -> None:
    server.expect(made(), made(), made())

    client.call("checkpoint", "process", key="alice", label="step-1", metadata={"model": "m"}, parent_id="p")
    client.call("checkpoint", "process", key_prefix="a/", request_id="mine")
    client.call("checkpoint", "process", key="alice")

    first, second, third = server.requests
    assert (first.namespace, first.key, first.key_prefix, first.label) == ("process", "alice", "", "step-1")
    assert (dict(first.metadata), first.parent_id) == ({"model": "m"}, "p")
    assert (second.key, second.key_prefix, second.request_id) == ("", "a/", "mine")
    assert (third.label, dict(third.metadata), third.parent_id) == ("", {}, "")
    assert first.request_id
    assert third.request_id
    assert first.request_id != third.request_id


def test_a_checkpoint_comes_as_python_values(client: Client, server: Server) -> None:
    reply = made(
        label="step-1",
        metadata={"model": "m"},
        parent_id="p",
        entry_count=2,
        value_bytes=30,
        stored_bytes=20,
        automatic=True,
    )
    reply.checkpoint.create_time.FromJsonString("2026-11-23T01:02:03.004Z")
    server.expect(reply)

    assert client.call("checkpoint", "process", key="alice") == Checkpoint(
        namespace="process",
        checkpoint_id=ID,
        key="alice",
        label="step-1",
        metadata={"model": "m"},
        parent_id="p",
        create_time=datetime(2026, 11, 23, 1, 2, 3, 4000, tzinfo=UTC),
        entry_count=2,
        value_bytes=30,
        stored_bytes=20,
        automatic=True,
    )


def test_a_checkpoint_whose_reply_was_lost_is_asked_for_again_under_its_one_id(client: Client, server: Server) -> None:
    server.expect(GONE, made())

    assert client.call("checkpoint", "process", key="alice").checkpoint_id == ID

    assert len({request.request_id for request in server.requests}) == 1


def test_without_a_request_id_a_checkpoint_is_not_asked_for_twice(client: Client, server: Server) -> None:
    server.expect(GONE)

    with pytest.raises(WriteOutcomeUnknown):
        client.call("checkpoint", "process", key="alice", request_id="")


def test_a_checkpoint_is_read_with_its_entries(client: Client, server: Server) -> None:
    two = [entry(b"1", 3, key="a"), entry(b"2", 4, key="b")]
    server.expect(
        pb.GetCheckpointResponse(checkpoint=info(key="", key_prefix="a"), entries=two, mode="SERVING_MODE_DEGRADED"),
        pb.GetCheckpointResponse(checkpoint=info(), entries=two[:1]),
        pb.GetCheckpointResponse(checkpoint=info()),
    )

    content = client.call("get_checkpoint", "process", ID)

    assert (server.requests[0].namespace, server.requests[0].checkpoint_id) == ("process", ID)
    assert (content.checkpoint.key_prefix, content.checkpoint.create_time) == ("a", None)
    assert [(found.key, found.value, found.version) for found in content.entries] == [("a", b"1", 3), ("b", b"2", 4)]
    assert (content.entry, content.mode) == (None, ServingMode.DEGRADED)
    assert client.call("get_checkpoint", "process", ID).entry.value == b"1"
    assert client.call("get_checkpoint", "process", ID).entry is None


def test_a_read_of_what_a_key_was_says_nothing_of_what_it_is(client: Client, server: Server) -> None:
    server.expect(pb.GetCheckpointResponse(checkpoint=info(), entries=[entry(b"1", 3)]), got(b"1", 2))

    client.call("get_checkpoint", "session", ID)
    client.call("get", "session", "alice")

    assert server.requests[1].min_version == 0


def test_checkpoints_are_listed_page_by_page(client: Client, server: Server) -> None:
    server.expect(
        pb.ListCheckpointsResponse(checkpoints=[info(), info(label="2")], next_page_token="2"),
        pb.ListCheckpointsResponse(next_page_token="3"),
        pb.ListCheckpointsResponse(checkpoints=[info(label="3")]),
    )

    found = client.listed("process", method="list_checkpoints", key="alice", page_size=2)

    assert [one.label for one in found] == ["", "2", "3"]
    assert {one.namespace for one in found} == {"process"}
    assert [request.page_token for request in server.requests] == ["", "2", "3"]
    assert all(request.key == "alice" and request.page_size == 2 for request in server.requests)


def test_checkpoints_of_a_prefix_and_of_a_namespace_are_asked_for(client: Client, server: Server) -> None:
    server.expect(pb.ListCheckpointsResponse(), pb.ListCheckpointsResponse())

    client.listed("process", method="list_checkpoints", key_prefix="a/")
    client.listed("process", method="list_checkpoints")

    assert [(request.key, request.key_prefix) for request in server.requests] == [("", "a/"), ("", "")]


def test_restored_versions_are_a_floor_for_reads(client: Client, server: Server) -> None:
    server.expect(restored(entry(b"1", 9, key="a"), entry(b"2", 9, key="b")), got(b"1", 9), got(b"2", 9))

    result = client.call("restore", "session", key_prefix="a")
    client.call("get", "session", "a")
    client.call("get", "session", "b")

    assert (result.version, result.entry, result.mode) == (9, None, ServingMode.NORMAL)
    assert [found.value for found in result.entries] == [b"1", b"2"]
    assert [request.min_version for request in server.requests[1:]] == [9, 9]


def test_what_is_restored_is_named_by_id_key_or_prefix_and_guarded_if_asked(client: Client, server: Server) -> None:
    server.expect(*[restored(entry(b"1", 9)) for _ in range(4)])

    client.call("restore", "session", checkpoint_id=ID)
    client.call("restore", "session", key="alice", expected_version=0)
    client.call("restore", "session", key="alice", expected_version=7, request_id="mine")
    result = client.call("restore", "session", key_prefix="al")

    named = [(request.checkpoint_id, request.key, request.key_prefix) for request in server.requests]
    assert named == [(ID, "", ""), ("", "alice", ""), ("", "alice", ""), ("", "", "al")]
    guards = [(request.HasField("expected_version"), request.expected_version) for request in server.requests]
    assert guards == [(False, 0), (True, 0), (True, 7), (False, 0)]
    assert server.requests[0].request_id
    assert server.requests[2].request_id == "mine"
    assert result.entry.value == b"1"


def test_a_restore_that_lost_raises_the_floor(client: Client, server: Server) -> None:
    lost = types_pb2.ConflictInfo(key="alice", expected_version=3, current_version=5)
    server.expect(status(grpc.StatusCode.ABORTED, "VERSION_MISMATCH", conflict=lost), got(b"v", 5))

    with pytest.raises(VersionConflict) as caught:
        client.call("restore", "session", key="alice", expected_version=3)
    client.call("get", "session", "alice")

    assert (caught.value.key, caught.value.current_version) == ("alice", 5)
    assert server.requests[1].min_version == 5


def test_a_restore_in_another_epoch_forgets_the_floor(client: Client, server: Server) -> None:
    server.expect(set_done(7), status(grpc.StatusCode.FAILED_PRECONDITION, errors.EPOCH_CHANGED), got(b"v", 2))

    client.call("set", "session", "alice", "v")
    with pytest.raises(FailedPrecondition):
        client.call("restore", "session", key="alice", expected_version=7)
    client.call("get", "session", "alice")

    assert server.requests[2].min_version == 0


@pytest.mark.parametrize(
    ("code", "reason", "cls"),
    [
        (grpc.StatusCode.NOT_FOUND, errors.CHECKPOINT_NOT_FOUND, NotFound),
        (grpc.StatusCode.DATA_LOSS, errors.CHECKPOINT_CORRUPT, DataLoss),
        (grpc.StatusCode.UNIMPLEMENTED, "CAPABILITY_MISSING", CapabilityMissing),
        (grpc.StatusCode.INVALID_ARGUMENT, "CHECKPOINT_ID_INVALID", InvalidRequest),
    ],
)
@pytest.mark.parametrize("method", ["get_checkpoint", "delete_checkpoint", "restore"])
def test_errors_are_classes_by_what_to_do(
    client: Client, server: Server, code: grpc.StatusCode, reason: str, cls: type[errors.StateSidecarError], method: str
) -> None:
    server.expect(status(code, reason))
    arguments, named = (("session",), {"checkpoint_id": ID}) if method == "restore" else (("session", ID), {})

    with pytest.raises(cls) as caught:
        client.call(method, *arguments, **named)

    assert (caught.value.reason, caught.value.code) == (reason, code)


def test_a_checkpoint_is_deleted(client: Client, server: Server) -> None:
    server.expect(pb.DeleteCheckpointResponse(mode="SERVING_MODE_NORMAL"))

    assert client.call("delete_checkpoint", "process", ID) is None

    assert (server.requests[0].namespace, server.requests[0].checkpoint_id) == ("process", ID)


def test_what_the_lost_first_try_deleted_is_deleted(client: Client, server: Server) -> None:
    server.expect(GONE, NOT_FOUND)

    assert client.call("delete_checkpoint", "process", ID) is None


def test_what_was_not_there_after_a_refused_try_was_not_deleted(client: Client, server: Server) -> None:
    server.expect(status(grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE", retry_after_s=0.001), NOT_FOUND)

    with pytest.raises(NotFound):
        client.call("delete_checkpoint", "process", ID)


def test_a_deletion_that_is_never_answered_is_of_unknown_outcome(client: Client, server: Server) -> None:
    server.expect(Lost())

    with pytest.raises(WriteOutcomeUnknown):
        client.call("delete_checkpoint", "process", ID, timeout_s=0.5)
