"""The engine's outside in a real daemon: the machine's clocks, asyncio's waiting, random tokens."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from typing import TypeVar

from sidecar.core.ports import Signal

T = TypeVar("T")


class SystemClock:
    """The machine's clocks. `monotonic` is the event loop's."""

    def now(self) -> int:
        """Milliseconds since 1970 (UTC)."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since some instant."""
        return time.monotonic()


class SystemPorts:
    """Time, waiting and tokens."""

    def __init__(self) -> None:
        self.clock = SystemClock()

    def signal(self) -> Signal:
        """A new signal."""
        return asyncio.Event()  # type: ignore[return-value]  # its wait() answers True, which nobody reads

    def token(self) -> str:
        """128 random bits."""
        return secrets.token_hex(16)

    def random(self) -> float:
        """From 0 to below 1."""
        return random.random()  # noqa: S311  # it spreads retries and probes

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        """In a thread: hashing and compression let go of the interpreter's lock."""
        return await asyncio.to_thread(work)
