"""`checkpoint`, `restore` and `checkpoints` against a real daemon, and what they say in trouble."""

from __future__ import annotations

import re
from collections.abc import Iterator

import grpc
import pytest

from statesidecar import Checkpoint, StateClient, errors
from statesidecar.testing import sidecar
from statesidecar.v1 import state_service_pb2 as pb
from tests.cli.conftest import NOTHING, Run, runner
from tests.client.scripted import Server, status

BINARY = bytes(range(256))
ID = "0" * 28


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own: the daemon is the module's."""
    return str(request.node.name)


@pytest.fixture
def passing() -> Iterator[Run]:
    """Commands to a daemon that has no authority."""
    with sidecar(tiers=NOTHING) as running:
        yield runner(running.target)


def kept(client: StateClient, namespace: str) -> list[Checkpoint]:
    return list(client.list_checkpoints(namespace))


def test_a_key_is_kept_and_written_back(run: Run, client: StateClient, namespace: str) -> None:
    client.set(namespace, "plan", BINARY)

    told = run("checkpoint", namespace, "plan", "--label", "step-1", "--metadata", "model=m", "--metadata", "n=")
    client.set(namespace, "plan", b"broken")
    back = run("restore", namespace, "--key", "plan")

    (one,) = kept(client, namespace)
    assert (told.code, told.text) == (0, f"checkpoint {one.checkpoint_id} · 1 entry · 256 B · step-1\n")
    assert (one.key, one.label, one.metadata) == ("plan", "step-1", {"model": "m", "n": ""})
    now = client.get(namespace, "plan")
    assert (back.code, back.text) == (0, f"restored · 1 entry · version {now.version}\n")
    assert now.value == BINARY


def test_a_prefix_is_kept_and_written_back_and_what_came_since_is_gone(
    run: Run, client: StateClient, namespace: str
) -> None:
    for key in ("plan/a", "plan/b", "other"):
        client.set(namespace, key, b"old")
    told = run("checkpoint", namespace, "--prefix", "plan/", "--json").json
    for key in ("plan/a", "plan/c", "other"):
        client.set(namespace, key, b"new")
    client.delete(namespace, "plan/b")

    back = run("restore", namespace, "--prefix", "plan/", "--json").json

    assert (told["key"], told["key_prefix"], told["entry_count"], told["automatic"]) == ("", "plan/", 2, False)
    assert [(entry["key"], entry["value"]) for entry in back["entries"]] == [("plan/a", "old"), ("plan/b", "old")]
    assert {entry["version"] for entry in back["entries"]} == {back["version"]}
    now = {entry.key: entry.value for entry in client.list(namespace)}
    assert now == {"other": b"new", "plan/a": b"old", "plan/b": b"old"}


def test_an_older_one_is_restored_by_its_id_and_continued(run: Run, client: StateClient, namespace: str) -> None:
    ids = []
    for value in (b"1", b"2"):
        client.set(namespace, "plan", value)
        ids.append(run("checkpoint", namespace, "plan", "--json").json["checkpoint_id"])

    assert run("restore", namespace, ids[0]).code == 0

    assert client.get(namespace, "plan").value == b"1"
    branch = run("checkpoint", namespace, "plan", "--json").json
    named = run("checkpoint", namespace, "plan", "--parent", ids[1], "--json").json
    assert (branch["parent_id"], named["parent_id"]) == (ids[0], ids[1])


def test_a_guard_is_kept(run: Run, client: StateClient, namespace: str) -> None:
    version = client.set(namespace, "plan", b"1").version
    run("checkpoint", namespace, "plan")

    lost = run("restore", namespace, "--key", "plan", "--expected-version", str(version + 1))
    won = run("restore", namespace, "--key", "plan", "--expected-version", str(version))

    assert (lost.code, lost.out, "VERSION_MISMATCH" in lost.err) == (3, b"", True)
    assert won.code == 0
    assert client.get(namespace, "plan").version > version


def test_a_request_id_makes_a_repeated_one_take_effect_once(run: Run, client: StateClient, namespace: str) -> None:
    client.set(namespace, "plan", b"1")

    made = [run("checkpoint", namespace, "plan", "--request-id", "c", "--json").json for _ in range(2)]
    back = [run("restore", namespace, "--key", "plan", "--request-id", "r", "--json").json for _ in range(2)]

    assert made[0]["checkpoint_id"] == made[1]["checkpoint_id"]
    assert len(kept(client, namespace)) == 1
    assert back[0]["version"] == back[1]["version"] == client.get(namespace, "plan").version


