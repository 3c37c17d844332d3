"""`watch`: over a real daemon, as a process that is interrupted, and into a pipe that closes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from statesidecar import StateClient
from statesidecar.testing import sidecar
from tests.cli.conftest import EMBEDDED, Run, runner

END_S = 30


@contextmanager
def watching(target: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own; with its watch begun by a snapshot, whose end it has told."""
    command = [sys.executable, "-m", "sidecar", "watch", *arguments, "--snapshot", "--target", target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until_synced(out: IO[str] | None) -> list[str]:
    """The lines of the snapshot."""
    assert out is not None
    lines: list[str] = []
    while "synced" not in (line := out.readline().rstrip("\n")).lower():
        assert line, "it ended"
        lines.append(line)
    return lines


def test_a_line_is_printed_for_every_change_as_it_comes(target: str) -> None:
    with StateClient(target) as client, watching(target, "lines", "--all", "--values") as process:
        assert until_synced(process.stdout) == []
        assert process.stdout is not None

        first = client.set("lines", "a\x1b", "text\n").version
        assert process.stdout.readline() == f"put\ta\\x1b\t{first}\ttext\\n\n"
        deleted = client.delete("lines", "a\x1b").version
        assert process.stdout.readline() == f"delete\ta\\x1b\t{deleted}\n"


def test_an_interrupt_ends_it_with_the_token_that_goes_on(target: str) -> None:
    with StateClient(target) as client:
        client.set("interrupted", "before", b"")
        with watching(target, "interrupted", "--prefix", "b", "--json") as process:
            [shown] = until_synced(process.stdout)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=END_S)
        later = client.set("interrupted", "b2", b"").version
        token = json.loads(err)["resume_token"]
        with client.watch("interrupted", prefix="b", resume_token=token) as watch:
            event = next(watch)

    assert json.loads(shown)["entry"]["key"] == "before"
    assert json.loads(shown)["type"] == "PUT"
    assert process.returncode == 130
    assert (event.key, event.version) == ("b2", later)


def test_a_reader_that_has_enough_ends_it(target: str) -> None:
    with StateClient(target) as client:
        client.set("pipe", "key", b"")
        with watching(target, "pipe", "--all") as process:
            until_synced(process.stdout)
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            client.set("pipe", "key", b"")
            client.set("pipe", "key", b"")

            assert process.wait(END_S) == 0
            assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("arguments", [[], ["--key", "k", "--all"], ["--key", "k", "--prefix", "k"]])
def test_one_thing_is_watched(run: Run, arguments: list[str]) -> None:
    ran = run("watch", "shop", *arguments)

    assert ran.code == 2
    assert "--key, --prefix or --all" in ran.err


def test_a_token_that_is_none(run: Run) -> None:
    ran = run("watch", "shop", "--all", "--resume", "mine", "--json")

    assert ran.code == 4
    assert json.loads(ran.err.splitlines()[0])["error"]["reason"] == "RESUME_TOKEN_INVALID"


def test_a_token_that_is_too_old_says_what_to_do(target: str) -> None:
    with StateClient(target) as client, client.watch("old", all_keys=True) as watch:
        token = watch.resume_token
    with sidecar(tiers=EMBEDDED) as another:
        ran = runner(another.target)("watch", "old", "--all", "--resume", token)

    assert ran.code == 4
    assert ran.err.startswith("state-sidecar: OUT_OF_RANGE")
    assert "--snapshot" in ran.err


def test_without_a_daemon_it_says_so() -> None:
    ran = runner("127.0.0.1:1")("watch", "shop", "--all")

    assert ran.code == 5
