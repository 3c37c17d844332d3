"""What the engine needs from outside besides stores: time, waiting, tokens. Nothing else is not decided by its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

COMPUTED_BYTES = 256 * 1024
"""What is larger is hashed and compressed by `Ports.compute`: others want the event loop."""


class Clock(Protocol):
    """Time: UTC for what is stored, monotonic for waits."""

    def now(self) -> int:
        """Milliseconds since 1970 (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds since some instant."""
        ...


class Signal(Protocol):
    """Something that happens once."""

    def set(self) -> None:
        """It happened: all waiters go on."""
        ...

    async def wait(self) -> None:
        """Until it happened."""
        ...


class Ports(Protocol):
    """The engine's outside."""

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    def signal(self) -> Signal:
        """A new signal."""
        ...

    def token(self) -> str:
        """An unguessable name, new at each call."""
        ...

    def random(self) -> float:
        """From 0 to below 1, for jitter."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...

    async def compute(self, work: Callable[[], T]) -> T:
        """Do a long calculation where it holds up nobody. It is pure, and needs none of our state."""
        ...
