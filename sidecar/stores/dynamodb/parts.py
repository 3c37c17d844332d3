"""What all that writes works with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.core.ports import Clock
from sidecar.core.store import ChangeRow
from sidecar.stores.dynamodb.client import Client, pause
from sidecar.stores.dynamodb.feed import Feed
from sidecar.stores.dynamodb.items import Names
from sidecar.stores.dynamodb.payloads import Payloads
from sidecar.stores.dynamodb.sequence import Block, EpochMoved, Sequencer
from sidecar.stores.dynamodb.transactions import Action, Change, End, Transactions


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The store's inside. `ready` makes sure that the table is prepared, or raises; `unready` that it will be anew;
    `spawn` runs in the background.
    """

    client: Client
    names: Names
    clock: Clock
    sequencer: Sequencer
    transactions: Transactions
    feed: Feed
    payloads: Payloads
    ready: Callable[[], Awaitable[None]]
    unready: Callable[[], None]
    spawn: Callable[[Coroutine[Any, Any, None]], None]

    def attempts(self) -> Attempts:
        """To try what others may be in the way of."""
        return Attempts(self)

    async def block(self, held: Block | None, count: int, *, above: int) -> Block | None:
        """The block that is held if it will do, else a fresh one; None: the table has to be prepared again first."""
        if held is not None:
            if held.epoch == self.sequencer.epoch and held.count >= count and held.follows(above):
                return held
            self.drop(held)
        try:
            return await self.sequencer.draw(count)
        except EpochMoved:
            self.unready()
            return None

    def drop(self, block: Block | None) -> None:
        """Tell readers of changes that a block won't be used, so that they don't wait for it."""
        if block is not None:
            self.spawn(self.feed.void(block))

    async def write(self, make: Callable[[int], tuple[Sequence[Action], Sequence[ChangeRow]]]) -> bool:
        """A transaction of one version, which `make` is told; whether it landed. Raises SidecarError."""
        block = await self.block(None, 1, above=0)
        if block is None:
            return False
        actions, rows = make(block.versions[0])
        landed = False
        try:
            landed = await self.transactions.run(actions, Change(block, tuple(rows))) is End.LANDED
        finally:
            if not landed:
                self.drop(block)
        return landed


class Attempts:
    """Numbers of tries, the table prepared before each and a pause between, for as long as a call may take.

    At least one. Raises SidecarError.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._number = 0
        self._end = asyncio.get_running_loop().time() + parts.client.timeout_s

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> int:
        if self._number:
            await pause(self._number)
            if asyncio.get_running_loop().time() >= self._end:
                raise StopAsyncIteration
        await self._parts.ready()
        self._number += 1
        return self._number - 1
