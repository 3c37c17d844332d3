"""The runner itself: its parts, a short run in which nothing is wrong, and one with a defect that it has to find."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import Metadata

from statesidecar.v1 import types_pb2
from tests.chaos import calls, planted, planted_table, schedule, validity, verdicts
from tests.chaos.audit import Evidence
from tests.chaos.clients import KINDS as KINDS_OF_KEYS
from tests.chaos.clients import SLOTS, read_file
from tests.chaos.faults import KINDS
from tests.chaos.history import Kind, Operation, Outcome, to_line
from tests.chaos.proxies import DOWN, PASSING, UP, Proxy, ProxyLoop, Rule
from tests.chaos.runs import Report, Run
from tests.chaos.stepped import SharedStep
from tests.chaos.validity import Injected

RATE_MIN = 20.0
"""Lower than of a run by hand: the machine is shared with other tests."""


def short_run(directory: Path, *kinds: str, seconds: float, defect: str = planted.NONE) -> Report:
    run = Run(directory, seconds=seconds, seed=11, kinds=kinds, planted=defect, rate_min=RATE_MIN)
    return run.run()


def test_a_short_run_finds_nothing_wrong(tmp_path: Path) -> None:
    kinds = ("daemon-killed", "client-killed", "postgres-loses-replies", "postgres-stopped-at-once", "valkey-killed")

    report = short_run(tmp_path, *kinds, seconds=16.0)

    assert not report.violations
    assert not report.invalid
    assert len({fault.kind for fault in report.injected}) >= 3
    assert all(fault.effect for fault in report.injected)
    assert {call.outcome for call in report.history} >= {Outcome.OK, Outcome.CONFLICT, Outcome.FAILED}
    assert report.code == 0


def test_a_defect_is_found(tmp_path: Path) -> None:
    report = short_run(tmp_path, "link-reset", seconds=9.0, defect="rows-not-locked")

    assert [found for found in report.violations if found.startswith("not linearizable")]
    assert report.code == 1


def test_every_planted_defect_is_in_the_table() -> None:
    assert {entry.name for entry in planted_table.TABLE} == planted.DEFECTS.keys()
    assert {kind for entry in planted_table.TABLE for kind in entry.faults} <= KINDS.keys()


def test_a_seed_plans_the_same_again() -> None:
    def begin(seed: int) -> list[schedule.Planned]:
        return list(itertools.islice(schedule.plan(seed), 200))

    assert begin(7) == begin(7)
    assert begin(7) != begin(8)


def test_every_kind_is_planned_before_one_comes_twice() -> None:
    planned = [step.kind for step in itertools.islice(schedule.plan(7), 2 * len(schedule.ALL)) if step.kind]

    assert len(schedule.ALL) >= 25
    assert sorted(planned[: len(schedule.ALL)]) == sorted(schedule.ALL)


# What makes a run invalid.

FINE = [
    *(
        Operation(1, Kind.SET, "process", "k", invoke=number / 100, complete=1.0, outcome=Outcome.OK)
        for number in range(100)
    ),
    *(Operation(1, kind, "process", "k", invoke=1.5) for kind in Kind),
]
HARM = Injected(kind="link-reset", begin=1.0, end=2.0, effect="1 connection reset")


def reasons(history: list[Operation], injected: list[Injected]) -> list[str]:
    return list(validity.reasons(history, injected, begin=0.0, first_fault=1.0, rate_min=90.0))


def test_a_run_that_saw_enough_is_valid() -> None:
    assert reasons(FINE, [HARM]) == []


@pytest.mark.parametrize(
    ("history", "injected", "reason"),
    [
        (FINE[50:], [HARM], "50 operations a second before the first fault, 90 are needed"),
        (FINE, [], "no fault was injected"),
        (FINE[:-1], [HARM], "no cached get was done during a fault"),
        (FINE, [HARM, replace(HARM, effect="")], "link-reset had no effect"),
        (FINE, [HARM, replace(HARM, error="it broke")], "link-reset failed: it broke"),
    ],
)
def test_a_run_that_shows_nothing_is_invalid(history: list[Operation], injected: list[Injected], reason: str) -> None:
    assert reason in reasons(history, injected)


def test_an_invalid_run_and_a_violation_are_told_apart() -> None:
    assert Report(seed=1, seconds=1.0, invalid=["few"]).code == 2
    assert Report(seed=1, seconds=1.0, invalid=["few"], violations=["stale"]).code == 1


# Verdicts.

WRITTEN = Operation(
    1,
    Kind.SET,
    "process",
    "r/k",
    b"1",
    request_id="a",
    complete=1.0,
    outcome=Outcome.OK,
    version=5,
    durability="COMMITTED",
)
READ = Operation(2, Kind.GET_STRONG, "process", "r/k", None, None, "", 2.0, 3.0, Outcome.OK, 5, b"1", "", "NORMAL")
EVIDENCE = Evidence(final={("process", "r/k"): (5, b"1")}, dead=[], recorded={("process", "a"): 5})


def test_a_history_that_fits_has_nothing_against_it() -> None:
    assert verdicts.of_history([WRITTEN, READ], EVIDENCE) == []


@pytest.mark.parametrize(
    ("history", "evidence", "verdict"),
    [
        ([WRITTEN, replace(READ, version=0, read=None)], EVIDENCE, "not linearizable"),
        ([WRITTEN, replace(READ, outcome=Outcome.FAILED, error="INTERNAL")], EVIDENCE, "a bug of the daemon's"),
        ([WRITTEN, READ], replace(EVIDENCE, recorded={}), "audit of requests"),
        ([WRITTEN, READ], replace(EVIDENCE, final={("process", "r/k"): (4, b"0")}), "audit of rising versions"),
    ],
)
def test_a_broken_promise_is_named(history: list[Operation], evidence: Evidence, verdict: str) -> None:
    assert [found for found in verdicts.of_history(history, evidence) if found.startswith(verdict)]


def test_of_many_violations_a_few_are_shown_and_all_are_counted() -> None:
    failed = [replace(READ, outcome=Outcome.FAILED, invoke=float(number)) for number in range(9)]

    assert len(verdicts.of_closing(failed)) == 4
    assert verdicts.of_closing(failed)[-1].endswith("6 more")
    assert verdicts.of_closing([WRITTEN, READ]) == []
    assert verdicts.of_closing([replace(WRITTEN, durability="BUFFERED")])


def test_tracebacks_are_told_apart_by_where_they_come_from() -> None:
    here = ["Traceback (most recent call last):", "  File a, line 1", "    one()"]
    there = ["Traceback (most recent call last):", "  File b, line 2", "    two()"]
    found = verdicts.tracebacks(["fine", *here, "ValueError: 1", "fine", *there, "KeyError: 2", *here, "ValueError: 3"])

    assert list(found.values()) == [2, 1]
    assert "ValueError: 1" in next(iter(found))


# What an error leaves certain.


def told(code: grpc.StatusCode, reason: str, *, current_version: int | None = None, said: str = "") -> Any:
    """An error as gRPC raises it."""
    status = status_pb2.Status(code=code.value[0])
    details = [error_details_pb2.ErrorInfo(reason=reason, domain="state-sidecar")] if reason else []
    details += [] if current_version is None else [types_pb2.ConflictInfo(key="k", current_version=current_version)]
    for detail in details:
        status.details.add().Pack(detail)
    trailing = Metadata((calls.DETAILS_KEY, status.SerializeToString())) if details else Metadata()
    return grpc.aio.AioRpcError(code, Metadata(), trailing, details=said)


def test_an_answer_that_says_so_is_certain() -> None:
    lost = calls.of_error(told(grpc.StatusCode.ABORTED, "VERSION_MISMATCH", current_version=7), Kind.CAS)
    away = calls.of_error(told(grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE"), Kind.SET)

    assert (lost.outcome, lost.version, lost.settles) == (Outcome.CONFLICT, 7, True)
    assert (away.outcome, away.settles) == (Outcome.FAILED, False)


@pytest.mark.parametrize("kind", [Kind.SET, Kind.DELETE, Kind.UPDATE_APPEND])
@pytest.mark.parametrize(
    "error",
    [
        told(grpc.StatusCode.UNKNOWN, "WRITE_OUTCOME_UNKNOWN"),
        told(grpc.StatusCode.DEADLINE_EXCEEDED, "", said="Deadline Exceeded"),
        told(grpc.StatusCode.UNAVAILABLE, "", said="Socket closed"),
    ],
)
def test_a_write_without_an_answer_is_unknown(kind: Kind, error: Any) -> None:
    assert calls.of_error(error, kind).outcome is Outcome.UNKNOWN
    assert calls.of_error(error, Kind.GET_STRONG).outcome is Outcome.FAILED


def test_a_call_that_was_never_sent_failed() -> None:
    refused = "failed to connect to all addresses; last error: Connection refused"

    assert calls.of_error(told(grpc.StatusCode.UNAVAILABLE, "", said=refused), Kind.SET).outcome is Outcome.FAILED


def test_the_file_of_a_killed_client_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    begun = Operation(1, Kind.SET, "process", "k", value=b"1", request_id="a", invoke=1.0)
    ended = replace(begun, complete=2.0, outcome=Outcome.OK, version=5)
    another = replace(begun, invoke=3.0, request_id="b")
    file = tmp_path / "history-1"
    file.write_text("\n".join(map(to_line, (begun, ended, another))) + "\n" + to_line(another)[:20])

    assert read_file(file) == [ended, another]


def test_every_namespace_has_keys_of_known_kinds() -> None:
    assert {letter for letters in SLOTS.values() for letter in letters} <= KINDS_OF_KEYS.keys()


def test_a_clock_is_stepped_and_the_step_is_seen(tmp_path: Path) -> None:
    runners, daemons = SharedStep(tmp_path / "clock"), SharedStep(tmp_path / "clock")
    runners.wanted = -3_600_000

    assert runners.used == 0
    assert daemons.use() == -3_600_000
    assert runners.used == -3_600_000


# Proxies.


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of an echo."""
    with socket.create_server(("127.0.0.1", 0)) as echo, ProxyLoop() as loop:
        threading.Thread(target=_echo, args=(echo,), daemon=True).start()
        between = Proxy(loop, echo.getsockname()[:2], host="127.0.0.1", port=0, seed=1)
        between.start()
        yield between
        between.stop()
        echo.shutdown(socket.SHUT_RDWR)


