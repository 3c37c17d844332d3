"""A work of the lanes: a write or a task, who waits for it, and what of it no other lane may be busy with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sidecar.core.operations import Change, Put, Relocate, Write
from sidecar.stores.postgres.transaction import Transaction
from sidecar.stores.weights import messages_weight

WORK_BYTES = 512
"""What a work weighs besides its values."""
CHANGED_BYTES = 16 << 10
"""What a change in place is taken to weigh: its value is known only when it is read."""

Task = Callable[[Transaction], Awaitable[Any]]
"""Begins the transaction, commits it, and answers; or raises."""
Name = tuple[str, ...]
"""A key, or a request id, in its namespace."""


@dataclass(slots=True, eq=False)
class Work:
    """A write or a task, and who waits for it since `begin_time`. `alone`: it is not to share a transaction."""

    what: Write | Task
    names: list[Name]
    size: int
    begin_time: float
    future: asyncio.Future[Any]
    alone: bool
    answered: bool = False

    def settle(self, answer: Any) -> None:
        """Give the answer to who waits; who has gone is no matter, the work was done all the same."""
        self.answered = True
        if self.future.done():
            return
        if isinstance(answer, BaseException):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


def work_of(what: Write | Task, begin_time: float, future: asyncio.Future[Any]) -> Work:
    """A write shares a transaction, and holds its keys and request id; a task does neither."""
    if not isinstance(what, Write):
        return Work(what, [], WORK_BYTES, begin_time, future, alone=True)
    names: list[Name] = [(what.scope(operation), operation.key) for operation in what.operations]
    if what.request is not None:
        names.append((what.namespace, what.request.request_id, ""))
    return Work(what, names, _size_of(what), begin_time, future, alone=False)


def _size_of(write: Write) -> int:
    size = WORK_BYTES + messages_weight(write)
    for operation in write.operations:
        if isinstance(operation, Put | Relocate):
            size += len(operation.value)
        elif type(operation) is Change:
            size += CHANGED_BYTES
    return size
