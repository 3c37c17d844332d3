"""SIGINT and SIGTERM while a command runs: it ends, wherever they land."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from sidecar.cli import interrupts
from statesidecar import OutboxMessage, StateClient
from tests.cli.conftest import child

END_S = 30
SIGNALS = ["SIGINT", "SIGTERM"]
# A message passes through about four: of its call, and of who sends its acknowledgement.
MOMENTS = range(1, 7)


@pytest.fixture
def space() -> str:
    """A namespace that no other test has."""
    return uuid.uuid4().hex


@contextmanager
def interrupted(number: int, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    module = [sys.executable, "-m", "tests.cli.interrupted_child", name, str(number), *arguments]
    with child(module, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        yield running


@pytest.mark.parametrize(("number", "name"), [*((number, "SIGINT") for number in MOMENTS), (1, "SIGTERM")])
def test_a_consumer_ends_wherever_it_is_interrupted(
    target: str, client: StateClient, space: str, number: int, name: str
) -> None:
    for payload in ("first", "second"):
        client.set(space, "key", b"", outbox=[OutboxMessage("n", payload)])
    with interrupted(number, name, "outbox", "consume", space, "--target", target) as consumer:
        out, err = consumer.communicate(timeout=END_S)
    client.set(space, "key", b"", outbox=[OutboxMessage("n", "last")])
    left = []
    with client.outbox.consume(space) as others:
        for message in others:
            left.append(message.payload.decode())
            message.ack()
            if left[-1] == "last":
                break

    assert (consumer.returncode, err) == (130, b"")
    # What was printed was acknowledged, and only that.
    shown = [line.split("\t")[5] for line in out.decode().splitlines()]
    assert [*shown, *left] == ["first", "second", "last"]


@pytest.mark.parametrize(("number", "name"), [(1, "SIGINT"), (2, "SIGINT"), (3, "SIGINT"), (1, "SIGTERM")])
def test_a_watch_ends_wherever_it_is_interrupted(
    target: str, client: StateClient, space: str, number: int, name: str
) -> None:
    with interrupted(number, name, "watch", space, "--all", "--snapshot", "--target", target) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == b"synced\n"
        first = client.set(space, "key", b"").version
        out, err = watching.communicate(timeout=END_S)
    second = client.set(space, "key", b"").version
    with client.watch(space, all_keys=True, resume_token=err.decode().removeprefix("--resume ").strip()) as watch:
        versions = [next(watch).version]
        if versions == [first]:
            versions.append(next(watch).version)

    assert watching.returncode == 130
    # What was not printed comes to whoever goes on.
    assert [int(line.split(b"\t")[2]) for line in out.splitlines()] + versions == [first, second]


# ---- the block


@pytest.mark.parametrize("name", SIGNALS)
def test_a_block_that_can_be_stopped_is_not_interrupted(name: str) -> None:
    stopped = threading.Event()
    number = signal.Signals[name]
    before = signal.getsignal(number)

    def block() -> None:
        with interrupts.ending(stopped.set):
            signal.raise_signal(number)
            ended.append(stopped.wait(END_S))
            raise ValueError("what the end of its call has led to")

    ended: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        block()
    assert ended == [True]
    assert signal.getsignal(number) is before


def test_another_block_is_interrupted() -> None:
    after: list[str] = []

    def block() -> None:
        with interrupts.ending():
            signal.raise_signal(signal.SIGTERM)
            after.append("more")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert not after


def test_an_interrupt_that_was_lost_is_told_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts.ending(), suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.ending():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_signals_are_the_main_thread_s() -> None:
    ended: list[bool] = []

    def work() -> None:
        with interrupts.ending():
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(END_S)

    assert ended == [True]


BLOCKED = """
import os, sys
from contextlib import suppress
from sidecar.cli import interrupts
interrupts.END_S = float(sys.argv[1])
silent, _ = os.pipe()
stop = (lambda: print("stopping", flush=True)) if sys.argv[2] == "stop" else None
with interrupts.ending(stop):
    while True:
        with suppress(KeyboardInterrupt):
            print("begun", flush=True)
            os.read(silent, 1)
"""


@pytest.mark.parametrize("how", ["stop", "raise"])
@pytest.mark.parametrize("name", SIGNALS)
def test_what_does_not_end_is_ended(name: str, how: str) -> None:
    with child([sys.executable, "-c", BLOCKED, "0.01", how], stdout=subprocess.PIPE) as blocked:
        assert blocked.stdout is not None
        blocked.stdout.readline()
        blocked.send_signal(signal.Signals[name])

        assert blocked.wait(END_S) == 130


def test_a_second_signal_ends_it_at_once() -> None:
    with child([sys.executable, "-c", BLOCKED, "1000", "stop"], stdout=subprocess.PIPE) as blocked:
        assert blocked.stdout is not None
        blocked.stdout.readline()
        blocked.send_signal(signal.SIGINT)
        assert blocked.stdout.readline() == b"stopping\n"
        blocked.send_signal(signal.SIGTERM)

        assert blocked.wait(END_S) == 130


def test_a_consumer_whose_reader_does_not_read_ends(target: str, client: StateClient, space: str) -> None:
    """It is blocked in a write that nothing but the end of the process ends."""
    client.set(space, "key", b"", outbox=[OutboxMessage("n", "x" * 200_000)])
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "sidecar", "outbox", "consume", space, "--target", target]
    with child(command, stdout=writing) as consumer:
        os.close(writing)
        os.read(reading, 1)  # It prints
        consumer.send_signal(signal.SIGINT)

        assert consumer.wait(END_S) == 130
    os.close(reading)
