"""Clients, several in a process: each does one call after the other, at a daemon of its choice, and records what it heard.

    python -m tests.chaos.clients '{"targets": [...], "file": ..., "first": 1, "clients": [0, 1], "seed": 1, "begin": 12.5}'

A call is in the file before it is sent, as one whose outcome is unknown: so a client may be killed at any time. SIGTERM ends
the clients after the call that each is at.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import grpc
import uvloop

from statesidecar.v1.state_service_pb2_grpc import StateServiceStub
from tests.chaos import calls
from tests.chaos.calls import Answer
from tests.chaos.history import READS, Kind, Operation, Outcome, from_line, to_line
from tests.support.daemon import CHANNEL_OPTIONS

GROUPS = 2
"""Clients of a group share keys, those of others don't."""
GENERATION_S = 4.0
"""Keys are used so long; then come new ones, so that no history is too long to be judged."""
OPERATIONS_OF_A_KEY = 25
"""Of each client."""
PACE_S = 0.02
"""A client does not call more often than that."""
TIMEOUT_S = 1.0
AVOID_S = 0.7
"""How long a client mostly keeps away from a daemon that did not answer in time."""
REPEATS_MAX = 2
REPEAT_SHARE = 0.7
OPTIONS = (*CHANNEL_OPTIONS, ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 400))

REGISTER = {Kind.SET: 22, Kind.CAS: 25, Kind.DELETE: 5, Kind.GET_STRONG: 22, Kind.GET_CACHED: 26}
LIST = {Kind.UPDATE_APPEND: 50, Kind.GET_STRONG: 20, Kind.GET_CACHED: 30}
COUNTER = {Kind.UPDATE_INCREMENT: 50, Kind.GET_STRONG: 20, Kind.GET_CACHED: 30}
KINDS = {"r": REGISTER, "l": LIST, "c": COUNTER}
SLOTS = {"process": "rrrrlc", "session": "rrl", "chat": "llcr", "jobs": "lr"}
"""What keys a namespace has at a time in each group."""
BUFFERED = frozenset({"chat", "jobs"})
"""Namespaces whose writes are kept while PostgreSQL is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a process of clients is told. `first`: the first process id for its histories. `begin`: when the run began."""

    targets: list[str]
    file: str
    first: int
    clients: list[int]
    seed: int
    begin: float
    namespaces: list[str]