def test_the_list_is_newest_first_and_bounded(run: Run, client: StateClient, namespace: str) -> None:
    for number in range(3):
        client.set(namespace, "plan", b"x" * 2048 * (number + 1))
        client.checkpoint(namespace, key="plan", label=f"step-{number}")
    client.checkpoint(namespace, key_prefix="pl")

    rows = [line.split("\t") for line in run("checkpoints", "list", namespace).text.splitlines()]
    limited = run("checkpoints", "list", namespace, "--limit", "2")

    assert [row[0] for row in rows] == [one.checkpoint_id for one in kept(client, namespace)]
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    assert [(row[1], row[3], row[4], row[6]) for row in rows] == [
        ("pl*", "1", "6.0 KiB", ""),
        *(("plan", "1", f"{2 * (number + 1)}.0 KiB", f"step-{number}") for number in (2, 1, 0)),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row[2]) for row in rows)
    assert limited.text.splitlines() == ["\t".join(row) for row in rows[:2]]
    assert limited.err == "only the first 2: --limit 0 lists all\n"
    assert run("checkpoints", "list", namespace, "--limit", "4").err == ""
    assert len(run("checkpoints", "list", namespace, "--limit", "0").text.splitlines()) == 4


def test_the_list_is_of_a_key_or_of_a_prefix(run: Run, client: StateClient, namespace: str) -> None:
    for key in ("a", "ab"):
        client.set(namespace, key, b"1")
        client.checkpoint(namespace, key=key)
    client.checkpoint(namespace, key_prefix="a")

    def of(*arguments: str) -> list[tuple[str, str]]:
        listed = run("checkpoints", "list", namespace, *arguments, "--json").json
        assert listed["more"] is False
        return [(one["key"], one["key_prefix"]) for one in listed["checkpoints"]]

    assert of("--key", "a") == [("a", "")]
    assert of("--prefix", "a") == [("", "a")]
    assert of() == [("", "a"), ("ab", ""), ("a", "")]


def test_an_empty_list_is_no_error(run: Run, namespace: str) -> None:
    empty = run("checkpoints", "list", namespace)

    assert (empty.code, empty.out, empty.err) == (0, b"", f"no checkpoints in {namespace}\n")


def test_show_tells_what_is_in_one_and_gives_the_values(run: Run, client: StateClient, namespace: str) -> None:
    version = client.set(namespace, "a", BINARY, content_type="x/y").version
    client.set(namespace, "b", b"")
    first = client.checkpoint(namespace, key_prefix="a", metadata={"who": "me"})
    one = client.checkpoint(namespace, key_prefix="a", label="both", parent_id=first.checkpoint_id)
    client.set(namespace, "a", b"changed")

    shown = run("checkpoints", "show", namespace, one.checkpoint_id)
    value = run("checkpoints", "show", namespace, one.checkpoint_id, "a")
    told = run("checkpoints", "show", namespace, one.checkpoint_id, "--json").json

    (row,) = (line.split("\t") for line in shown.text.splitlines())
    assert (row[0], row[1], row[2], row[4]) == ("a", str(version), "256 B", "x/y")
    assert shown.err.startswith(f"checkpoint {one.checkpoint_id} · of a* · 1 entry · 256 B · both · ")
    assert f" · continues {first.checkpoint_id}" in shown.err
    assert " · who=me" in run("checkpoints", "show", namespace, first.checkpoint_id).err
    assert (value.code, value.out, value.err) == (0, BINARY, "")
    assert told["checkpoint"]["label"] == "both"
    assert [(entry["key"], entry["value_encoding"]) for entry in told["entries"]] == [("a", "base64")]


def test_show_of_a_key_that_is_not_in_it_is_a_miss(run: Run, client: StateClient, namespace: str) -> None:
    client.set(namespace, "a", b"1")
    one = client.checkpoint(namespace, key="a")

    missed = run("checkpoints", "show", namespace, one.checkpoint_id, "b")
    told = run("checkpoints", "show", namespace, one.checkpoint_id, "b", "--json")

    assert (missed.code, missed.out) == (1, b"")
    assert missed.err == f"no entry b in checkpoint {one.checkpoint_id}\n"
    assert (told.code, told.json["entries"], told.err) == (1, [], "")


