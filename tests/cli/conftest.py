"""The command line against a real daemon, and against a server that answers what a real one says only in trouble."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli import main
from statesidecar import StateClient
from statesidecar.testing import sidecar
from tests.client.scripted import Server

EMBEDDED = {"hot": "memory://", "warm": "memory://", "cold": "none://"}
NOTHING = {"hot": "none://", "warm": "none://", "cold": "none://"}


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


def runner(target: str) -> Run:
    """Runs a command in this process, with stdout and stderr that are no terminal."""

    def run(*arguments: str, stdin: bytes = b"") -> Ran:
        result = CliRunner().invoke(main, arguments, input=stdin, env={"STATE_SIDECAR_TARGET": target})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout_bytes, result.stderr)

    return run


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with sidecar(tiers=EMBEDDED) as running:
        yield running.target


@pytest.fixture
def run(target: str) -> Run:
    return runner(target)


@pytest.fixture
def client(target: str) -> Iterator[StateClient]:
    """A client of the daemon, for what a test needs besides the command."""
    with StateClient(target) as client:
        yield client


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    running.start()
    yield running
    running.stop()


def process(*arguments: str, **options: Any) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The program as a user starts it, for a `with` block: see `child`."""
    return child([sys.executable, "-m", "sidecar", *arguments], **options)


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process. Its end is waited for; if the block fails, it is killed: a failing test leaves nothing."""
    with subprocess.Popen(command, **options) as running:
        try:
            yield running
        except BaseException:
            running.kill()
            raise
