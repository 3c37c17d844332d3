"""The engine's outside on a clock that the test moves: waiting moves it, and randomness is always in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sidecar.core.ports import Signal
from tests.support.clock import ManualClock

T = TypeVar("T")


class ManualPorts:
    """`core.ports.Ports`."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self._tokens = 0

    def signal(self) -> Signal:
        return asyncio.Event()  # type: ignore[return-value]  # its wait() answers True, which nobody reads

    def token(self) -> str:
        self._tokens += 1
        return f"{id(self)}-{self._tokens}"

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(int(seconds * 1000))
        await asyncio.sleep(0)

    async def compute(self, work: Callable[[], T]) -> T:
        return work()
