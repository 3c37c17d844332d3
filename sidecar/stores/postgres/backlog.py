"""Works that wait for a lane, and which of them one may take.

Nothing that another lane holds: lanes of one process don't wait for each other's locks on the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sidecar.core.errors import LimitExceeded
from sidecar.stores.postgres.works import Name, Work

BATCH_BYTES_MAX = 8 << 20
"""Values in one transaction; a single larger value goes alone."""
QUEUE_BYTES_MAX = 256 << 20
"""Values waiting."""
SHARE_MIN = 16
"""Writes that are not divided among lanes: a transaction costs about as much as ten of them."""
PASSED_MAX = 2_048
"""Works whose keys are held that a lane passes over before it gives up."""
SUSPECT_S = 5.0
"""How long a key is kept apart on which another session's lock was met."""

_SUSPECT: Name = ("",)
"""What works of suspected keys all hold: one at a time waits for a lock, and only itself."""


class Backlog:
    """A queue bounded by `queue_max` works and by bytes. Works of one key are taken in their order."""

    def __init__(self, *, queue_max: int, batch_max: int) -> None:
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._queue: deque[Work] = deque()
        self._bytes = 0
        self._held: set[Name] = set()
        self._suspects: dict[Name, float] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, work: Work) -> None:
        """At the end. Raises LimitExceeded if there is no room."""
        if len(self._queue) >= self._queue_max or (self._queue and self._bytes + work.size > QUEUE_BYTES_MAX):
            raise LimitExceeded(f"{len(self._queue)} writes are waiting for the database; nothing was written")
        self._queue.append(work)
        self._bytes += work.size

    def give_back(self, works: Sequence[Work]) -> None:
        """Taken works, to be taken again: at the front, in their order."""
        self.release(works)
        self._queue.extendleft(reversed(works))
        self._bytes += sum(work.size for work in works)

    def take_all(self) -> list[Work]:
        """All that wait."""
        works = list(self._queue)
        self._queue.clear()
        self._bytes = 0
        return works

    def take(self, now: float, *, lanes: int) -> list[Work]:
        """What a lane does next in one transaction; it holds their names until they are released or given back.

        `lanes` are free to share what waits: while the server works for one, we work for another.
        """
        limit = min(self._batch_max, max(SHARE_MIN, -(-len(self._queue) // lanes)))
        batch: list[Work] = []
        passed: list[Work] = []
        size = 0
        blocked = set(self._held)
        queue = self._queue
        while queue and len(batch) < limit and len(passed) < PASSED_MAX:
            work = queue.popleft()
            if self._suspects:
                self._set_apart(work, now)
            if (batch and work.alone) or not blocked.isdisjoint(work.names):
                blocked.update(work.names)  # those behind it of the same keys must not overtake it
                passed.append(work)
                continue
            if batch and size + work.size > BATCH_BYTES_MAX:
                queue.appendleft(work)
                break
            batch.append(work)
            size += work.size
            if work.alone:
                break
        queue.extendleft(reversed(passed))
        self._bytes -= size
        for work in batch:
            self._held.update(work.names)
        return batch

    def release(self, works: Sequence[Work]) -> None:
        """They were done: others may take hold of their names."""
        for work in works:
            self._held.difference_update(work.names)

    def suspect(self, work: Work, now: float) -> None:
        """Somebody else holds a lock on one of its keys, or did."""
        self._suspects = {name: end for name, end in self._suspects.items() if end > now}
        self._suspects.update(dict.fromkeys(work.names, now + SUSPECT_S))

    def _set_apart(self, work: Work, now: float) -> None:
        if not work.alone and any(self._suspects.get(name, 0.0) > now for name in work.names):
            work.alone = True
            work.names.append(_SUSPECT)
