"""What follows a publication, stored: messages are forgotten, keys are held up, dead letters are kept.

What gathers while one commit is under way goes into the next, of all lanes together, each with its fence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sidecar.core.errors import FailedPrecondition, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.operations import Operation, Put
from sidecar.engine.outbox.group import Group, Hold
from sidecar.tiers.ledger import Ledger

OPERATIONS_MAX = 80
"""Of a commit, fences included: DynamoDB takes a hundred."""
BYTES_MAX = 1 << 20
"""Of the values of a commit; one of its marks may be larger."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Operations that are stored together, under the fence of their lane. `done` hears whether they were."""

    hold: Hold
    operations: tuple[Operation, ...]
    done: Callable[[bool], None]


class Marker:
    """Marks that wait to be stored. They are as many as messages are in flight, at most some times."""

    def __init__(self, group: Group, ledger: Ledger) -> None:
        self.waiting: deque[Mark] = deque()
        self._group = group
        self._ledger = ledger

    def add(self, mark: Mark) -> None:
        """Store it with the next commit."""
        self.waiting.append(mark)

    async def flush(self) -> None:
        """One commit of what waits. Raises what the authority raises; then it is tried again: to store a mark twice does
        no harm.
        """
        marks = self._take()
        if not marks:
            return
        fences = {mark.hold.key: mark.hold for mark in marks}
        puts = any(type(operation) is Put for mark in marks for operation in mark.operations)
        try:
            if puts:
                reach("outbox.keep.before")
            reach("outbox.mark.before")
            await self._ledger.commit(
                [*(op for mark in marks for op in mark.operations), *(hold.fence for hold in fences.values())]
            )
            reach("outbox.mark.after")
            if puts:
                reach("outbox.keep.after")
        except VersionConflict as exc:
            self._group.lose(fences[exc.key])
            self._return(marks)
        except FailedPrecondition:
            # The store has gone back in time: no lane is ours as we knew it.
            for hold in fences.values():
                self._group.lose(hold)
            self._return(marks)
        except BaseException:
            self._return(marks)
            raise
        else:
            for mark in marks:
                mark.done(True)

    def _take(self) -> list[Mark]:
        """As many as a commit holds; what is of lost lanes is over."""
        marks: list[Mark] = []
        count, size = 0, 0
        fences: set[str] = set()
        while self.waiting:
            mark = self.waiting[0]
            if mark.hold.lost:
                self.waiting.popleft().done(False)
                continue
            count += len(mark.operations) + (mark.hold.key not in fences)
            size += sum(len(operation.value) for operation in mark.operations if type(operation) is Put)
            if marks and (count > OPERATIONS_MAX or size > BYTES_MAX):
                break
            fences.add(mark.hold.key)
            marks.append(self.waiting.popleft())
        return marks

    def _return(self, marks: list[Mark]) -> None:
        self.waiting.extendleft(reversed(marks))
