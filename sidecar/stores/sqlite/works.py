"""A work of the writer: a write or a task, who waits for it, and how a run of them is answered in a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sidecar.core.errors import SidecarError
from sidecar.core.operations import Change, Put, Relocate, Write
from sidecar.stores.sqlite.commits import commit_writes
from sidecar.stores.sqlite.transaction import Transaction
from sidecar.stores.weights import messages_weight

WORK_BYTES = 512
"""What a work weighs besides its values."""
CHANGED_BYTES = 16 << 10
"""What a change in place is taken to weigh: its value is known only when it is read."""

Task = Callable[[Transaction], Any]


@dataclass(slots=True, eq=False)
class Work:
    """A write or a task, and who waits for it. The thread sets `answer`, an exception if it is to be raised."""

    what: Write | Task
    size: int
    future: asyncio.Future[Any]
    answer: Any = None


def settle(future: asyncio.Future[Any], answer: Any) -> None:
    """Give the answer to who waits; who has gone is no matter, the work was done all the same."""
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def answer(transaction: Transaction, batch: Sequence[Work]) -> None:
    """Do the works in order, writes that follow each other as a group."""
    for are_writes, run in groupby(batch, key=lambda work: type(work.what) is Write):
        works = list(run)
        if are_writes:
            answers = commit_writes(transaction, [work.what for work in works if isinstance(work.what, Write)])
            for work, told in zip(works, answers, strict=True):
                work.answer = told
        else:
            for work in works:
                work.answer = _do(transaction, work.what)


def _do(transaction: Transaction, task: Write | Task) -> object:
    assert not isinstance(task, Write)
    try:
        return task(transaction)
    except SidecarError as exc:
        return exc


def size_of(what: Write | Task) -> int:
    """Bytes that it holds while it waits."""
    if not isinstance(what, Write):
        return WORK_BYTES
    size = WORK_BYTES + messages_weight(what)
    for operation in what.operations:
        if isinstance(operation, Put | Relocate):
            size += len(operation.value)
        elif type(operation) is Change:
            size += CHANGED_BYTES
    return size
