"""Turns on keys: of the writes in this process whose value is computed here, one of a key goes at a time.

Without that each of n writers of a key would undo the work of the others n times over. Writers in other processes are
held off by nothing: the script that commits notices them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Turn:
    """Who is on turn at a key, and the head and value that the last one left there, if it left any."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    left: tuple[bytes, bytes] | None = None


class Turns:
    """The keys that somebody uses or waits for."""

    def __init__(self) -> None:
        self._turns: dict[bytes, Turn] = {}

    @asynccontextmanager
    async def take(self, fields: Iterable[bytes]) -> AsyncIterator[dict[bytes, Turn]]:
        """The turns on some keys; taken in one order by all, so that nobody waits in a circle."""
        wanted = sorted(fields)
        turns = {name: self._turns.setdefault(name, Turn()) for name in wanted}
        for turn in turns.values():
            turn.users += 1
        try:
            async with AsyncExitStack() as stack:
                for name in wanted:
                    await stack.enter_async_context(turns[name].lock)
                yield turns
        finally:
            for name, turn in turns.items():
                turn.users -= 1
                if not turn.users:
                    del self._turns[name]
