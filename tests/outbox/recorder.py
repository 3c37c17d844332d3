"""Where messages go in these tests: a socket behind which every delivery is recorded, in the order of arrival.

A call is a line, `[[id, order, key, version, commit time, topic, payload, attempt], …]`; the answer is a line of a letter
for each message. A message's topic says what becomes of it.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

PLAIN, SHY, ROTTEN, POISON = "plain", "shy", "rotten", "poison"
"""Topics: taken; refused at the first attempt; refused for ever; refused at every attempt."""
TAKEN, REFUSED, PERMANENT, UNTRIED = "tfpu"
PATIENCE_S = 60.0
POLL_S = 0.05


class Delivered(NamedTuple):
    """A message that was taken, and by whom it was brought."""

    arrival_ns: int
    owner: str
    id: str
    order: str
    key: str
    version: int
    commit_time: int
    token: str


class Recorder:
    """The other end of every sink. `delivered` is in the order of arrival."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.delivered: list[Delivered] = []
        self.by_owner: Counter[str] = Counter()
        self.lane_owners: dict[str, str] = {}
        self.refusals: Counter[str] = Counter()
        self._arrived = threading.Condition()
        self._server = _Server(str(path), _Connection)
        self._server.recorder = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="recorder")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def count(self) -> int:
        """Deliveries so far, duplicates included."""
        return len(self.delivered)

    def wait(self, true: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
        """Until it is true, looked at after each arrival; False: it was not in time."""
        with self._arrived:
            return self._arrived.wait_for(true, seconds)

    def wait_for_count(self, count: int) -> None:
        """Until so many deliveries were made, however long that takes, as long as there are any."""
        while self.count < count:
            before = self.count
            assert self.wait(lambda before=before: self.count > before), f"after {before} deliveries, there are no more"  # type: ignore[misc]

    def take(self, owner: str, messages: list[list[str | int]]) -> str:
        """Record what is taken of a call; a letter each."""
        now, stopped, letters = time.time_ns(), set[str](), ""
        with self._arrived:
            for at, order, key, version, commit_time, topic, token, attempt in messages:
                letter = UNTRIED if order in stopped else _answer(str(topic), int(attempt))
                letters += letter
                if letter == TAKEN:
                    one = (str(at), str(order), str(key), int(version), int(commit_time), str(token))
                    self.delivered.append(Delivered(now, owner, *one))
                    self.by_owner[owner] += 1
                    self.lane_owners[str(order)[:1]] = owner
                else:
                    stopped.add(str(order))
                    self.refusals[letter] += 1
            self._arrived.notify_all()
        return letters


def _answer(topic: str, attempt: int) -> str:
    if topic == POISON or (topic == SHY and attempt == 1):
        return REFUSED
    return PERMANENT if topic == ROTTEN else TAKEN


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    recorder: Recorder


class _Connection(socketserver.StreamRequestHandler):
    """The first line names the owner."""

    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever was killed hears no answer
            lines = self._lines()
            owner = next(lines, "")
            for line in lines:
                self.wfile.write(self.server.recorder.take(owner, json.loads(line)).encode() + b"\n")

    def _lines(self) -> Iterator[str]:
        for line in self.rfile:
            if line.endswith(b"\n"):  # else its sender was killed in it
                yield line[:-1].decode()
