"""What clients saw: one operation a call, with the instants around it. The runner records histories; the checkers judge them.

Rules for whoever records:

- A process has one operation under way at a time. After an UNKNOWN one its client goes on as another process.
- FAILED is only for what is certain to have had no effect (an answer that says so); anything else is UNKNOWN, and open for
  ever: `complete` is None.
- A transaction is one operation a key, all with the same request id; so is the same request id in several namespaces
  another request. Repeats under a request id within a client's call are one operation, from first invoke to last answer.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Kind(StrEnum):
    """What was asked for; `value` and `expected_version` of an operation mean what is said here."""

    SET = "set"
    """`value` is what was put."""
    CAS = "cas"
    """`value` is what was put, `expected_version` the guard (0: absent)."""
    DELETE = "delete"
    """`expected_version` None: whatever is there. An OK with version 0: nothing was there."""
    UPDATE_APPEND = "append"
    """With `create`, without `max_items`. `value` is the JSON array of the items, `read` the whole array if asked for."""
    UPDATE_INCREMENT = "increment"
    """With `create` and without bounds. `value` is the decimal delta, `read` the counter if it was asked for."""
    GET_STRONG = "strong get"
    """`version` 0 and `read` None: a miss."""
    GET_CACHED = "cached get"
    """As a strong one. `expected_version` is the `min_version` that was sent (None or 0: none)."""


READS = frozenset({Kind.GET_STRONG, Kind.GET_CACHED})


class Outcome(StrEnum):
    """How it ended."""

    OK = "ok"
    """Answered. What a write's durability says still counts: DISCARDED is OK without an effect."""
    FAILED = "failed"
    """It certainly had no effect, and tells nothing of the key."""
    CONFLICT = "conflict"
    """VERSION_MISMATCH: no effect, and `version` is the one that was committed instead (0: absent)."""
    UNKNOWN = "unknown"
    """It may take effect at any time after its invoke, once, or never."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one client. Instants are monotonic seconds of one machine.

    `version`, `read`, `durability` ("COMMITTED", ...) and `mode` ("NORMAL", ...) are the reply's, without their prefixes;
    "" where there was none. `error`: the reason of what went wrong. `daemon`: which one was asked.
    """

    process: int
    kind: Kind
    namespace: str
    key: str
    value: bytes | None = None
    expected_version: int | None = None
    request_id: str = ""
    invoke: float = 0.0
    complete: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    version: int = 0
    read: bytes | None = None
    durability: str = ""
    mode: str = ""
    error: str = ""
    daemon: str = ""

    def __str__(self) -> str:
        """One line, for a person who looks for what went wrong."""
        end = "never" if self.complete is None else f"{self.complete:.6f}"
        asked = [repr(self.value)] if self.value is not None else []
        asked += [f"expected {self.expected_version}"] if self.expected_version is not None else []
        heard = [self.outcome.value, f"version {self.version}", self.durability, self.mode, self.error]
        heard += [f"read {self.read!r}"] if self.kind in READS or self.read is not None else []
        return (
            f"[{self.invoke:.6f} .. {end}] process {self.process} at {self.daemon or '?'}: {self.kind.value} "
            f"{self.namespace}/{self.key} {', '.join(asked)} -> {', '.join(word for word in heard if word)} "
            f"({self.request_id})"
        )


class Recorder:
    """Histories of many clients in one place. Safe to use from any thread.

    `begin` gives the instant of the invoke, to be taken before anything is sent; `end` adds the operation, with the
    instant of its answer unless it is UNKNOWN.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._operations: list[Operation] = []
        self._processes = 0

    def process(self) -> int:
        """A process id that nobody had."""
        with self._lock:
            self._processes += 1
            return self._processes

    def begin(self) -> float:
        """The instant of an invoke."""
        return self._clock()

    def end(self, **fields: Any) -> Operation:
        """Add an operation; `fields` are its own, with `invoke` from `begin`."""
        complete = None if fields["outcome"] is Outcome.UNKNOWN else self._clock()
        operation = Operation(**fields, complete=complete)
        self.add(operation)
        return operation

    def add(self, operation: Operation) -> None:
        """Add an operation that was recorded elsewhere, as in a client that is a process of its own."""
        with self._lock:
            self._operations.append(operation)

    def history(self) -> list[Operation]:
        """All that ended by now, in the order of their invokes."""
        with self._lock:
            return sorted(self._operations, key=lambda operation: operation.invoke)


def by_key(history: Iterable[Operation]) -> dict[tuple[str, str], list[Operation]]:
    """The operations of each (namespace, key), in their order."""
    keys: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in history:
        keys[operation.namespace, operation.key].append(operation)
    return dict(keys)


def dump(history: Sequence[Operation], path: Path) -> None:
    """Write one JSON object a line, readable by `load`."""
    path.write_text("".join(to_line(operation) + "\n" for operation in history))


def load(path: Path) -> list[Operation]:
    """What `dump` wrote."""
    return [from_line(line) for line in path.read_text().splitlines()]


def to_line(operation: Operation) -> str:
    """JSON without line breaks; bytes are text where they are UTF-8, else base64 in a list."""
    fields = {field.name: getattr(operation, field.name) for field in dataclasses.fields(operation)}
    return json.dumps(fields | {name: _text(fields[name]) for name in ("value", "read")})


def from_line(line: str) -> Operation:
    """The operation of a line."""
    fields = json.loads(line)
    fields |= {name: _bytes(fields[name]) for name in ("value", "read")}
    return Operation(**fields | {"kind": Kind(fields["kind"]), "outcome": Outcome(fields["outcome"])})


def _text(value: bytes | None) -> str | list[str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(value).decode()]


def _bytes(value: str | list[str] | None) -> bytes | None:
    if isinstance(value, list):
        return base64.b64decode(value[0])
    return None if value is None else value.encode()
