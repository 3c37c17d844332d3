"""Writes of this process, in groups: those that wait together share a load, a draw and a transaction (group commit).

A few groups are under way at the same time, on different keys: a write waits while one of its keys is in a group, or in
an earlier write that waits. So the writes of a key keep their order, and those of one process are not in each other's way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.core.errors import LimitExceeded, OutcomeUnknown, SidecarError, Unsupported
from sidecar.core.histograms import Histogram
from sidecar.core.operations import Write
from sidecar.core.store import Outcome
from sidecar.stores.dynamodb.errors import too_many, twin
from sidecar.stores.dynamodb.group import Alone, Group
from sidecar.stores.dynamodb.parts import Parts
from sidecar.stores.dynamodb.plan import Answer, Where, size_of
from sidecar.stores.dynamodb.transactions import ACTIONS_MAX

OPERATIONS_MAX = ACTIONS_MAX - 2
"""Of a write, its messages among them: a change item and a request id go with it."""
CHECKPOINT_ROWS = 4
"""What an automatic checkpoint adds to an operation."""
GROUPS_MAX = 8
"""Transactions under way."""
GROUP_BYTES_MAX = 1 << 20
"""Values in one of several writes; a single larger write goes alone."""
QUEUE_BYTES_MAX = 256 << 20
"""Values waiting."""
LOOK_AHEAD = 1_000
"""Waiting writes that are looked at for the next group."""


@dataclass(slots=True, eq=False)
class _Work:
    write: Write
    future: asyncio.Future[Outcome]
    keys: frozenset[Where]
    actions: int
    size: int


class Committer:
    """Accepts writes, at most `queue_max` at a time. `groups` counts what was begun, `batches` how many writes landed together."""

    def __init__(self, parts: Parts, *, queue_max: int, batches: Histogram) -> None:
        self.groups = 0
        self._batches = batches
        self._parts = parts
        self._queue_max = queue_max
        self._waiting: deque[_Work] = deque()
        self._accepted = 0
        self._bytes = 0
        self._under_way = 0
        self._busy: set[Where] = set()
        self._scheduled = False

    def submit(self, write: Write) -> asyncio.Future[Outcome]:
        """The outcome, later. Cancelling the future doesn't stop the write. Raises SidecarError."""
        if len(write.operations) > OPERATIONS_MAX:
            raise Unsupported(
                f"{len(write.operations)} operations in one transaction: DynamoDB takes at most {OPERATIONS_MAX}",
                metadata={"operation": "Transact", "operations_max": str(OPERATIONS_MAX)},
            )
        certain = len(write.operations) + len(write.outbox)
        if certain > OPERATIONS_MAX:
            made = f"{len(write.operations)} operations with {len(write.outbox)} messages make {certain} items"
            raise too_many(f"{made}, DynamoDB takes at most {OPERATIONS_MAX} in a transaction")
        size = size_of(write)
        if self._accepted >= self._queue_max or (self._accepted and self._bytes + size > QUEUE_BYTES_MAX):
            raise LimitExceeded(f"{self._accepted} writes are waiting for DynamoDB; nothing was written")
        self._accepted += 1
        self._bytes += size
        loop = asyncio.get_running_loop()
        work = _Work(
            write,
            loop.create_future(),
            frozenset((write.scope(operation), operation.key) for operation in write.operations),
            certain
            + bool(write.checkpoint_every) * len(write.operations) * CHECKPOINT_ROWS
            + (write.request is not None),
            size,
        )
        self._waiting.append(work)
        if not self._scheduled:
            # All who write in this iteration of the event loop go together.
            self._scheduled = True
            loop.call_soon(self._schedule)
        return work.future

    def _schedule(self) -> None:
        self._scheduled = False
        while self._under_way < GROUPS_MAX and (group := self._take()):
            self._under_way += 1
            self.groups += 1
            self._parts.spawn(self._do(group))

    def _take(self) -> list[_Work]:
        """The next writes whose keys are free, in order."""
        group: list[_Work] = []
        passed: list[_Work] = []
        blocked = set(self._busy)
        size, actions = 0, 1
        for _ in range(min(len(self._waiting), LOOK_AHEAD)):
            work = self._waiting.popleft()
            # What one write may need at most, it seldom does: alone, it is told what it really needs if that is too much.
            fits = not group or (actions + work.actions <= ACTIONS_MAX and size + work.size <= GROUP_BYTES_MAX)
            if fits and work.keys.isdisjoint(blocked):
                group.append(work)
                size += work.size
                actions += work.actions
            else:
                blocked |= work.keys
                passed.append(work)
        self._waiting.extendleft(reversed(passed))
        for work in group:
            self._busy |= work.keys
        return group

    async def _do(self, group: list[_Work]) -> None:
        try:
            await self._answer(group)
        finally:
            for work in group:
                self._busy -= work.keys
            self._accepted -= len(group)
            self._bytes -= sum(work.size for work in group)
            self._under_way -= 1
            self._schedule()

    async def _answer(self, group: Sequence[_Work]) -> None:
        """Settle every future."""
        answers: list[Answer]
        try:
            answers = await Group(self._parts, [work.write for work in group]).commit()
            self._batches.record(len(group))
        except Alone:
            for work in group:
                await self._answer([work])
            return
        except SidecarError as exc:
            answers = [twin(exc) for _ in group]
        except BaseException as exc:
            _settle(group, [OutcomeUnknown(f"the write ended in {type(exc).__name__}") for _ in group])
            raise
        _settle(group, answers)


def _settle(group: Sequence[_Work], answers: Sequence[Answer]) -> None:
    for work, answer in zip(group, answers, strict=True):
        if work.future.done():
            continue  # who has gone is no matter: the write was done all the same
        if isinstance(answer, SidecarError):
            work.future.set_exception(answer)
        else:
            work.future.set_result(answer)
