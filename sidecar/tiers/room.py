"""A bound of the bytes that are under way: who asks for room waits, in turn, until there is some."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidecar.core.ports import Ports, Signal


class Room:
    """At most `bytes_max` at once; what is larger than that has all of it to itself."""

    def __init__(self, bytes_max: int, ports: Ports) -> None:
        self.used = 0
        """Bytes under way now."""
        self._bytes_max = bytes_max
        self._ports = ports
        self._waiting: deque[tuple[int, Signal]] = deque()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Have room for so many bytes."""
        size = min(size, self._bytes_max)
        await self._enter(size)
        try:
            yield
        finally:
            self.used -= size
            self._admit()

    async def _enter(self, size: int) -> None:
        if not self._waiting and self.used + size <= self._bytes_max:
            self.used += size
            return
        waiter = (size, self._ports.signal())
        self._waiting.append(waiter)
        try:
            await waiter[1].wait()
        except BaseException:
            # Who gives up has perhaps been let in already.
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:
                self.used -= size
            self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self.used + self._waiting[0][0] <= self._bytes_max:
            size, signal = self._waiting.popleft()
            self.used += size
            signal.set()
