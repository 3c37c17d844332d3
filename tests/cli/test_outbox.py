"""`outbox`, and `--message` of the writes, against a real daemon."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from statesidecar import OutboxMessage, StateClient
from statesidecar.testing import sidecar
from tests.cli.conftest import EMBEDDED, Ran, Run, process, runner


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with sidecar(tiers=EMBEDDED, outbox={"retry_delay_s": 0.01, "attempts_max": 1}) as running:
        yield running.target


@pytest.fixture
def space() -> str:
    """A namespace that no other test has."""
    return uuid.uuid4().hex


def consumed(run: Run, space: str, count: int, *options: str) -> list[list[str]]:
    ran = run("outbox", "consume", space, "--max", str(count), *options)
    assert (ran.code, ran.err) == (0, "")
    return [line.split("\t") for line in ran.text.splitlines()]


def bury(client: StateClient, space: str, *payloads: bytes) -> list[str]:
    """Messages that are given up on, each of a key of its own; their ids."""
    for payload in payloads:
        client.set(space, payload.decode(), b"", outbox=[OutboxMessage("n", payload)])
        with client.outbox.consume(space) as consumer:
            next(consumer).refuse(f"no {payload.decode()}\t")
    while len(letters := list(client.outbox.dead_letters(space))) < len(payloads):
        pass
    return [letter.id for letter in letters]


@pytest.mark.parametrize(
    ("command", "version"),
    [
        (("set", "{}", "key", "value"), 1),
        (("cas", "{}", "key", "value", "--expected-version", "0"), 1),
        (("update", "{}", "key", "--increment", "1"), 1),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_write_carries_messages(run: Run, space: str, command: tuple[str, ...], version: int) -> None:
    words = [word.format(space) for word in command]
    ran = run(*words, "--message", "placed=a=b", "--message", "paid=")

    [placed, paid] = consumed(run, space, 2)

    assert ran.code == 0
    assert (placed[1:3], placed[4:]) == (["placed", "key"], [str(version), "a=b"])
    assert (paid[1:3], paid[4:]) == (["paid", "key"], ["1", ""])
    assert placed[3] == paid[3]


def test_a_deletion_does_too_unless_there_was_nothing(run: Run, space: str) -> None:
    assert run("delete", space, "key", "--message", "gone=1").code == 1
    run("set", space, "key", "value")
    assert run("delete", space, "key", "--message", "gone=2").code == 0

    assert [line[1:3] + line[5:] for line in consumed(run, space, 1)] == [["gone", "key", "2"]]


@pytest.mark.parametrize("message", ["topic", "=payload", ""])
def test_a_message_needs_a_topic_and_a_payload(run: Run, space: str, message: str) -> None:
    ran = run("set", space, "key", "value", "--message", message)

    assert ran.code == 2
    assert "is not topic=payload" in ran.err


def test_only_the_topics_that_are_named_are_consumed(run: Run, space: str) -> None:
    for number in range(3):
        run("set", space, f"key {number}", "value", "--message", f"topic {number}={number}")

    lines = consumed(run, space, 2, "--topic", "topic 0", "--topic", "topic 2")

    assert sorted(line[1] for line in lines) == ["topic 0", "topic 2"]
    assert [line[1] for line in consumed(run, space, 1)] == ["topic 1"]


def test_a_line_has_no_control_characters_and_json_has_all(run: Run, client: StateClient, space: str) -> None:
    odd = OutboxMessage("t", b"\x1b[2J\n\xff", "x/y", {"a": "b"})
    client.set(space, "key\t", b"", outbox=[odd, odd])

    [line] = consumed(run, space, 1)
    told = run("outbox", "consume", space, "--max", "1", "--json").json

    assert line[2:3] + line[5:] == ["key\\t", "\\x1b[2J\\n\\xff"]
    assert (told["topic"], told["key"], told["attempt"], told["namespace"]) == ("t", "key\t", 1, space)
    assert (told["payload"], told["payload_encoding"]) == ("G1sySgr/", "base64")
    assert (told["content_type"], told["attributes"]) == ("x/y", {"a": "b"})
    assert told["commit_time"].endswith("+00:00")
    assert "settle" not in told


def test_what_cannot_be_consumed_is_told(run: Run, space: str) -> None:
    assert run("outbox", "consume", "", "--max", "1").code == 4
    away = runner("127.0.0.1:1")("outbox", "consume", space, "--timeout", "100ms")

    assert (away.code, away.out) == (5, b"")
    assert "no daemon at" in away.err


def test_it_prints_as_messages_come_and_ends_by_an_interrupt(target: str, client: StateClient, space: str) -> None:
    with process("outbox", "consume", space, "--json", "--target", target, stdout=subprocess.PIPE) as consumer:
        assert consumer.stdout is not None
        for number in range(2):
            client.set(space, "key", b"", outbox=[OutboxMessage("n", str(number))])
            assert json.loads(consumer.stdout.readline())["payload"] == str(number)
        consumer.send_signal(signal.SIGINT)
        assert consumer.wait(30) == 130


def test_a_message_that_nobody_reads_is_not_acknowledged(
    target: str, run: Run, client: StateClient, space: str
) -> None:
    for number in range(2):
        client.set(space, "key", b"", outbox=[OutboxMessage("n", str(number))])
    with process(
        "outbox", "consume", space, "--target", target, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as consumer:
        assert consumer.stdout is not None
        consumer.stdout.close()
        _, told = consumer.communicate(timeout=30)

    assert (consumer.returncode, told) == (0, b"")
    assert [line[5] for line in consumed(run, space, 2)] == ["0", "1"]


# ---- dead letters


def test_dead_letters_are_listed_oldest_first(run: Run, client: StateClient, space: str) -> None:
    ids = bury(client, space, b"one", b"two", b"three")

    listed = run("outbox", "dead", space)
    lines = [line.split("\t") for line in listed.text.splitlines()]
    told = run("outbox", "dead", space, "--json", "--limit", "2")

    assert (listed.code, listed.err) == (0, "")
    assert [line[0] for line in lines] == ids
    assert lines[0][1:5] == ["n", "one", "3 B", "1"]
    assert lines[0][6] == "no one\\t"
    assert (len(told.json["dead_letters"]), told.json["more"]) == (2, True)
    assert told.json["dead_letters"][0]["reason"] == "no one\t"
    assert run("outbox", "dead", space, "--limit", "2").err == "only the first 2: --limit 0 lists all\n"
    assert len(run("outbox", "dead", space, "--limit", "0").text.splitlines()) == 3


def test_no_dead_letters_are_no_error(run: Run, space: str) -> None:
    assert run("outbox", "dead", space) == Ran(0, b"", f"no dead letters in {space}\n")
    assert run("outbox", "dead", space, "--json").json == {"dead_letters": [], "more": False}


def test_those_that_are_named_go_back_into_the_queue(run: Run, client: StateClient, space: str) -> None:
    first, second, third = bury(client, space, b"one", b"two", b"three")

    told = run("outbox", "redrive", space, second, second)
    missing = run("outbox", "redrive", space, second, third, "x")
    everything = run("outbox", "redrive", space, "--all", "--json")

    assert (told.code, told.text, told.err) == (0, "redriven · 1 dead letter\n", "")
    assert (missing.code, missing.text, missing.err) == (
        1,
        *("redriven · 1 dead letter\n", "2 of the IDs are not there\n"),
    )
    assert (everything.code, everything.json) == (0, {"redriven_count": 1, "missing_count": 0})
    assert {line[0] for line in consumed(run, space, 3)} == {first, second, third}


@pytest.mark.parametrize("named", [[], ["x", "--all"]])
def test_neither_ids_nor_all_or_both_is_a_usage_error(run: Run, space: str, named: list[str]) -> None:
    refused = run("outbox", "redrive", space, *named)

    assert (refused.code, refused.out) == (2, b"")
    assert "name dead letters by their IDs, or take --all of them" in refused.err
