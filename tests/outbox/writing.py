"""Writers: writes of all kinds with messages, of keys some of which are far more popular than others, many at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Protocol

from sidecar.core.errors import DECISIONS, DeadlineExceeded, LimitExceeded, OutcomeUnknown, Unavailable
from sidecar.core.operations import Operation, Put, Remove, Write, WriteId
from sidecar.core.outbox import Message
from sidecar.core.policy import VALUE_BYTES_MAX
from sidecar.core.store import Outcome
from tests.outbox.journal import Fate, Intended, Journal, Written
from tests.outbox.recorder import PLAIN, ROTTEN, SHY

NAMESPACE = "orders"
KEYS = 1_000
SKEW = 2
"""The most popular of 1,000 keys is in one of 30 choices."""
TASKS = 8
"""Writes that a writer has under way."""
WRONG_VERSION = 1
"""Of no key: guarded by it, a write is refused."""
RARE = {SHY: 0.002, ROTTEN: 0.0005}
"""Shares of messages that the sink refuses, where that is wanted."""
MESSAGE_BYTES = 100
HOLD_S = 0.05


class Commits(Protocol):
    """What a writer writes to: a placement, or a store."""

    async def commit(self, write: Write) -> Outcome:
        """As core.store.Store."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`rate`: messages a second. `trouble`: some messages are refused by the sink."""

    rate: float
    trouble: bool = False
    keys: int = KEYS


class Plan:
    """Writes without end. Two plans of one seed and writer are the same."""

    def __init__(self, writer: int, seed: int, load: Load) -> None:
        self._writer = writer
        self._random = Random(f"{seed}/{writer}")
        self._load = load

    def __iter__(self) -> Iterator[tuple[Written, Write]]:
        number = 0
        while True:
            number += 1
            yield self._next(f"{self._writer}.{number}")

    def _next(self, name: str) -> tuple[Written, Write]:
        random = self._random
        kind = random.random()
        guarded = kind < 0.04
        several = kind > 0.6
        keys = self._keys(random.randint(2, 6) if several else 1)
        operations: list[Operation] = [
            Put(key=key, value=name.encode(), expected_version=WRONG_VERSION if guarded else None) for key in keys
        ]
        if kind > 0.9:
            operations[-1] = Remove(key=keys[-1])
        places = [-1] * random.randint(1, 4) if not several else [*range(len(keys)), *([-1] if kind > 0.85 else [])]
        removals = tuple(place for place, operation in enumerate(operations) if type(operation) is Remove)
        messages = tuple(
            Intended(f"{name}.{index}", keys[max(place, 0)] if place >= 0 or len(keys) == 1 else "", place)
            for index, place in enumerate(places)
        )
        written = Written(name, keys, messages, removals, guarded)
        write = Write(
            namespace=NAMESPACE,
            operations=tuple(operations),
            value_bytes_max=VALUE_BYTES_MAX,
            request=WriteId(request_id=name, fingerprint=hashlib.sha256(name.encode()).digest()),
            outbox=tuple(
                Message(
                    topic=self._topic(),
                    payload=message.token.encode(),
                    attributes={"filler": "x" * MESSAGE_BYTES},
                    operation=message.operation if message.operation >= 0 else None,
                )
                for message in messages
            ),
        )
        return written, write

    def _keys(self, count: int) -> tuple[str, ...]:
        """Distinct, the popular ones more often."""
        keys: dict[str, None] = {}
        while len(keys) < count:
            keys[f"key/{int(self._load.keys * self._random.random() ** SKEW)}"] = None
        return tuple(keys)

    def _topic(self) -> str:
        if self._load.trouble:
            dice = self._random.random()
            for topic, share in RARE.items():
                if dice < share:
                    return topic
                dice -= share
        return PLAIN


class Writer:
    """One writer: its tasks share a plan and a journal, and begin writes at the load's rate until told that it is enough."""

    def __init__(self, store: Commits, plan: Plan, journal: Journal, load: Load) -> None:
        self._store = store
        self._writes = iter(plan)
        self._journal = journal
        self._load = load
        self._due = 0.0

    async def run(self, *, enough: Callable[[], bool], hold: Callable[[], bool]) -> None:
        """Until it is enough; with pauses."""
        self._due = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(TASKS):
                tasks.create_task(self._work(enough, hold))

    async def _work(self, enough: Callable[[], bool], hold: Callable[[], bool]) -> None:
        now = asyncio.get_running_loop().time
        while not enough():
            if hold():
                await self._pause(HOLD_S)
                continue
            written, write = next(self._writes)
            # Who fell behind for longer, because it was stopped, does not make up for it.
            self._due = max(self._due, now() - 0.2) + len(written.messages) / self._load.rate
            await self._pause(self._due - now())
            self._journal.begin(written)
            await self._write(written, write)

    async def _write(self, written: Written, write: Write) -> None:
        try:
            outcome = await self._store.commit(write)
        except DECISIONS:
            self._journal.end(written.name, Fate.REFUSED)
        except OutcomeUnknown:
            self._journal.end(written.name, Fate.UNKNOWN)
        except (Unavailable, LimitExceeded, DeadlineExceeded):
            self._journal.end(written.name, Fate.REFUSED)
            await self._pause(0.05)
        else:
            did = [bool(result.version) for result in outcome.results]
            self._journal.end(written.name, Fate.COMMITTED, outcome.version, did)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            loop = asyncio.get_running_loop()
            over: asyncio.Future[None] = loop.create_future()
            loop.call_later(seconds, over.set_result, None)
            await over
