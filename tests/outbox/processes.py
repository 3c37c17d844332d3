"""Processes that are killed and stopped: forked from a server that has loaded what they need, so that one starts at once."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
END_S = 30.0
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.outbox.nodes", "tests.outbox.pollers"])


class Process:
    """`target(*arguments)` in a process of its own, which ends with this one. What it says to stderr is in `log`."""

    def __init__(self, name: str, log: Path, target: Callable[..., None], *arguments: Any) -> None:
        self.name = name
        self.log = log
        self._process: BaseProcess = _CONTEXT.Process(target=_run, args=(log, target, arguments), name=name)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its id."""
        assert self._process.pid is not None, "it was started"
        return self._process.pid

    def alive(self) -> bool:
        """Whether it runs, or is stopped."""
        return self._process.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. It must not have ended, or another could have its id."""
        assert self.alive(), f"{self.name} has ended: {self.said()}"
        os.kill(self.pid, number)

    def stopped(self) -> bool:
        """Whether it is stopped now."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def kill(self) -> None:
        """As kill -9 does; until it is gone."""
        self._process.kill()
        self._process.join(END_S)

    def ended(self) -> int | None:
        """Wait for its end; its exit code."""
        self._process.join(END_S)
        return self._process.exitcode

    def said(self) -> str:
        """What it wrote to stderr."""
        return self.log.read_text() if self.log.exists() else ""


def _run(log: Path, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.setpgid(0, 0)  # signals to a group are for others
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with log.open("a") as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())
    target(*arguments)
