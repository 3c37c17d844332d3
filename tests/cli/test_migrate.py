"""`migrate`: over a real daemon, and over servers that say what a real one says only in trouble."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from statesidecar import StateClient
from statesidecar.testing import sidecar
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceServicer, add_AdminServiceServicer_to_server
from tests.cli.conftest import Run, process, runner
from tests.cli.test_values import terminal
from tests.unit.schemas_support import OPERATIONS, SPACE

SCHEMA = {"version": 3, "migrations": [{"up": declared} for declared in OPERATIONS]}
MEMORY = {"warm": "memory://", "cold": "none://"}


RUNNING = pb.MigrateResponse(state=pb.COLLECTION_STATE_RUNNING, scanned_count=100, total_count=500, target_version=3)


@contextmanager
def telling(*told: pb.MigrateResponse | grpc.StatusCode) -> Iterator[str]:
    """A server that says this of every migration; its target."""

    class Admin(AdminServiceServicer):
        def Migrate(self, request: pb.MigrateRequest, context: grpc.ServicerContext) -> Iterator[pb.MigrateResponse]:  # noqa: N802  # of the RPC
            for each in told:
                if isinstance(each, grpc.StatusCode):
                    context.abort(each, "gone")
                yield each

    server = grpc.server(ThreadPoolExecutor(1))
    add_AdminServiceServicer_to_server(Admin(), server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield target
    finally:
        server.stop(0).wait()


@pytest.fixture
def three() -> Iterator[tuple[Run, StateClient]]:
    """A daemon that knows schemas 1 to 3, with three entries."""
    with sidecar(tiers=MEMORY, namespaces={SPACE: {"schema": SCHEMA}}) as running:
        client = running.client()
        for number in range(3):
            client.set(SPACE, f"{number}", b'{"person": {"name": "n"}, "two": 0, "three": 3}', schema_version=3)
        yield runner(running.target), client


def test_down_and_up_again_in_lines_and_in_json(three: tuple[Run, StateClient]) -> None:
    run, client = three
    version = client.get(SPACE, "0").version

    down = run("migrate", SPACE, "--to", "1")
    assert (down.code, down.text, down.err) == (0, "done\t1\t3\t3\t0\t0\n", "")
    up = run("migrate", SPACE, "--json")

    assert up.code == 0
    assert up.json == {
        "dry_run": False,
        "migration": {
            "state": "done",
            "target_version": 3,
            "scanned": 3,
            "migrated": 3,
            "failed": 0,
            "total": 3,
            "remaining": 0,
            "failures": {},
        },
    }
    assert run("migrate", SPACE).text == "done\t3\t3\t0\t0\t0\n"
    assert client.get(SPACE, "0").version == version


def test_a_dry_run_says_what_would_be(three: tuple[Run, StateClient]) -> None:
    run, _ = three

    told = run("migrate", SPACE, "--dry-run", "--to", "2")

    assert (told.code, told.text, told.err) == (0, "done\t2\t3\t3\t0\t3\n", "would be migrated: 3\n")
    assert run("migrate", SPACE).text == "done\t3\t3\t0\t0\t0\n"


def test_a_target_that_not_all_know_is_said(three: tuple[Run, StateClient]) -> None:
    run, _ = three

    told = run("migrate", SPACE, "--to", "9")

    assert (told.code, told.err) == (0, "Not to 9: 3 is as near as all daemons and their steps allow.\n")


def test_a_namespace_without_schemas_is_exit_4(three: tuple[Run, StateClient]) -> None:
    run, _ = three

    told = run("migrate", "other")

    assert told.code == 4
    assert told.err.startswith("state-sidecar: SCHEMA_NOT_CONFIGURED: ")


@pytest.mark.parametrize(
    ("last", "code", "err"),
    [
        (
            pb.MigrateResponse(
                state=pb.COLLECTION_STATE_DONE,
                scanned_count=9,
                failed_count=3,
                remaining_count=3,
                target_version=2,
                failures=[pb.MigrationFailure(key="a\tb", message="no\nJSON"), pb.MigrationFailure(key="c")],
            ),
            4,
            "a\\tb: no\\nJSON\nc: \nand 1 more\n",
        ),
        (
            pb.MigrateResponse(state=pb.COLLECTION_STATE_DONE, failed_count=1, remaining_count=3, target_version=2),
            5,
            "and 1 more\n2 were written meanwhile in another schema: migrate again.\n",
        ),
        (pb.MigrateResponse(state=pb.COLLECTION_STATE_BUSY), 5, "Another daemon is at it now.\n"),
    ],
)
def test_what_is_left_is_said_and_an_exit_code(last: pb.MigrateResponse, code: int, err: str) -> None:
    with telling(RUNNING, last) as target:
        told = runner(target)("migrate", SPACE)

    assert (told.code, told.err) == (code, err)


def test_a_daemon_that_dies_is_exit_5() -> None:
    with telling(RUNNING, grpc.StatusCode.UNAVAILABLE) as target:
        told = runner(target)("migrate", SPACE)

    assert (told.code, told.out) == (5, b"")


def test_on_a_terminal_there_is_a_bar_while_it_lasts_and_a_table_in_the_end() -> None:
    waiting = pb.MigrateResponse(state=pb.COLLECTION_STATE_WAITING)
    done = pb.MigrateResponse(
        state=pb.COLLECTION_STATE_DONE, scanned_count=500, migrated_count=499, total_count=500, target_version=3
    )
    with telling(waiting, RUNNING, done) as target, terminal() as (ours, theirs):
        environ = os.environ | {"COLUMNS": "120", "TERM": "xterm", "STATE_SIDECAR_TARGET": target}
        with process("migrate", SPACE, stdout=theirs, stderr=theirs, env=environ) as running:
            os.close(theirs)
            content = b""
            with contextlib.suppress(OSError):  # EIO: the program has ended
                while part := os.read(ours, 65536):
                    content += part
        assert running.returncode == 0

    bar, _, table = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", content.decode()).rpartition("state")
    assert "500/500" in bar
    assert "to schema 3: 499 migrated, 0 failed" in bar
    assert table.split() == [
        "schema",
        "looked",
        "at",
        "migrated",
        "failed",
        "remaining",
        "done",
        "3",
        "500",
        "499",
        "0",
        "0",
    ]


def test_no_daemon_is_exit_5() -> None:
    told = runner("127.0.0.1:1")("migrate", SPACE)

    assert told.code == 5
    assert "no daemon at 127.0.0.1:1" in told.err


def test_usage() -> None:
    run = runner("127.0.0.1:1")

    assert run("migrate").code == 2
    assert run("migrate", SPACE, "--to", "0").code == 2
    assert run("migrate", SPACE, "--to", "-1").code == 2
