"""`gc`: over a real daemon, and over jobs of which one fails, is another's, or has much to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sidecar.core.errors import ColdUnavailable
from sidecar.engine.cleaning.cleaner import Cleaner
from sidecar.rpc.admin_service import AdminService
from sidecar.rpc.calls import Admission
from sidecar.rpc.collecting import Collections
from statesidecar import Consistency, StateClient
from statesidecar.testing import sidecar
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1.admin_service_pb2_grpc import add_AdminServiceServicer_to_server
from tests.cli.conftest import Ran, Run, process, runner
from tests.cli.test_values import terminal
from tests.rpc.graves import serving
from tests.support.clock import ManualClock
from tests.unit.cleaning_support import Member, litter, memory


class Served:
    """A served AdminService with one job that has so much to do, in an event loop of its own."""

    def __init__(self, count: int, change: Callable[[Member], None]) -> None:
        self.target = ""
        self.reached = threading.Event()
        self._count = count
        self._change = change
        self._started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    def __call__(self, *arguments: str) -> Ran:
        """Run a command."""
        return runner(self.target)(*arguments)

    def go_on(self) -> None:
        """A step that is held is not any more."""
        self._loop.call_soon_threadsafe(self._member.job.go_on.set)

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        clock = ManualClock()
        self._member = Member(memory(clock), clock)
        await litter(self._member.ledger, self._count)
        self._change(self._member)
        cleaner = Cleaner([self._member.worker], self._member.tally)
        service = AdminService(pb.GetStatusResponse, None, Collections(cleaner, Admission(10)))
        async with serving(lambda server: add_AdminServiceServicer_to_server(service, server)) as self.target:
            self._started.set()
            telling = asyncio.create_task(self._tell())
            await self._stop.wait()
            self._member.job.go_on.set()
            telling.cancel()

    async def _tell(self) -> None:
        await self._member.job.reached.wait()
        self.reached.set()


@contextmanager
def cleaning(count: int, change: Callable[[Member], None] = lambda _: None) -> Iterator[Served]:
    """It, while the block lasts."""
    served = Served(count, change)
    served.start()
    try:
        yield served
    finally:
        served.stop()


@pytest.fixture
def tidy() -> Iterator[tuple[Run, StateClient]]:
    """A daemon that cleans nothing by itself."""
    with sidecar(
        tiers={"warm": "memory://", "cold": "none://"}, sweep_interval_s=3600.0, cleaning_interval_s=3600.0
    ) as running:
        yield runner(running.target), running.client()


def test_a_daemon_is_cleaned_and_then_clean(tidy: tuple[Run, StateClient]) -> None:
    run, client = tidy
    ends = [client.set("shop", f"ends/{number}", b"value", ttl=0.001).expire_time for number in range(3)]
    client.set("shop", "stays", b"value")
    while any(client.get("shop", f"ends/{number}", consistency=Consistency.STRONG).found for number in range(3)):
        pass

    cleaned = run("gc", "--json")

    assert all(ends)
    assert (cleaned.code, cleaned.err) == (0, "")
    assert cleaned.json["counts"] == {"expired": 3}
    assert cleaned.json["dry_run"] is False
    assert {job["state"] for job in cleaned.json["jobs"]} == {"done"}
    assert run("gc", "--json").json["counts"] == {}
    assert client.get("shop", "stays").found
    assert "3 things cleaned" in run("status").text
    assert run("status", "--json").json["cleaned_counts"]["expired"] == 3


def test_a_dry_run_says_what_it_can_not_count(tidy: tuple[Run, StateClient]) -> None:
    run, _ = tidy

    counted = run("gc", "--dry-run")

    assert counted.code == 0
    rows = [line.split("\t") for line in counted.text.splitlines()]
    assert ["warm", "sweep", "not counted", "-"] in rows
    assert ["warm", "settle", "done", "-"] in rows
    assert counted.err == (
        "Expired entries, tombstones, request ids and change rows are not counted.\nwould be cleaned: nothing\n"
    )


def test_into_a_pipe_there_are_lines_and_in_json_everything() -> None:
    with cleaning(10) as run:
        dry = run("gc", "--dry-run")
        assert (dry.code, dry.text) == (0, "warm\tdust\tdone\t10 dust\n")
        assert dry.err == "would be cleaned: 10 dust\n"

        assert run("gc").text == "warm\tdust\tdone\t10 dust\n"
        told = run("gc", "--json").json

    assert told == {
        "dry_run": False,
        "counts": {"dust": 10},
        "jobs": [
            {
                "tier": "warm",
                "job": "dust",
                "state": "done",
                "counts": {"dust": 10},
                "remaining_jobs": 0,
                "reason": "",
                "message": "",
            }
        ],
    }


def test_a_job_that_fails_is_exit_5_and_says_why() -> None:
    def fail(member: Member) -> None:
        member.job.error = ColdUnavailable("it is\taway")

    with cleaning(10, fail) as run:
        told = run("gc")

    assert (told.code, told.text) == (5, "warm\tdust\tfailed\t-\n")
    assert told.err == f"dust of the warm tier: {ColdUnavailable.default_reason}: it is\\taway\n"


def test_no_time_is_exit_5() -> None:
    with cleaning(10, lambda member: member.job.hold()) as run:
        told = run("gc", "--timeout", "200ms")

    assert (told.code, told.out) == (5, b"")
    assert "with a longer --timeout" in told.err


def test_no_daemon_is_exit_5() -> None:
    told = runner("127.0.0.1:1")("gc")

    assert told.code == 5
    assert "no daemon at 127.0.0.1:1" in told.err


def test_on_a_terminal_there_is_a_bar_while_it_lasts_and_a_table_in_the_end() -> None:
    with cleaning(100) as run, terminal() as (ours, theirs):
        environ = os.environ | {"COLUMNS": "100", "TERM": "xterm", "STATE_SIDECAR_TARGET": run.target}
        with process("gc", stdout=theirs, stderr=theirs, env=environ) as running:
            os.close(theirs)
            content = b""
            with contextlib.suppress(OSError):  # EIO: the program has ended
                while part := os.read(ours, 65536):
                    content += part
        assert running.returncode == 0

    bar, _, table = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", content.decode()).rpartition("tier")
    assert "1/1" in bar
    assert "dust 100 dust" in bar
    assert table.split() == ["job", "state", "cleaned", "warm", "dust", "done", "100", "dust"]


def test_it_may_be_interrupted_and_goes_on_another_time() -> None:
    with cleaning(10, lambda member: member.job.hold()) as run:
        environ = os.environ | {"STATE_SIDECAR_TARGET": run.target}
        with process("gc", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as running:
            run.reached.wait(30)
            running.send_signal(signal.SIGINT)
            out, _ = running.communicate(timeout=30)
        assert (running.returncode, out) == (130, b"")
        run.go_on()

        assert run("gc").text == "warm\tdust\tdone\t10 dust\n"
