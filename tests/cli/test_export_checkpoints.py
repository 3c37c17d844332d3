"""`export --what checkpoints`: a row for each entry of each checkpoint, on the checkpoint's day."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from tests.cli.conftest import runner
from tests.cli.export_support import fill, lake, read_jsonl, read_parquet, row_of
from tests.client.scripted import Server, status

NS = "process"
DAY_S = 86_400
FIRST_S = 1_800_000_000


def info(number: int) -> pb.CheckpointInfo:
    return pb.CheckpointInfo(
        checkpoint_id=f"c{number}",
        label=f"step \u2028{number}",
        metadata={"by": "planner", "a\x00": "\u0436"} if number % 2 else {},
        parent_id=f"c{number - 1}" if number else "",
        create_time={"seconds": FIRST_S + number * DAY_S, "nanos": 5_000_000},
    )


def content(number: int, keys: int) -> pb.GetCheckpointResponse:
    entries = [
        {
            "namespace": NS,
            "key": f"plan/{key}",
            "value": b"\xff" * key,
            "version": number + 1,
            "update_time": {"seconds": FIRST_S - 1},
        }
        for key in range(keys)
    ]
    return pb.GetCheckpointResponse(checkpoint=info(number), entries=entries, mode="SERVING_MODE_NORMAL")


def listed(numbers: list[int], token: str) -> pb.ListCheckpointsResponse:
    checkpoints = [info(number) for number in numbers]
    return pb.ListCheckpointsResponse(checkpoints=checkpoints, next_page_token=token, mode="SERVING_MODE_NORMAL")


def row(number: int, key: int) -> dict[str, Any]:
    create_time = datetime.fromtimestamp(FIRST_S + number * DAY_S + 0.005, UTC)
    return {
        "checkpoint_id": f"c{number}",
        "label": f"step \u2028{number}",
        "metadata": {"by": "planner", "a\x00": "\u0436"} if number % 2 else {},
        "parent_id": f"c{number - 1}" if number else "",
        "checkpoint_create_time": create_time,
        "namespace": NS,
        "key": f"plan/{key}",
        "value": b"\xff" * key,
        "version": number + 1,
        "content_type": "",
        "schema_version": 0,
        "create_time": None,
        "update_time": datetime.fromtimestamp(FIRST_S - 1, UTC),
        "expire_time": None,
        "labels": {},
        "date": create_time.date().isoformat(),
    }


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["checkpoint_id"], row["key"]))


def read(place: Path, format: str) -> list[dict[str, Any]]:
    rows = read_parquet(place) if format == "parquet" else read_jsonl(place)
    return ordered([row | {"metadata": dict(row["metadata"])} for row in rows])


def test_of_a_real_daemon(tmp_path: Path) -> None:
    """More than a page of them, of keys and of a prefix, over some days; what is read back is what the client reads."""
    with lake() as running:
        client = running.client
        fill(running, NS, 200, days=2)
        for number in range(12):
            client.set(NS, "user/00003", b"\xff" * number, labels={"step": f"{number}"})
            client.checkpoint(NS, key="user/00003", label=f"step {number}", metadata={"number": f"{number}"})
            if number % 5 == 0:
                client.checkpoint(NS, key_prefix="user/")
                running.tomorrow()
        expected = []
        for checkpoint in client.list_checkpoints(NS):
            assert checkpoint.create_time is not None
            told = {
                "checkpoint_id": checkpoint.checkpoint_id,
                "label": checkpoint.label,
                "metadata": dict(checkpoint.metadata),
                "parent_id": checkpoint.parent_id,
                "checkpoint_create_time": checkpoint.create_time,
            }
            date = {"date": checkpoint.create_time.date().isoformat()}
            entries = client.get_checkpoint(NS, checkpoint.checkpoint_id).entries
            expected += [told | row_of(entry) | date for entry in entries]

        ran = runner(running.target)("export", NS, "--what", "checkpoints", "--to", f"file://{tmp_path}")

    assert (ran.code, ran.err) == (0, "")
    assert len(expected) > 12 + 3 * 100
    assert len({row["date"] for row in expected}) == 4
    assert read(tmp_path, "parquet") == ordered(expected)


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_every_entry_of_every_checkpoint_is_a_row(server: Server, tmp_path: Path, format: str) -> None:
    """One of them is deleted between its listing and its reading."""
    gone = status(grpc.StatusCode.NOT_FOUND, "CHECKPOINT_NOT_FOUND")
    server.expect(listed([3, 2], "older"), content(3, 4), gone, listed([1, 0], ""), content(1, 1), content(0, 0))

    ran = runner(server.target)(
        *("export", NS, "--what", "checkpoints", "--format", format, "--to", f"file://{tmp_path}")
    )

    assert (ran.code, ran.err, server.surprises) == (0, "", [])
    assert ran.text.startswith("exported · 5 entries of checkpoints · ")
    assert read(tmp_path, format) == ordered([row(3, 0), row(3, 1), row(3, 2), row(3, 3), row(1, 0)])
    asked = [request for request in server.requests if isinstance(request, pb.ListCheckpointsRequest)]
    assert [(request.namespace, request.key, request.page_token) for request in asked] == [
        (NS, "", ""),
        (NS, "", "older"),
    ]


def test_a_page_that_was_read_in_part_is_read_again(server: Server, tmp_path: Path) -> None:
    """The daemon goes away between two checkpoints of the second page, after the first of them was written to a file."""
    away = status(grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE")
    run = runner(server.target)
    command = ("export", NS, "--what", "checkpoints", "--to", f"file://{tmp_path}", "--buffer-bytes", "2KiB", "--json")

    server.expect(listed([4, 3], "older"), content(4, 9), content(3, 9), listed([2, 1], ""), content(2, 9), away)
    ended = run(*command)
    recorded = json.loads((tmp_path / "_state" / f"{NS}.json").read_text())
    server.expect(listed([2, 1], ""), content(2, 9), content(1, 9))
    ran = run(*command)

    assert (ended.code, recorded["page_token"], recorded["rows"]) == (5, "older", 18)
    assert (ran.code, ran.json["rows"], ran.json["resumed"]) == (0, 36, True)
    assert read(tmp_path, "parquet") == ordered([row(number, key) for number in (1, 2, 3, 4) for key in range(9)])


def test_a_checkpoint_that_does_not_verify_ends_the_export(server: Server, tmp_path: Path) -> None:
    server.expect(listed([1], ""), status(grpc.StatusCode.DATA_LOSS, "CHECKPOINT_CORRUPT", message="not what it was"))

    ran = runner(server.target)("export", NS, "--what", "checkpoints", "--to", f"file://{tmp_path}")

    assert (ran.code, ran.out) == (70, b"")
    assert ran.err.startswith("state-sidecar: CHECKPOINT_CORRUPT: not what it was\n")
