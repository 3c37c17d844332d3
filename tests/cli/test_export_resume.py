"""An export that was interrupted, by a kill, the daemon or the disk, goes on: every row is there once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.cli.export import job, place
from statesidecar import SetOp
from statesidecar.v1 import state_service_pb2 as pb
from tests.cli.conftest import Ran, runner
from tests.cli.export_support import Lake, fill, lake, read_jsonl, read_parquet
from tests.client.scripted import Server, status

NS = "lake"
SMALL = ("--part-rows", "100", "--buffer-bytes", "100KiB", "--timeout", "30s")
GOES_ON = "Run the same command again"


@pytest.fixture(scope="module")
def filled() -> Iterator[Lake]:
    """Entries of three days, some of them with an earlier export that is to be replaced."""
    with lake() as running:
        yield running


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


def test_killed_at_any_step_and_resumed_every_row_is_there_once(filled: Lake, namespace: str, tmp_path: Path) -> None:
    """Over a finished export of another state, whose parts the new one has to remove."""
    command = ("export", namespace, "--part-rows", "100", "--buffer-bytes", "300KiB", "--timeout", "30s")
    run = runner(filled.target)
    filled.put(namespace, [SetOp(f"gone {number}", b"") for number in range(20)])
    assert run(*command, "--to", f"file://{tmp_path}/template").code == 0
    filled.client.delete_prefix(namespace, "gone")
    fill(filled, namespace, 300, days=3)
    rows = filled.rows(namespace)

    child = [sys.executable, "-m", "tests.cli.export_child", str(tmp_path), *command, "--target", filled.target]
    ended = subprocess.run(child, stdout=subprocess.PIPE, check=True, timeout=110)

    steps = int(ended.stdout.split()[-1])
    assert steps > 30, steps
    resumed = 0
    for number in range(1, steps + 1):
        to = tmp_path / f"{number}"
        if number < steps:
            ran = run(*command, "--to", f"file://{to}", "--json", "--part-rows", "37")  # other files than before
            assert (ran.code, ran.json["rows"]) == (0, len(rows))
            resumed += ran.json["resumed"]
        assert read_parquet(to) == rows, number
        assert hidden(to) == []
    assert resumed > steps / 2


class _Interrupted(Exception):
    """What a test's place raises in the middle of an export."""


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """The test's own."""
    return str(request.node.name)


@pytest.fixture
def interrupted(filled: Lake, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """An export that ended with its second record."""
    fill(filled, namespace, 600, days=1)
    records: list[str] = []
    replace = place.Place.replace

    def replace_twice(self: place.Place, name: str, content: bytes) -> None:
        replace(self, name, content)
        records.append(name)
        if len(records) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place.Place, "replace", replace_twice)
        return runner(filled.target)("export", namespace, "--to", f"file://{tmp_path}", *SMALL)


def test_ctrl_c_says_that_it_goes_on_and_it_reads_only_what_is_left(
    filled: Lake, namespace: str, tmp_path: Path, interrupted: Ran
) -> None:
    assert (interrupted.code, interrupted.out, GOES_ON in interrupted.err) == (130, b"", True)
    told = json.loads((tmp_path / "_state" / f"{namespace}.json").read_text())
    assert 0 < told["rows"] < len(filled.rows(namespace))
    filled.client.set(namespace, "\x00 before all", b"after it was passed")

    ran = runner(filled.target)("export", namespace, "--to", f"file://{tmp_path}")

    assert (ran.code, ran.err) == (0, f"It was begun at {told['start_time']}, and continued.\n")
    assert read_parquet(tmp_path) == [row for row in filled.rows(namespace) if row["key"] != "\x00 before all"]


def test_restart_begins_again(filled: Lake, namespace: str, tmp_path: Path, interrupted: Ran) -> None:
    filled.client.set(namespace, "\x00 before all", b"seen now")

    ran = runner(filled.target)("export", namespace, "--to", f"file://{tmp_path}", "--restart", "--json")

    assert (interrupted.code, ran.code, ran.json["resumed"]) == (130, 0, False)
    assert read_parquet(tmp_path) == filled.rows(namespace)


