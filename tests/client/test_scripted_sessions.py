"""Sessions and updates: what is loaded, saved, merged, and left alone; both clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from statesidecar import (
    Durability,
    FailedPrecondition,
    ServingMode,
    Unavailable,
    VersionConflict,
    WriteOutcomeUnknown,
)
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.client.conftest import Client
from tests.client.scripted import Server, cas_done, conflict, got, passthrough, set_done, status

EPOCH_CHANGED = status(grpc.StatusCode.FAILED_PRECONDITION, "EPOCH_CHANGED")


def saved(server: Server) -> Any:
    """The state in the last request."""
    return json.loads(server.requests[-1].value)


def test_a_changed_state_is_saved_against_the_version_that_was_loaded(client: Client, server: Server) -> None:
    server.expect(got(b'{"turns":["hi"]}', 4), cas_done(5))

    with client.session("session", "alice", ttl=60) as session:
        assert (session.version, session.mode) == (4, ServingMode.NORMAL)
        session.state["turns"].append("ho")

    request = server.requests[-1]
    assert request.expected_version == 4
    assert request.content_type == "application/json"
    assert request.ttl.seconds == 60
    assert saved(server) == {"turns": ["hi", "ho"]}
    assert (session.saved, session.version, session.durability) == (True, 5, Durability.COMMITTED)


def test_a_new_state_begins_as_its_default_and_must_not_exist_yet(client: Client, server: Server) -> None:
    server.expect(got(), cas_done(1))
    default: dict[str, list[str]] = {"turns": []}

    with client.session("session", "alice", default=default) as session:
        session.state["turns"].append("hi")

    assert server.requests[-1].expected_version == 0
    assert saved(server) == {"turns": ["hi"]}
    assert default == {"turns": []}


def test_a_state_may_be_assigned(client: Client, server: Server) -> None:
    server.expect(got(b"[1]", 4), cas_done(5))

    with client.session("session", "alice") as session:
        session.state = "other"

    assert saved(server) == "other"


@pytest.mark.parametrize("stored", [b'{"a":1,"b":[2]}', None])
def test_an_unchanged_state_is_not_written(client: Client, server: Server, stored: bytes | None) -> None:
    server.expect(got(stored, 4))

    with client.session("session", "alice") as session:
        session.state = dict(reversed(session.state.items()))

    assert not session.saved


def test_true_instead_of_1_is_a_change(client: Client, server: Server) -> None:
    server.expect(got(b'{"a":1}', 4), cas_done(5))

    with client.session("session", "alice") as session:
        session.state["a"] = True

    assert saved(server) == {"a": True}


def test_a_block_that_raises_saves_nothing(client: Client, server: Server) -> None:
    server.expect(got(b'{"c":1}', 4))

    with pytest.raises(KeyError), client.session("session", "alice") as session:
        session.state["a"] = session.state.pop("c") + session.state["b"]

    assert not session.saved


def test_a_conflict_raises_by_default(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4), conflict(4, 6))

    with pytest.raises(VersionConflict) as caught, client.session("session", "alice") as session:
        session.state["a"] = 1

    assert caught.value.current_version == 6
    assert not session.saved


@pytest.mark.parametrize("loss", [conflict(4, 6), EPOCH_CHANGED], ids=["conflict", "epoch"])
def test_a_conflict_is_merged_where_asked_for(client: Client, server: Server, loss: Any) -> None:
    server.expect(
        got(b'{"turns":["hi"],"n":1}', 4),
        loss,
        got(b'{"turns":["hi","theirs"],"n":2}', 6),
        conflict(6, 7),
        got(b'{"turns":["hi","theirs","more"],"n":3}', 7),
        cas_done(8),
    )

    with client.session("session", "alice", on_conflict="merge") as session:
        session.state["turns"].append("mine")
        session.state["n"] += 1

    assert saved(server) == {"turns": ["hi", "theirs", "more", "mine"], "n": 4}
    assert server.requests[-1].expected_version == 7
    assert server.requests[2].consistency == types_pb2.CONSISTENCY_STRONG
    assert (session.version, session.state["n"]) == (8, 4)


def test_each_save_has_a_request_id_of_its_own(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4), conflict(4, 6), got(b"{}", 6), cas_done(8))

    with client.session("session", "alice", on_conflict="merge") as session:
        session.state["a"] = 1

    assert server.requests[1].request_id != server.requests[3].request_id


def test_a_true_conflict_raises_and_names_the_path(client: Client, server: Server) -> None:
    server.expect(got(b'{"slots":{"city":"a"}}', 4), conflict(4, 6), got(b'{"slots":{"city":"c"}}', 6))

    with (
        pytest.raises(VersionConflict, match=r"\$\.slots\.city") as caught,
        client.session("session", "alice", on_conflict="merge") as session,
    ):
        session.state["slots"]["city"] = "b"

    assert (caught.value.path, caught.value.current_version) == ("$.slots.city", 6)


def test_a_state_deleted_by_another_is_a_true_conflict(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4), conflict(4, 0), got())

    with (
        pytest.raises(VersionConflict) as caught,
        client.session("session", "alice", on_conflict="merge") as session,
    ):
        session.state["a"] = 1

    assert caught.value.path == "$"


def test_a_merge_that_makes_theirs_writes_nothing(client: Client, server: Server) -> None:
    server.expect(got(b'{"a":"x"}', 4), conflict(4, 6), got(b'{"a":"y"}', 6))

    with client.session("session", "alice", on_conflict="merge") as session:
        session.state["a"] = "y"

    assert (session.saved, session.version) == (False, 6)


def test_the_last_write_wins_where_asked_for(client: Client, server: Server) -> None:
    server.expect(got(b'{"a":1}', 4), set_done(7))

    with client.session("session", "alice", on_conflict="last_write_wins", ttl=60) as session:
        session.state["a"] = 2

    request = server.requests[-1]
    assert isinstance(request, pb.SetRequest)
    assert (request.content_type, request.ttl.seconds, saved(server)) == ("application/json", 60, {"a": 2})
    assert (session.saved, session.version, session.durability) == (True, 7, Durability.COMMITTED)


def test_a_last_write_may_be_buffered(client: Client, server: Server) -> None:
    buffered = pb.SetResponse(durability="DURABILITY_BUFFERED", mode="SERVING_MODE_DEGRADED")
    server.expect(got(b"{}", 4, mode="DEGRADED"), buffered)

    with client.session("session", "alice", on_conflict="last_write_wins") as session:
        session.state["a"] = 2

    assert (session.saved, session.version) == (True, 0)
    assert (session.durability, session.mode) == (Durability.BUFFERED, ServingMode.DEGRADED)


def test_a_last_write_never_replaces_a_state_that_was_not_read(client: Client, server: Server) -> None:
    server.expect(got(mode="PASSTHROUGH"))

    with client.session("session", "alice", on_conflict="last_write_wins", on_outage="continue") as session:
        session.state["a"] = 2

    assert not session.saved


def test_a_last_write_that_was_discarded_is_not_saved(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4), pb.SetResponse(durability="DURABILITY_DISCARDED", mode="SERVING_MODE_PASSTHROUGH"))

    with client.session("session", "alice", on_conflict="last_write_wins") as session:
        session.state["a"] = 2

    assert (session.saved, session.mode) == (False, ServingMode.PASSTHROUGH)


def test_a_conflict_is_the_caller_s_function_s_to_solve(client: Client, server: Server) -> None:
    server.expect(got(b"[1]", 4), conflict(4, 6), got(b"[2]", 6), conflict(6, 0), got(), cas_done(9))
    seen = []

    def solve(base: Any, mine: Any, theirs: Any) -> Any:
        seen.append((base, mine, theirs))
        return [*mine, *(theirs or [])]

    with client.session("session", "alice", default=list, on_conflict=solve) as session:
        session.state.append(9)

    assert seen == [([1], [1, 9], [2]), ([2], [1, 9, 2], None)]
    assert saved(server) == [1, 9, 2]
    assert server.requests[-1].expected_version == 0


def test_merging_ends(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4))
    for version in range(5, 25):
        server.expect(conflict(4, version), got(b"{}", version))
    server.expect(conflict(4, 25))

    with pytest.raises(VersionConflict), client.session("session", "alice", on_conflict="merge") as session:
        session.state["a"] = 1


@pytest.mark.parametrize(
    "answer", [got(mode="PASSTHROUGH"), passthrough()], ids=["a read in passthrough", "an unavailable read"]
)
def test_an_outage_raises_by_default_before_the_block_runs(client: Client, server: Server, answer: Any) -> None:
    server.expect(answer)

    with pytest.raises(Unavailable), client.session("session", "alice"):
        pytest.fail("the block ran")


@pytest.mark.parametrize(
    "answer", [got(mode="PASSTHROUGH"), passthrough()], ids=["a read in passthrough", "an unavailable read"]
)
def test_an_outage_can_be_worked_through_without_claiming_a_save(client: Client, server: Server, answer: Any) -> None:
    server.expect(answer)

    with client.session("session", "alice", default={"turns": []}, on_outage="continue") as session:
        assert session.mode is ServingMode.PASSTHROUGH
        assert session.state == {"turns": []}
        session.state["turns"].append("hi")

    assert (session.saved, session.durability) == (False, Durability.UNSPECIFIED)


def test_an_outage_at_the_save_is_visible(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4), passthrough())

    with client.session("session", "alice", on_outage="continue") as session:
        session.state["a"] = 1

    assert (session.saved, session.mode) == (False, ServingMode.PASSTHROUGH)


def test_an_outage_at_the_save_raises_by_default(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4), passthrough())

    with pytest.raises(Unavailable), client.session("session", "alice") as session:
        session.state["a"] = 1


def test_an_unknown_outcome_is_told_even_to_those_who_continue(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4), status(grpc.StatusCode.UNKNOWN, "WRITE_OUTCOME_UNKNOWN"), passthrough())

    with (
        pytest.raises(WriteOutcomeUnknown),
        client.session("session", "alice", on_outage="continue") as session,
    ):
        session.state["a"] = 1

    assert not session.saved


def test_a_stored_value_that_is_no_json_is_not_taken_for_a_new_state(client: Client, server: Server) -> None:
    server.expect(got(b"\x80raw", 4))

    with pytest.raises(FailedPrecondition) as caught, client.session("session", "alice"):
        pytest.fail("the block ran")

    assert caught.value.reason == "NOT_JSON"


@pytest.mark.parametrize("wrong", [{"on_conflict": "ignore"}, {"on_outage": "ignore"}])
def test_a_policy_that_does_not_exist_is_refused(client: Client, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not 'ignore'"), client.session("session", "alice", **wrong):
        pytest.fail("the block ran")


def test_an_update_runs_again_on_what_it_lost_to(client: Client, server: Server) -> None:
    server.expect(
        got(b'{"n":1}', 4), conflict(4, 6), got(b'{"n":5}', 6), EPOCH_CHANGED, got(b'{"n":7}', 3), cas_done(8)
    )

    result = client.call("update", "session", "alice", lambda state: {"n": state["n"] + 1})

    assert saved(server) == {"n": 8}
    assert (result.state, result.version, result.attempts) == ({"n": 8}, 8, 3)
    assert [request.consistency for request in server.requests[::2]] == [
        types_pb2.CONSISTENCY_CACHED,
        types_pb2.CONSISTENCY_STRONG,
        types_pb2.CONSISTENCY_STRONG,
    ]


def test_an_update_may_change_the_state_in_place(client: Client, server: Server) -> None:
    server.expect(got(), cas_done(1))

    def append(state: list[str]) -> None:
        state.append("hi")

    result = client.call("update", "session", "alice", append, default=list)

    assert (result.state, saved(server)) == (["hi"], ["hi"])


def test_that_nothing_is_to_do_is_confirmed_by_the_authority(client: Client, server: Server) -> None:
    server.expect(got(b'{"open":false}', 4), got(b'{"open":true}', 5), cas_done(6))

    def count(state: dict[str, Any]) -> None:
        if state["open"]:
            state["n"] = 1

    result = client.call("update", "session", "alice", count)

    assert (result.version, saved(server)) == (6, {"open": True, "n": 1})


def test_an_update_that_changes_nothing_writes_nothing(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4), got(b"{}", 4))

    result = client.call("update", "session", "alice", lambda state: state)

    assert (result.version, result.durability) == (4, Durability.UNSPECIFIED)


def test_an_update_gives_up_after_its_attempts(client: Client, server: Server) -> None:
    server.expect(got(b"{}", 4), conflict(4, 6), got(b"{}", 6), conflict(6, 7))

    with pytest.raises(VersionConflict):
        client.call("update", "session", "alice", lambda _: {"a": 1}, attempts_max=2)


def test_an_update_in_passthrough_doesn_t_run_the_function(client: Client, server: Server) -> None:
    server.expect(got(mode="PASSTHROUGH"))

    with pytest.raises(Unavailable):
        client.call("update", "session", "alice", lambda _: pytest.fail("the function ran"))


@pytest.mark.parametrize("error", [VersionConflict("VERSION_MISMATCH", "of another call"), StopIteration(), KeyError()])
def test_the_function_s_own_errors_are_its_caller_s(connect: Callable[..., Client], server: Server, error: Any) -> None:
    client = connect(server.target)
    server.expect(got(b"{}", 4))

    def fail(_: Any) -> None:
        raise error

    with pytest.raises(type(error) if not isinstance(error, StopIteration) else (StopIteration, RuntimeError)):
        client.call("update", "session", "alice", fail)
