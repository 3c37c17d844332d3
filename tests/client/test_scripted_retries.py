"""What goes over the wire when calls fail: both clients, a real gRPC server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

import statesidecar
from statesidecar import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    LimitExceeded,
    RetryPolicy,
    StateSidecarError,
    Unavailable,
    VersionConflict,
    WriteOutcomeUnknown,
)
from tests.client.conftest import Client
from tests.client.scripted import Lost, Server, conflict, got, passthrough, set_done, status

Code = grpc.StatusCode


def set_alice(client: Client, **options: Any) -> Any:
    return client.call("set", "session", "alice", b"v", **options)


def test_a_write_is_repeated_under_the_same_request_id(client: Client, server: Server) -> None:
    server.expect(
        status(Code.UNAVAILABLE, "DRAINING", retry_after_s=0.001),
        status(Code.UNAVAILABLE),
        status(Code.UNKNOWN, "WRITE_OUTCOME_UNKNOWN"),
        status(Code.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
        set_done(7),
    )

    result = set_alice(client)

    assert result.version == 7
    assert len({request.request_id for request in server.requests}) == 1
    assert len(server.requests[0].request_id) == 32
    assert len(server.requests) == 5


def test_two_writes_have_two_request_ids(client: Client, server: Server) -> None:
    server.expect(set_done(1), set_done(2))

    set_alice(client)
    set_alice(client)

    assert server.requests[0].request_id != server.requests[1].request_id


def test_a_lost_reply_is_asked_for_again_with_the_same_id(client: Client, server: Server) -> None:
    server.expect(Lost(), set_done(7))

    result = set_alice(client, timeout_s=1.0)

    assert result.version == 7
    assert server.requests[0].request_id == server.requests[1].request_id
    assert server.remaining_s[0] < 0.6, "half of the budget is kept for the repetition"


def test_a_write_whose_replies_are_all_lost_has_an_unknown_outcome(client: Client, server: Server) -> None:
    server.expect(Lost(), Lost())

    with pytest.raises(WriteOutcomeUnknown) as caught:
        set_alice(client, timeout_s=0.3)

    assert caught.value.request_id == server.requests[0].request_id
    assert caught.value.code is Code.DEADLINE_EXCEEDED


def test_an_unknown_outcome_stays_unknown_when_the_daemon_is_away_then(client: Client, server: Server) -> None:
    server.expect(status(Code.UNKNOWN, "WRITE_OUTCOME_UNKNOWN"), passthrough())

    with pytest.raises(WriteOutcomeUnknown):
        set_alice(client, request_id="mine")


def test_a_definite_answer_after_an_unknown_outcome_is_believed(client: Client, server: Server) -> None:
    server.expect(status(Code.UNKNOWN, "WRITE_OUTCOME_UNKNOWN"), conflict(3, 5))

    with pytest.raises(VersionConflict) as caught:
        client.call("cas", "session", "alice", b"v", expected_version=3)

    assert (caught.value.key, caught.value.expected_version, caught.value.current_version) == ("alice", 3, 5)


def test_a_connection_cut_in_mid_call_leaves_the_outcome_unknown(connect: Callable[..., Client]) -> None:
    server, lost = Server(), Lost()
    server.start()
    server.expect(lost)
    client = connect(server.target, retry=RetryPolicy(attempts_max=2, backoff_initial_s=0.0))

    def cut() -> None:
        lost.received.wait(10)
        server.stop()

    cutting = threading.Thread(target=cut)
    cutting.start()

    with pytest.raises(WriteOutcomeUnknown) as caught:
        set_alice(client)
    cutting.join()

    assert caught.value.request_id == server.requests[0].request_id


def test_a_write_that_was_never_sent_is_unavailable(connect: Callable[..., Client]) -> None:
    server = Server()
    server.start()
    server.stop()
    client = connect(server.target, retry=RetryPolicy(attempts_max=2, backoff_initial_s=0.0))

    with pytest.raises(Unavailable) as caught:
        set_alice(client)

    assert caught.value.reason == ""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (conflict(3, 5), VersionConflict),
        (status(Code.INVALID_ARGUMENT, "VALUE_TOO_LARGE"), InvalidRequest),
        (status(Code.FAILED_PRECONDITION, "SCHEMA_TOO_NEW"), FailedPrecondition),
        (status(Code.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", retry_after_s=0.001), LimitExceeded),
        (passthrough(), Unavailable),
        (status(Code.UNAVAILABLE, "AUTHORITY_UNAVAILABLE"), Unavailable),
        (status(Code.DATA_LOSS, "ENTRY_CORRUPT"), statesidecar.DataLoss),
        (status(Code.UNIMPLEMENTED, "CAPABILITY_MISSING"), statesidecar.CapabilityMissing),
        (status(Code.PERMISSION_DENIED), statesidecar.PermissionDenied),
        (status(Code.INTERNAL, "INTERNAL"), statesidecar.InternalError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_cannot_do_better_is_not_repeated(
    client: Client, server: Server, answer: Any, error: type[StateSidecarError]
) -> None:
    server.expect(answer)

    with pytest.raises(error):
        client.call("cas", "session", "alice", b"v", expected_version=3)

    assert len(server.requests) == 1


def test_the_daemon_s_wish_to_wait_is_honoured_or_the_call_ends(client: Client, server: Server) -> None:
    server.expect(status(Code.UNAVAILABLE, "AUTHORITY_UNAVAILABLE", retry_after_s=60.0))

    with pytest.raises(Unavailable) as caught:
        set_alice(client, timeout_s=5.0)

    assert caught.value.retry_after_s == 60.0
    assert caught.value.reason == "AUTHORITY_UNAVAILABLE"


def test_attempts_are_bounded(connect: Callable[..., Client], server: Server) -> None:
    client = connect(server.target, retry=RetryPolicy(attempts_max=3, backoff_initial_s=0.0))
    server.expect(*[status(Code.UNAVAILABLE, "DRAINING", retry_after_s=0.0)] * 3)

    with pytest.raises(Unavailable) as caught:
        set_alice(client)

    assert caught.value.reason == "DRAINING"


def test_a_write_without_a_request_id_is_not_repeated_once_it_may_have_landed(client: Client, server: Server) -> None:
    server.expect(status(Code.UNAVAILABLE))

    with pytest.raises(WriteOutcomeUnknown) as caught:
        set_alice(client, request_id="")

    assert caught.value.request_id == ""


def test_a_write_without_a_request_id_is_repeated_while_nothing_was_written(client: Client, server: Server) -> None:
    server.expect(status(Code.UNAVAILABLE, "DRAINING"), set_done(7))

    assert set_alice(client, request_id="").version == 7


def test_a_read_is_repeated_and_never_has_an_unknown_outcome(client: Client, server: Server) -> None:
    server.expect(status(Code.UNAVAILABLE), got(b"v", 3), Lost())

    assert client.call("get", "session", "alice").version == 3
    with pytest.raises(DeadlineExceeded):
        client.call("get", "session", "alice", timeout_s=0.2)


def test_without_a_retry_left_an_error_is_raised_at_once(connect: Callable[..., Client], server: Server) -> None:
    client = connect(server.target, retry=RetryPolicy(backoff_initial_s=0.0, retries_saved_max=1))
    server.expect(*[status(Code.UNAVAILABLE, "DRAINING")] * 4, status(Code.UNKNOWN, "WRITE_OUTCOME_UNKNOWN"))

    for _ in range(3):
        with pytest.raises(Unavailable):
            set_alice(client)
    assert len({request.request_id for request in server.requests}) == 3

    with pytest.raises(WriteOutcomeUnknown) as caught:
        set_alice(client)
    assert caught.value.request_id == server.requests[-1].request_id


def test_the_daemon_s_hint_is_kept_within_the_deadline(client: Client, server: Server) -> None:
    server.expect(status(Code.UNAVAILABLE, "AUTHORITY_UNAVAILABLE", retry_after_s=60.0))

    with pytest.raises(Unavailable) as caught:
        client.call("get", "session", "alice")

    assert caught.value.retry_after_s == 60.0


def test_a_call_without_time_left_is_not_sent(client: Client, server: Server) -> None:
    with pytest.raises(DeadlineExceeded):
        set_alice(client, timeout_s=0.0)

    assert server.requests == []


def test_a_closed_client_says_so(connect: Callable[..., Client], server: Server) -> None:
    client = connect(server.target)
    server.expect(set_done(1))
    set_alice(client)
    client.call("close")

    with pytest.raises(InvalidRequest, match="closed"):
        set_alice(client)
