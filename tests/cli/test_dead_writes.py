"""`dead-writes`, and what `status` tells of breakers and journal, against a served AdminService."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from sidecar.core.errors import StoreUnavailable
from sidecar.core.operations import Append, Change, Put
from statesidecar.v1 import admin_service_pb2 as pb
from tests.cli.conftest import Run, runner
from tests.cli.test_values import shown
from tests.client.scripted import Server, status
from tests.rpc.graves import Graves, dead_write, operated
from tests.support.clock import START_MS


@contextmanager
def operating(
    graves: Graves | None, report: Callable[[], pb.GetStatusResponse] = pb.GetStatusResponse, **options: Any
) -> Iterator[str]:
    """A served AdminService in an event loop of its own; its address."""
    started: queue.SimpleQueue[tuple[str, Callable[[], object]]] = queue.SimpleQueue()

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with operated(graves, report, **options) as (target, _):
            started.put((target, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    target, stop = started.get(timeout=30)
    try:
        yield target
    finally:
        stop()
        thread.join(30)


@pytest.fixture
def graves() -> Graves:
    return Graves(
        dead_write(3, Put(key="alice", value=bytes(2048)), reason="SUPERSEDED", message="a later write won"),
        dead_write(
            5, Change(key="bob\t\x1b[2J", change=Append(items=(1,))), namespace="other", message="not an array\n"
        ),
        dead_write(10),
    )


@pytest.fixture
def target(graves: Graves) -> Iterator[str]:
    with operating(graves) as target:
        yield target


@pytest.fixture
def run(target: str) -> Run:
    return runner(target)


def test_a_list_into_a_pipe_is_lines_of_fields_without_control_characters(run: Run) -> None:
    listed = run("dead-writes", "list")

    assert (listed.code, listed.err) == (0, "")
    assert [line.split("\t") for line in listed.text.splitlines()] == [
        ["3", "chat", "alice", "set", "2.0 KiB", "2027-01-15T08:00:00+00:00", "SUPERSEDED", "a later write won"],
        [
            *("5", "other", "bob\\t\\x1b[2J", "append", "13 B", "2027-01-15T08:00:00+00:00"),
            *("VERSION_MISMATCH", "not an array\\n"),
        ],
        ["10", "chat", "key 10", "set", "8 B", "2027-01-15T08:00:00+00:00", "VERSION_MISMATCH", "said no"],
    ]


def test_a_list_in_json_has_the_values(run: Run) -> None:
    told = run("dead-writes", "list", "--json", "--namespace", "other").json

    assert told["more"] is False
    [dead] = told["dead_writes"]
    assert (dead["id"], dead["key"], dead["base_version"]) == ("5", "bob\t\x1b[2J", 7)
    assert (dead["value"], dead["value_encoding"]) == ('{"items":[1]}', "utf-8")
    assert (dead["reason"], dead["request_id"]) == ("VERSION_MISMATCH", "request 5")
    assert dead["dead_time"].startswith("2027-01-15T08:00:05")


def test_a_list_is_bounded_and_says_so(run: Run, graves: Graves) -> None:
    listed = run("dead-writes", "list", "--limit", "2")
    assert [line.partition("\t")[0] for line in listed.text.splitlines()] == ["3", "5"]
    assert listed.err == "only the first 2: --limit 0 lists all\n"
    assert run("dead-writes", "list", "--limit", "3").err == ""

    graves.kept |= {number: dead_write(number) for number in range(11, 251)}

    assert len(run("dead-writes", "list").text.splitlines()) == 100
    assert len(run("dead-writes", "list", "--limit", "0").text.splitlines()) == 243
    assert len(run("dead-writes", "list", "--limit", "230", "--json").json["dead_writes"]) == 230


def test_no_dead_writes_are_no_error(run: Run) -> None:
    listed = run("dead-writes", "list", "--namespace", "absent")
    assert (listed.code, listed.out, listed.err) == (0, b"", "no dead writes in absent\n")
    with operating(None) as without_journal:
        listed = runner(without_journal)("dead-writes", "list")
        assert (listed.code, listed.out, listed.err) == (0, b"", "no dead writes\n")
        assert runner(without_journal)("dead-writes", "list", "--json").json == {"dead_writes": [], "more": False}


def test_a_terminal_shows_a_table(target: str) -> None:
    header, row, *_ = shown("dead-writes", "list", "--target", target).splitlines()

    assert header.split()[:4] == ["id", "namespace", "key", "operation"]
    assert row.split()[:6] == ["3", "chat", "alice", "set", "2.0", "KiB"]


def test_ids_are_redriven_by_policy_unless_overwrite_is_said(run: Run, graves: Graves) -> None:
    told = run("dead-writes", "redrive", "10", "3")
    assert (told.code, told.text, told.err) == (0, "redriven · 2 dead writes\n", "")

    told = run("dead-writes", "redrive", "5", "--overwrite", "--json")
    assert (told.code, told.json) == (0, {"redriven_count": 1, "refused_count": 0, "missing_count": 0})

    assert graves.redriven == [([3, 10], False), ([5], True)]


def test_all_are_taken_only_if_it_is_said_and_only_of_the_namespace(run: Run, graves: Graves) -> None:
    assert run("dead-writes", "discard", "--all", "--namespace", "chat").text == "discarded · 2 dead writes\n"
    assert graves.discarded == [[3, 10]]

    assert run("dead-writes", "redrive", "--all").text == "redriven · 1 dead write\n"
    assert graves.redriven == [([5], False)]

    none = run("dead-writes", "discard", "--all")
    assert (none.code, none.text) == (0, "discarded · 0 dead writes\n")


@pytest.mark.parametrize("command", ["redrive", "discard"])
@pytest.mark.parametrize("named", [[], ["3", "--all"], ["--namespace", "chat"]])
def test_neither_ids_nor_all_or_both_is_a_usage_error(run: Run, graves: Graves, command: str, named: list[str]) -> None:
    refused = run("dead-writes", command, *named)

    assert (refused.code, refused.out) == (2, b"")
    assert "name dead writes by their IDs, or take --all of them" in refused.err
    assert len(graves.kept) == 3


def test_an_id_that_is_not_there_is_told_and_the_others_are_settled(run: Run, graves: Graves) -> None:
    told = run("dead-writes", "discard", "3", "3", "77", "x")
    assert (told.code, told.text, told.err) == (1, "discarded · 1 dead write\n", "2 of the IDs are not there\n")

    told = run("dead-writes", "redrive", "3", "--json")
    assert (told.code, told.json) == (1, {"redriven_count": 0, "refused_count": 0, "missing_count": 1})
    assert set(graves.kept) == {5, 10}


def test_those_that_are_refused_again_are_told_and_are_a_conflict(run: Run, graves: Graves) -> None:
    graves.refused = {5, 10}
    told = run("dead-writes", "redrive", "--all")
    assert (told.code, told.text) == (3, "redriven · 1 dead write\n")
    assert told.err == "2 were refused again: `dead-writes list` shows why\n"

    told = run("dead-writes", "redrive", "10", "3", "--json")
    assert (told.code, told.json) == (3, {"redriven_count": 0, "refused_count": 1, "missing_count": 1})


def test_a_journal_that_cannot_be_written_is_unavailable(run: Run, graves: Graves) -> None:
    graves.error = StoreUnavailable("the disk is full")

    told = run("dead-writes", "discard", "--all", "--timeout", "500ms")

    assert (told.code, told.out) == (5, b"")
    assert "AUTHORITY_UNAVAILABLE: the disk is full" in told.err


def test_a_settlement_that_takes_too_long_is_unknown_and_not_repeated(graves: Graves) -> None:
    graves.held = asyncio.Event()
    with operating(graves, timeout_s=0.02) as target:
        told = runner(target)("dead-writes", "redrive", "--all")

    assert (told.code, told.out) == (6, b"")
    assert "list them to see which are left" in told.err
    assert "--request-id" not in told.err
    assert graves.calls == 1


def test_a_daemon_that_has_no_such_rpc_says_so(server: Server) -> None:
    told = runner(server.target)("dead-writes", "list")

    assert (told.code, told.out) == (4, b"")


def test_status_waits_for_a_daemon_that_restarts(server: Server) -> None:
    server.expect(status(grpc.StatusCode.UNAVAILABLE, "DRAINING", retry_after_s=0.01), pb.GetStatusResponse())

    assert runner(server.target)("status").code == 0
    assert len(server.requests) == 2


def reported() -> pb.GetStatusResponse:
    """What a daemon says whose authority is away."""
    response = pb.GetStatusResponse(
        mode="SERVING_MODE_DEGRADED",
        daemon_version="0.1.0",
        journal_depth=12,
        dead_writes=3,
        tiers=[
            pb.TierStatus(tier="TIER_HOT", url="memory://", state="TIER_STATE_UP", breaker="BREAKER_STATE_CLOSED"),
            pb.TierStatus(
                tier="TIER_WARM", state="TIER_STATE_DOWN", breaker="BREAKER_STATE_OPEN", last_error="refused"
            ),
        ],
    )
    response.journal_oldest_time.FromMilliseconds(START_MS)
    response.status_time.FromMilliseconds(START_MS + 40_000)
    return response


def test_status_tells_mode_breakers_journal_and_dead_writes() -> None:
    with operating(None, reported) as target:
        told = runner(target)("status")
        as_json = runner(target)("status", "--json").json

    lines = told.text.splitlines()
    hot, warm = (next(line.split() for line in lines if line.startswith(tier)) for tier in ("HOT", "WARM"))
    assert lines[0] == "DEGRADED"
    assert (hot[1:3], warm[1:3]) == (["UP", "CLOSED"], ["DOWN", "OPEN"])
    assert "journal   12 writes in the journal, the oldest for 40s · 3 dead writes" in lines
    assert told.err == "`state-sidecar dead-writes list` tells what became of the dead writes.\n"
    assert (as_json["mode"], as_json["journal_depth"], as_json["dead_writes"]) == ("DEGRADED", 12, 3)
    assert as_json["journal_oldest_time"] == "2027-01-15T08:00:00+00:00"
    assert json.dumps(as_json["tiers"][1]["breaker"]) == '"OPEN"'


def test_status_of_a_daemon_without_a_journal_says_nothing_of_one() -> None:
    with operating(None) as target:
        told = runner(target)("status")

    assert (told.code, told.err) == (0, "")
    assert "journal" not in told.text
    assert "dead" not in told.text
