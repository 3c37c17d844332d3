"""What every reader has to see while a state is written in three schemas, and what went wrong."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.schemas.steps import NEWEST

SET_KEYS = 8
PATCH_KEYS = 8
IDLE_KEYS = 100


@dataclass(slots=True)
class Count:
    """One schema's count in one key: the writes that were begun and not refused, and those that were acknowledged."""

    begun: int = 0
    acknowledged: int = 0
    writer: threading.Lock = field(default_factory=threading.Lock)
    """Held by who writes it, where there may be one at a time only."""


class Truth:
    """Keys of dialogues, of values that are set, of values that are patched, and of values that nobody changes.

    Shared by all clients' threads.
    """

    def __init__(self, dialogues: Sequence[dict[str, Any]]) -> None:
        self.dialogues = {dialogue["dialogue_id"]: dialogue for dialogue in dialogues}
        self.set_keys = [f"set/{number}" for number in range(SET_KEYS)]
        self.patch_keys = [f"patch/{number}" for number in range(PATCH_KEYS)]
        self.idle_keys = [f"~idle/{number}" for number in range(IDLE_KEYS)]
        self.keys = [*self.dialogues, *self.set_keys, *self.patch_keys, *self.idle_keys]
        self.counts = {(key, schema): Count() for key in self.keys for schema in range(1, NEWEST + 1)}
        self.tally: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def add(self, what: str) -> None:
        """Something happened."""
        with self._lock:
            self.tally[what] += 1

    def complain(self, kind: str, text: str) -> None:
        """Something happened that must not."""
        with self._lock:
            self.tally[kind] += 1
            self.wrong.append(f"{kind}: {text}")

    def acknowledged(self, key: str) -> Mapping[int, int]:
        """Of each schema's count."""
        return {schema: self.counts[key, schema].acknowledged for schema in range(1, NEWEST + 1)}

    def begin(self, key: str, schema: int) -> None:
        """A write that raises this count is sent."""
        with self._lock:
            self.counts[key, schema].begun += 1

    def end(self, key: str, schema: int, *, applied: bool) -> None:
        """It was answered."""
        with self._lock:
            count = self.counts[key, schema]
            if applied:
                count.acknowledged += 1
            else:
                count.begun -= 1

    def check(self, key: str, schema: int, state: Mapping[str, Any], before: Mapping[int, int]) -> None:
        """What a client of this schema was given. `before`: what was acknowledged when it asked."""
        for of_schema in range(1, schema + 1):
            seen, least, most = state.get(f"count_{of_schema}"), before[of_schema], self.counts[key, of_schema].begun
            if not isinstance(seen, int) or not least <= seen <= most:
                text = f"count_{of_schema} of {key} is {seen} in schema {schema}, and has to be from {least} to {most}"
                self.complain("destroyed fields", text)
