"""Bus: the port to a channel on which daemons tell each other that keys were changed. Lossy; who listens finds out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Bus(Protocol):
    """An adapter to one channel. Messages of one publisher arrive in order, or the subscription ends."""

    async def publish(self, payloads: Sequence[bytes]) -> None:
        """Send to all who listen now. Raises CacheUnavailable."""
        ...

    async def listen(self, receive: Callable[[bytes], None], subscribed: Callable[[], None]) -> None:
        """Hand over messages until cancelled; `subscribed` once they come. Raises CacheUnavailable when it breaks."""
        ...
