"""What threads are told by, where the main thread may be interrupted."""

from __future__ import annotations

import queue
from contextlib import suppress


class Flag:
    """As threading.Event, set once; but a KeyboardInterrupt within it leaves no lock behind that nobody releases.

    One that lands in `Condition.__enter__`, of which Python's Event is made, does. A SimpleQueue's lock is taken and released
    in C.
    """

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._told.put(None)

    def wait(self, timeout: float) -> bool:
        """Whether it was set in time."""
        if not self._is_set:
            with suppress(queue.Empty):
                self._told.get(timeout=timeout)
                self._told.put(None)  # For others who wait
        return self._is_set
