from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.cli.calls import Exit
from statesidecar.testing import sidecar
from statesidecar.v1 import state_service_pb2 as pb
from tests.cli.conftest import NOTHING, Run, process, runner
from tests.client.scripted import Server, status

VERSION_0 = ("--expected-version", "0")


@pytest.fixture(scope="module")
def passing() -> Iterator[Run]:
    """Commands to a daemon that has no authority."""
    with sidecar(tiers=NOTHING) as running:
        yield runner(running.target)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["get", "session", "absent"], 1, "no entry absent in session"),
        (["get", "session"], 2, "Missing argument 'KEY'"),
        (["get", "session", "k", "--timeout", "soon"], 2, "'soon' is not a duration: write 30m"),
        (["get", "session", "k", "--min-version", "-1"], 2, "-1 is not in the range"),
        (["set", "session", "k"], 2, "give a value: as an argument, - for stdin, or --file"),
        (["set", "session", "k", "v", "--file", "x"], 2, "give a value"),
        (["set", "session", "k", "--file", "/nonexistent"], 2, "cannot read /nonexistent: No such file or directory"),
        (["set", "session", "k", "v", "--ttl", "9999999w"], 2, "more than 10000 years"),
        (["set", "session", "k", "v", "--label", "x"], 2, "'x' is not key=value"),
        (["set", "session", "k\udce9", "v"], 2, "not UTF-8"),
        (["cas", "session", "k", "v"], 2, "Missing option '--expected-version'"),
        (["get", "session", ""], 4, "KEY_INVALID: key is empty"),
        (["set", "session", "k", "v", "--ttl", "4000d"], 4, "TTL_OUT_OF_RANGE: "),
        (["get", "", "k"], 4, "NAMESPACE_INVALID: namespace is empty"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_each_mistake_has_its_exit_code_and_message(run: Run, arguments: list[str], code: int, told: str) -> None:
    ran = run(*arguments)

    assert (ran.code, ran.out) == (code, b"")
    assert told in ran.err


@pytest.mark.parametrize(
    ("code", "reason", "expected", "advice"),
    [
        (grpc.StatusCode.UNAVAILABLE, "PASSTHROUGH", 5, "Nothing was written. Try again in 2 s."),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", 5, "Nothing was written. Try again in 2 s."),
        (grpc.StatusCode.UNIMPLEMENTED, "CAPABILITY_MISSING", 4, ""),
        (grpc.StatusCode.PERMISSION_DENIED, "", 7, ""),
        (grpc.StatusCode.PERMISSION_DENIED, "NAMESPACE_DENIED", 7, ""),
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", 7, "Say who calls: with --token-file, or with"),
        (grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_TOO_NEW", 4, ""),
        (grpc.StatusCode.ABORTED, "VERSION_MISMATCH", 3, "Nothing was written. `get --verbose` tells"),
        (grpc.StatusCode.NOT_FOUND, "CHECKPOINT_NOT_FOUND", 1, ""),
        (grpc.StatusCode.DATA_LOSS, "ENTRY_CORRUPT", 70, "Stored bytes do not verify: stop"),
        (grpc.StatusCode.INTERNAL, "INTERNAL", 70, "This is a bug of the daemon"),
    ],
)
def test_each_error_of_the_daemon_has_its_exit_code_and_advice(
    server: Server, code: grpc.StatusCode, reason: str, expected: int, advice: str
) -> None:
    run = runner(server.target)
    failure = status(code, reason, message="said no", retry_after_s=2.0 if expected == 5 else None)
    server.expect(failure, failure)

    plain = run("cas", "session", "k", "v", *VERSION_0)
    told = run("cas", "session", "k", "v", *VERSION_0, "--json")

    assert (plain.code, told.code) == (expected, expected)
    assert (plain.out, told.out) == (b"", b"")
    first, *rest = plain.err.splitlines()
    assert first == f"state-sidecar: {reason + ': ' if reason else ''}said no"
    assert "".join(rest).startswith(advice)
    error = json.loads(told.err)["error"]
    assert (error["reason"], error["message"], error["exit_code"]) == (reason, "said no", expected)


def test_an_unknown_outcome_says_how_to_learn_it(server: Server) -> None:
    server.expect(*[status(grpc.StatusCode.UNKNOWN, "WRITE_OUTCOME_UNKNOWN") for _ in range(3)])

    ran = runner(server.target)("set", "session", "k", "v")

    sent = {request.request_id for request in server.requests}
    assert ran.code == 6
    assert len(sent) == 1
    assert f"Repeat it with --request-id {sent.pop()} to learn what became of it" in ran.err


def test_a_daemon_that_does_not_answer_in_time_is_unavailable(server: Server) -> None:
    server.expect(*[status(grpc.StatusCode.DEADLINE_EXCEEDED, message="too slow") for _ in range(3)])

    ran = runner(server.target)("get", "session", "k", "--timeout", "2s")

    assert (ran.code, f"no answer from {server.target}: too slow" in ran.err) == (5, True)


def test_no_daemon_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: nobody else can
        for target in (f"127.0.0.1:{taken.getsockname()[1]}", f"unix://{tmp_path}/state.sock"):
            ran = runner(target)("set", "session", "k", "v")

            assert (ran.code, ran.out) == (5, b"")
            assert ran.err.startswith(f"state-sidecar: no daemon at {target}\n")
            assert "Start one with `state-sidecar serve`, or name it with --target." in ran.err


def test_passthrough_is_told_plainly(passing: Run) -> None:
    read = passing("get", "session", "k")
    assert (read.code, read.out, read.err) == (5, b"", "PASSTHROUGH: the authority is away and was not asked.\n")

    written = passing("set", "session", "k", "v")
    assert (written.code, written.out) == (5, b"")
    assert written.err == "DISCARDED: the authority is away, and nothing was written. Try again later.\n"

    told = passing("set", "session", "k", "v", "--json")
    assert (told.code, told.json["durability"], told.json["mode"]) == (5, "DISCARDED", "PASSTHROUGH")

    for arguments in (
        ["cas", "session", "k", "v", *VERSION_0],
        ["delete", "session", "k"],
        ["set", "process", "k", "v"],
    ):
        refused = passing(*arguments)
        assert (refused.code, refused.out) == (5, b"")
        assert "Nothing was written. Try again" in refused.err


def test_a_stale_answer_is_printed_and_said_to_be_one(server: Server) -> None:
    entry = {"namespace": "session", "key": "k", "value": b"old", "version": 1}
    server.expect(pb.GetResponse(entry=entry, mode="SERVING_MODE_DEGRADED", served_by="TIER_HOT", stale_possible=True))

    ran = runner(server.target)("get", "session", "k")

    assert (ran.code, ran.out) == (0, b"old")
    assert ran.err == "The authority is away: a newer version may exist.\n"


def test_what_this_program_does_not_understand_is_not_told_as_a_miss(server: Server) -> None:
    year_31689 = Timestamp(seconds=10**12)
    server.expect(pb.GetResponse(entry={"namespace": "session", "key": "k", "expire_time": year_31689}))

    ran = runner(server.target)("get", "session", "k")

    assert (ran.code, ran.out) == (70, b"")
    assert "Traceback" in ran.err


def test_the_codes_that_help_tells_are_those_used(run: Run) -> None:
    told = run("--help").text

    for code in Exit:
        assert f"\n    {code.value:<4}" in told or f"\n  {code.value:<4}" in told


def test_the_program_itself_ends_with_the_code(target: str, tmp_path: Path) -> None:
    with process("get", "session", "absent", "--target", target, stderr=-1, env=dict(os.environ)) as ran:
        ran.communicate()

    assert ran.returncode == 1