def _echo(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=_answer, args=(listening.accept()[0],), daemon=True).start()


def _answer(connected: socket.socket) -> None:
    with connected, contextlib.suppress(OSError):
        while heard := connected.recv(65_536):
            connected.sendall(heard)


def dial(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=5.0)


def echoed(connected: socket.socket, sent: bytes, *, timeout_s: float = 5.0) -> bytes:
    """What comes back; nothing if nothing comes in time. Raises ConnectionResetError."""
    connected.settimeout(timeout_s)
    connected.sendall(sent)
    heard = b""
    with contextlib.suppress(TimeoutError):
        while len(heard) < len(sent) and (more := connected.recv(65_536)):
            heard += more
    return heard


def test_bytes_pass(proxy: Proxy) -> None:
    with dial(proxy) as connected:
        assert echoed(connected, b"x" * 200_000) == b"x" * 200_000


@pytest.mark.parametrize("lost", [{UP}, {DOWN}, {UP, DOWN}])
def test_what_was_lost_never_comes(proxy: Proxy, lost: set[str]) -> None:
    with dial(proxy) as connected, dial(proxy) as idle:
        assert echoed(connected, b"before") == echoed(idle, b"before") == b"before"
        proxy.set(Rule(lost=frozenset(lost)))
        assert echoed(connected, b"during", timeout_s=0.2) == b""
        proxy.set(PASSING)
        with pytest.raises(ConnectionResetError):
            echoed(connected, b"after")
        assert echoed(idle, b"after") == b"after"
    assert proxy.seen["bytes lost"] >= len(b"during")