def test_of_two_runs_the_later_one_goes_on(filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(filled, "two", 600, days=1)
    run = runner(filled.target)
    command = ("export", "two", "--to", f"file://{tmp_path}", *SMALL)
    later: list[Ran] = []
    write_part = job.Export._write_part

    def overtaken(self: Any, day: str, rows: list[Any]) -> None:
        if self._progress.next_part == 3:
            monkeypatch.setattr(job.Export, "_write_part", write_part)
            later.append(run(*command))
        write_part(self, day, rows)

    monkeypatch.setattr(job.Export, "_write_part", overtaken)
    earlier = run(*command)

    assert (earlier.code, later[0].code) == (3, 0)
    assert "another run goes on with this export: _state/two.json is no more what this one wrote" in earlier.err
    assert read_parquet(tmp_path) == filled.rows("two")


def page(first: int, count: int, token: str) -> pb.ListResponse:
    entries = [
        {"namespace": NS, "key": f"{number:04}", "version": 1, "update_time": {"seconds": 1_800_000_000}}
        for number in range(first, first + count)
    ]
    return pb.ListResponse(entries=entries, next_page_token=token, mode="SERVING_MODE_NORMAL")


def test_a_daemon_that_goes_away_in_the_middle_is_told_and_nothing_is_read_again(
    server: Server, tmp_path: Path
) -> None:
    run = runner(server.target)
    away = status(grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE", message="the authority is away")
    command = ("export", NS, "--to", f"file://{tmp_path}")

    server.expect(page(0, 100, "first"), page(100, 100, "second"), away)
    plain = run(*command)
    server.expect(away)
    told = run(*command, "--json")
    server.expect(page(200, 5, ""))
    done = run(*command, "--json")

    assert (plain.code, plain.out) == (5, b"")
    assert plain.err.splitlines()[0] == "state-sidecar: AUTHORITY_UNAVAILABLE: the authority is away"
    assert GOES_ON in plain.err
    error = json.loads(told.err)["error"]
    assert (told.code, error["reason"], error["exit_code"]) == (5, "AUTHORITY_UNAVAILABLE", 5)
    assert (done.code, done.json["rows"], done.json["resumed"]) == (0, 205, True)
    assert {request.page_token for request in server.requests[2:]} == {"second"}
    assert [row["key"] for row in read_parquet(tmp_path)] == [f"{number:04}" for number in range(205)]
    assert (server.surprises, server.left()) == ([], 0)


def test_a_finished_export_stays_until_the_next_is_complete(server: Server, tmp_path: Path) -> None:
    run = runner(server.target)
    command = ("export", NS, "--to", f"file://{tmp_path}")
    server.expect(page(0, 3, ""))
    assert run(*command).code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("part-*")}

    server.expect(page(0, 2, "first"), status(grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE"))
    assert run(*command).code == 5
    meanwhile = {path: path.read_bytes() for path in tmp_path.rglob("part-*")}
    server.expect(page(2, 1, ""))
    assert run(*command).code == 0

    assert len(before) == 1
    assert before.items() < meanwhile.items()
    assert not before.keys() & set(tmp_path.rglob("part-*"))
    assert len(read_parquet(tmp_path)) == 3


def test_a_passthrough_answer_is_no_empty_namespace(server: Server, tmp_path: Path) -> None:
    server.expect(*[pb.ListResponse(mode="SERVING_MODE_PASSTHROUGH")] * 3)

    ran = runner(server.target)("export", NS, "--to", f"file://{tmp_path}")

    assert (ran.code, ran.out, "PASSTHROUGH: " in ran.err) == (5, b"", True)


def test_no_daemon_is_told_and_a_later_run_begins(filled: Lake, tmp_path: Path) -> None:
    to = f"file://{tmp_path}/lake"
    filled.put("late", [SetOp("a", b"1")])

    ran = runner(f"unix://{tmp_path}/state.sock")("export", "late", "--to", to)

    assert (ran.code, ran.err.splitlines()[0]) == (5, f"state-sidecar: no daemon at unix://{tmp_path}/state.sock")
    assert runner(filled.target)("export", "late", "--to", to).code == 0
    assert read_parquet(tmp_path / "lake") == filled.rows("late")


def limited(filled: Lake, limits: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that may do less."""
    program = [sys.executable, "-m", "tests.support.limited", *limits, "--", sys.executable, "-m", "sidecar"]
    command = [*program, "export", *arguments, "--target", filled.target]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_full_disk_is_told_and_the_export_goes_on_when_there_is_room(filled: Lake, tmp_path: Path) -> None:
    filled.put("full", [SetOp(f"{number:04}", b"\xff" * 500) for number in range(2_000)])
    arguments = ("full", "--format", "jsonl", "--to", f"file://{tmp_path}", "--part-rows", "500")

    ran = limited(filled, ["--file-bytes", "100000"], *arguments)

    assert (ran.returncode, ran.stdout) == (4, "")
    assert "cannot write namespace=full/date=" in ran.stderr
    assert f"at file://{tmp_path}: " in ran.stderr
    assert "File too large" in ran.stderr
    assert GOES_ON in ran.stderr
    assert list(tmp_path.rglob("*part-*")) == []
    assert runner(filled.target)("export", *arguments[:-2]).code == 0
    assert read_jsonl(tmp_path) == filled.rows("full")


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(filled: Lake, tmp_path: Path) -> None:
    to = tmp_path / "lake"
    to.mkdir()
    to.chmod(0o500)

    ran = limited(filled, ["--obey-modes"], NS, "--to", f"file://{to}")

    assert (ran.returncode, ran.stdout) == (4, "")
    assert f"cannot write _state/lake.json at file://{to}: " in ran.stderr
    assert "Permission denied" in ran.stderr
    shutil.rmtree(to)
    to.write_text("a file")
    ran = limited(filled, ["--obey-modes"], NS, "--to", f"file://{to}", "--json")
    assert (ran.returncode, json.loads(ran.stderr)["error"]["exit_code"]) == (4, 4)
