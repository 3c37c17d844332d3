"""Blocking work in a few threads: how long it may take, how much may wait, and what is told when it takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sidecar.core import observed
from sidecar.core.errors import LimitExceeded, SidecarError, StoreUnavailable
from sidecar.core.ports import Clock

QUEUE_MAX = 256
"""Calls that are under way or wait for a thread."""
BYTES_PER_S_MIN = 1 << 20
"""The slowest transfer that is waited for. One that stops is noticed sooner, by the socket's timeout."""

T = TypeVar("T")


class Budget:
    """The time that is left for one call: some seconds for its answer, and more for what it moves."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._end = clock.monotonic() + seconds

    def left(self) -> float:
        """Seconds; not above 0 when it is over."""
        return self._end - self._clock.monotonic()

    def extend(self, size_bytes: int) -> None:
        """Allow for moving so much."""
        self._end += size_bytes / BYTES_PER_S_MIN


class Pool:
    """Threads for blocking calls."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="s3")
        self._size = threads
        self._waiting = 0

    def figures(self) -> observed.Pool:
        """How many work, each on a connection of its own, and how many calls wait for one."""
        in_use = min(self._waiting, self._size)
        started = len(self._executor._threads)  # noqa: SLF001  # the executor tells it in no other way
        return observed.Pool(
            in_use=in_use,
            idle=max(started - in_use, 0),
            size_max=self._size,
            waiting=max(self._waiting - in_use, 0),
        )

    async def run(self, work: Callable[[], T], budget: Budget, *, late: Callable[[], SidecarError]) -> T:
        """What the work answers. `late` makes the error if it began and its time ended; it then ends by itself, unheard.

        Raises LimitExceeded (QUEUE_FULL); StoreUnavailable if it never began.
        """
        if self._waiting >= QUEUE_MAX:
            raise LimitExceeded(f"{QUEUE_MAX} calls to the object store are under way")
        self._waiting += 1
        thread = self._executor.submit(work)
        future = asyncio.wrap_future(thread)
        try:
            while not future.done() and (left := budget.left()) > 0:
                # The work may extend the budget while this waits.
                await asyncio.wait((future,), timeout=left)
            if future.done():
                return future.result()
            if thread.cancel():
                raise StoreUnavailable("no thread was free in time: the object store is slow, or away")
            raise late()
        finally:
            self._waiting -= 1
            future.cancel()

    def close(self) -> None:
        """Wait for what was begun, and what waits: each only as long as its budget allows. Blocks."""
        self._executor.shutdown(wait=True)