def test_a_mute_connection_is_accepted(proxy: Proxy) -> None:
    proxy.set(Rule(mute=True))
    with dial(proxy) as connected:
        assert echoed(connected, b"anybody?", timeout_s=0.2) == b""
    assert proxy.seen["muted"] == 1


def test_a_reply_is_cut_after_some_bytes(proxy: Proxy) -> None:
    proxy.set(Rule(replies_bytes_max=10))
    with dial(proxy) as connected:
        assert echoed(connected, b"1234567890") == b"1234567890"
        with pytest.raises(ConnectionResetError):
            echoed(connected, b"x")
    assert proxy.seen["replies lost"] == 1


def test_a_share_of_the_replies_is_lost(proxy: Proxy) -> None:
    proxy.set(Rule(replies_lost=0.5))
    for _ in range(20):
        with dial(proxy) as connected, contextlib.suppress(ConnectionResetError):
            echoed(connected, b"x")

    assert 0 < proxy.seen["replies lost"] < 20


def test_bytes_wait_in_order(proxy: Proxy) -> None:
    proxy.set(Rule(delay_s=0.05, jitter_s=0.04))
    with dial(proxy) as connected:
        begin = time.monotonic()
        sent = b"".join(b"%d," % number for number in range(1_000))
        assert echoed(connected, sent) == sent
        assert time.monotonic() - begin >= 0.02
    assert proxy.seen["bytes delayed"] >= len(sent)


def test_what_is_on_its_way_arrives_though_the_sender_has_gone(proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        proxy.target = backend.getsockname()[:2]
        proxy.set(Rule(delay_s=0.2))
        with dial(proxy) as connected:
            connected.sendall(b"late")
        arrived, _ = backend.accept()
        with arrived:
            arrived.settimeout(5.0)
            assert arrived.recv(100) == b"late"


def test_a_narrow_link_takes_its_time(proxy: Proxy) -> None:
    proxy.set(Rule(bytes_per_s=10_000))
    with dial(proxy) as connected:
        begin = time.monotonic()
        assert echoed(connected, b"x" * 2_000) == b"x" * 2_000
        assert time.monotonic() - begin >= 0.35


def test_refused_is_refused_until_it_accepts_again(proxy: Proxy) -> None:
    with dial(proxy) as connected:
        assert echoed(connected, b"before") == b"before"
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            echoed(connected, b"after")
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
    proxy.accept()
    with dial(proxy) as connected:
        assert echoed(connected, b"again") == b"again"