class File:
    """The histories of this process: one line at each begin, one at each end."""

    def __init__(self, task: Task) -> None:
        self._descriptor = os.open(task.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._ids = itertools.count(task.first)

    def process(self) -> int:
        """An id that nobody had."""
        return next(self._ids)

    def write(self, operation: Operation) -> None:
        """In the file when this returns, whatever becomes of the process."""
        os.write(self._descriptor, (to_line(operation) + "\n").encode())


class Client:
    """One client."""

    def __init__(self, task: Task, number: int, file: File, stubs: list[Any]) -> None:
        self._task = task
        self._number = number
        self._file = file
        self._stubs = stubs
        self._random = Random(f"{task.seed}/{task.first}/{number}")
        self._process = file.process()
        self._seen: dict[tuple[str, str], int] = {}
        self._used: dict[tuple[str, str], int] = {}
        self._avoided = [0.0] * len(stubs)
        self._count = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until asked to stop."""
        while not stop.is_set():
            begin = time.monotonic()
            await self._once()
            rest = PACE_S - (time.monotonic() - begin)
            await _pause(stop, max(rest, 0.0))

    async def _once(self) -> None:
        asked = self._next()
        self._file.write(asked)
        ended = await self._call(asked)
        self._file.write(ended)
        if ended.outcome is Outcome.UNKNOWN:
            self._process = self._file.process()
        elif ended.version:
            at = (ended.namespace, ended.key)
            self._seen[at] = max(self._seen.get(at, 0), ended.version)

    def _next(self) -> Operation:
        """What to do now."""
        namespace, key = self._key()
        kinds = KINDS[key[0]]
        [kind] = self._random.choices(list(kinds), list(kinds.values()))
        self._count += 1
        name = f"{self._process}-{self._count}"
        seen = self._seen.get((namespace, key), 0)
        value, expected = None, None
        match kind:
            case Kind.SET | Kind.CAS:
                # Where buffered writes are merged, they have to be JSON.
                value = json.dumps({name: 1}).encode() if namespace in BUFFERED else name.encode()
                expected = seen if kind is Kind.CAS else None
            case Kind.UPDATE_APPEND:
                value = json.dumps([name]).encode()
            case Kind.UPDATE_INCREMENT:
                # Those that are buffered take effect when nobody sees it: they have to be alike, or none could be told apart.
                value = b"1" if namespace in BUFFERED else b"%d" % self._random.randint(1, 9)
            case Kind.GET_CACHED:
                expected = seen
            case _:
                pass
        return Operation(
            process=self._process,
            kind=kind,
            namespace=namespace,
            key=key,
            value=value,
            expected_version=expected,
            request_id="" if kind in READS else name,
            invoke=time.monotonic(),
        )

    def _key(self) -> tuple[str, str]:
        """Of the keys of now, one that was not used too often; else of those to come."""
        free: list[tuple[str, str]] = []
        generation = int((time.monotonic() - self._task.begin) / GENERATION_S)
        while not free:
            now = keys(self._number % GROUPS, generation, self._task.namespaces)
            free = [at for at in now if self._used.get(at, 0) < OPERATIONS_OF_A_KEY]
            generation += 1
        at = self._random.choice(free)
        self._used[at] = self._used.get(at, 0) + 1
        return at

    async def _call(self, asked: Operation) -> Operation:
        """With repeats under the same request id while its outcome is unknown."""
        was_unknown = False
        for attempt in range(1 + REPEATS_MAX):
            daemon = self._daemon()
            answer = await calls.ask(self._stubs[daemon], asked, timeout_s=TIMEOUT_S)
            if answer.late:
                self._avoided[daemon] = time.monotonic() + AVOID_S
            outcome = answer.outcome
            if was_unknown and not answer.settles:
                outcome = Outcome.UNKNOWN
            was_unknown = outcome is Outcome.UNKNOWN
            if not was_unknown or attempt == REPEATS_MAX or self._random.random() > REPEAT_SHARE:
                return _ended(asked, answer, outcome, f"{daemon}")
        raise AssertionError("a call ends")

    def _daemon(self) -> int:
        """Mostly one that answers."""
        now = time.monotonic()
        answering = [number for number, until in enumerate(self._avoided) if until < now]
        if answering and self._random.random() < 0.9:
            return self._random.choice(answering)
        return self._random.randrange(len(self._stubs))


def _ended(asked: Operation, answer: Answer, outcome: Outcome, daemon: str) -> Operation:
    if outcome is Outcome.UNKNOWN:
        # What the last attempt said of itself says nothing of those before it.
        return replace(asked, mode=answer.mode, error=answer.reason, daemon=daemon)
    return replace(
        asked,
        outcome=outcome,
        complete=time.monotonic(),
        version=answer.version,
        read=answer.read,
        durability=answer.durability,
        mode=answer.mode,
        error=answer.reason,
        daemon=daemon,
    )


def keys(group: int, generation: int, namespaces: list[str]) -> Iterator[tuple[str, str]]:
    """The keys of a group in a generation: their first letter says what they hold."""
    for namespace in namespaces:
        for slot, letter in enumerate(SLOTS[namespace]):
            yield namespace, f"{letter}/{group}/{slot}/{generation:04}"


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def run(task: Task) -> None:
    """All clients of the process."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    file = File(task)
    channels = [grpc.aio.insecure_channel(target, options=OPTIONS) for target in task.targets]
    stubs: list[Any] = [StateServiceStub(channel) for channel in channels]
    await asyncio.gather(*(Client(task, number, file, stubs).run(stop) for number in task.clients))
    for channel in channels:
        await channel.close()


def read_file(path: Path) -> list[Operation]:
    """The operations of a file, each as it ended, or as it began where nobody knows."""
    found: dict[tuple[int, float], Operation] = {}
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break  # a client was killed while it wrote that it begins
        operation = from_line(line)
        found[operation.process, operation.invoke] = operation
    return list(found.values())


if __name__ == "__main__":
    uvloop.run(run(Task(**json.loads(sys.argv[1]))))