def test_what_is_deleted_is_gone_and_what_was_not_there_is_told(run: Run, client: StateClient, namespace: str) -> None:
    client.set(namespace, "a", b"1")
    ids = [client.checkpoint(namespace, key="a").checkpoint_id for _ in range(3)]

    deleted = run("checkpoints", "delete", namespace, ids[0], ids[0])
    some = run("checkpoints", "delete", namespace, ids[0], ids[1])
    told = run("checkpoints", "delete", namespace, ids[1], ids[2], "--json")

    assert (deleted.code, deleted.text, deleted.err) == (0, "deleted · 1 checkpoint\n", "")
    assert (some.code, some.text) == (1, "deleted · 1 checkpoint\n")
    assert some.err == f"no checkpoint {ids[0]} in {namespace}\n"
    assert (told.code, told.json) == (1, {"deleted_count": 1, "missing": [ids[1]]})
    assert kept(client, namespace) == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["checkpoint", "process"], 2, "give a KEY or a --prefix"),
        (["checkpoint", "process", "a", "--prefix", "a"], 2, "give a KEY or a --prefix"),
        (["checkpoint", "process", "absent"], 1, "KEY_NOT_FOUND"),
        (["checkpoint", "process", "a", "--metadata", "x"], 2, "'x' is not key=value"),
        (["restore", "process"], 2, "give an ID, a --key or a --prefix"),
        (["restore", "process", ID, "--key", "a"], 2, "give an ID, a --key or a --prefix"),
        (["restore", "process", "--key", "a", "--prefix", "a"], 2, "give an ID, a --key or a --prefix"),
        (["restore", "process", ID], 1, "CHECKPOINT_NOT_FOUND"),
        (["restore", "process", "--key", "a"], 1, "CHECKPOINT_NOT_FOUND"),
        (["restore", "process", "--key", "a", "--expected-version", "-1"], 2, "-1 is not in the range"),
        (["checkpoints", "list", "process", "--key", "a", "--prefix", "a"], 2, "give a --key or a --prefix"),
        (["checkpoints", "list", ""], 4, "NAMESPACE_INVALID"),
        (["checkpoints", "show", "process", ID], 1, "CHECKPOINT_NOT_FOUND"),
        (["checkpoints", "delete", "process"], 2, "Missing argument 'ID...'"),
    ],
)
def test_each_mistake_has_its_exit_code_and_message(run: Run, arguments: list[str], code: int, told: str) -> None:
    ran = run(*arguments)

    assert (ran.code, ran.out) == (code, b"")
    assert told in ran.err


def test_without_an_authority_nothing_is_kept_and_that_is_told(passing: Run) -> None:
    for arguments in (
        ["checkpoint", "process", "a"],
        ["restore", "process", "--key", "a"],
        ["checkpoints", "list", "process"],
        ["checkpoints", "show", "process", ID],
        ["checkpoints", "delete", "process", ID],
    ):
        refused = passing(*arguments)
        assert (refused.code, refused.out, "PASSTHROUGH" in refused.err) == (5, b"", True), arguments


def test_a_checkpoint_that_does_not_verify_is_told_as_that(server: Server) -> None:
    server.expect(status(grpc.StatusCode.DATA_LOSS, errors.CHECKPOINT_CORRUPT))

    ran = runner(server.target)("restore", "process", ID)

    assert (ran.code, ran.out) == (70, b"")
    assert "Stored bytes do not verify" in ran.err


def test_what_would_control_a_terminal_is_escaped(server: Server) -> None:
    info = pb.CheckpointInfo(checkpoint_id=ID, key="k\x1b", label="\x1b[2J", metadata={"\x1b": "\x07"}, stored_bytes=5)
    entry = {"namespace": "process", "key": "k\x1b", "content_type": "\x1b"}
    server.expect(
        pb.CheckpointResponse(checkpoint=info),
        pb.ListCheckpointsResponse(checkpoints=[info, pb.CheckpointInfo(checkpoint_id=ID, key="a", automatic=True)]),
        pb.GetCheckpointResponse(checkpoint=info, entries=[entry]),
    )
    run = runner(server.target)

    made = run("checkpoint", "process", "k")
    listed = run("checkpoints", "list", "process")
    shown = run("checkpoints", "show", "process", ID)

    assert made.text == f"checkpoint {ID} · 0 entries · 0 B · \\x1b[2J\n"
    assert listed.text == f"{ID}\tk\\x1b\t-\t0\t0 B\t5 B\t\\x1b[2J\n{ID}\ta\t-\t0\t0 B\t-\t(automatic)\n"
    assert "\\x1b=\\x07" in shown.err
    assert shown.text == "k\\x1b\t0\t0 B\t-\t\\x1b\n"
    assert "\x1b" not in shown.err
