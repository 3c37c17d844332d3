"""The processes of a run: writers and relays on one store. Each is a node, and has a name of its own at every start."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

from tests.outbox.nodes import ENOUGH, HOLD, Node, serve
from tests.outbox.processes import Process
from tests.outbox.recorder import Recorder

PATIENCE_S = 60.0
BRAKE_S = 0.25
_PAUSE = threading.Event()
"""Never set: to let time pass."""


def pause(seconds: float) -> None:
    """Let time pass, where it is time that matters."""
    _PAUSE.wait(seconds)


def wait_until(true: Callable[[], object], otherwise: str, seconds: float = PATIENCE_S) -> None:
    """Look again and again: what another process does is told to nobody."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, otherwise
        pause(0.02)


class Brake:
    """Holds the writers while more than `most` messages wait: on a busy machine they would leave the relays behind."""

    def __init__(self, directory: Path, waiting: Callable[[], int], most: int) -> None:
        self._hold = directory / HOLD
        self._waiting = waiting
        self._most = most
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="brake")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(BRAKE_S):
            if self._waiting() > self._most:
                self._hold.touch()
            else:
                self._hold.unlink(missing_ok=True)
        self._hold.unlink(missing_ok=True)


class Slot:
    """A place in the crew: the same node again and again, each time as another process."""

    def __init__(self, node: Node, numbers: Callable[[], int]) -> None:
        self.node = node
        self._numbers = numbers
        self._ended: list[Process] = []
        self.process = self._start()

    @property
    def name(self) -> str:
        """Of the process that is there now."""
        return self.node.name

    def kill(self) -> None:
        """Whatever it was in."""
        self._check()
        self.process.kill()

    def revive(self) -> None:
        """Another, after its end."""
        self._ended.append(self.process)
        self.process = self._start()

    def drain(self) -> None:
        """An orderly end."""
        wait_until(lambda: self.node.ready.exists() or not self.process.alive(), f"{self.name} does not start")
        self._check()
        self.process.signal(signal.SIGTERM)
        code = self.process.ended()
        assert code == 0, f"{self.name} ended with {code}: {self.process.said()}"

    def said(self) -> str:
        """What its processes complained about."""
        return "".join(process.said() for process in (*self._ended, self.process))

    def _check(self) -> None:
        assert self.process.alive(), f"{self.name} ended by itself: {self.process.said()}"

    def _start(self) -> Process:
        self.node = replace(self.node, number=self._numbers())
        return Process(self.name, self.node.directory / f"log-{self.name}", serve, self.node)


class Crew:
    """`relays` deliver; `writers` only write. Where a store has one daemon, it does both, and is the only relay."""

    def __init__(self, recorder: Recorder, nodes: list[Node]) -> None:
        self.recorder = recorder
        self._nodes = nodes
        self.slots: list[Slot] = []

    def __enter__(self) -> Self:
        numbers = itertools.count(1)
        self.slots = [Slot(node, lambda: next(numbers)) for node in self._nodes]
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self.slots:
            slot.process.kill()

    @property
    def relays(self) -> list[Slot]:
        """Those that deliver."""
        return [slot for slot in self.slots if slot.node.relay]

    @property
    def writers(self) -> list[Slot]:
        """Those that only write."""
        return [slot for slot in self.slots if not slot.node.relay]

    def wait_ready(self) -> None:
        """Until each has opened its store."""
        wait_until(lambda: all(slot.node.ready.exists() for slot in self.slots), "a node does not start")

    def finish_writing(self) -> None:
        """No more is to be written; until the last write was answered."""
        for slot in self.slots:
            (slot.node.directory / ENOUGH).touch()
        wait_until(lambda: all(slot.node.wrote.exists() for slot in self.slots), "a writer goes on")

    def end(self) -> None:
        """An orderly end of all."""
        for slot in self.slots:
            slot.drain()

    def said(self) -> str:
        """What anybody complained about."""
        return "".join(slot.said() for slot in self.slots)
