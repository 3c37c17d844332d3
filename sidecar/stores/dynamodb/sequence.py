"""Where versions come from: one counter of the store. Callers who wait at the same moment share one draw.

A block is drawn for callers who wait for it and whose rows were loaded before, so a version is greater than all that its
writer has seen; nothing is kept for later writes. What is drawn and not used stays a hole, which `feed` passes over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sidecar.core.entry import EPOCH_SHIFT, version_of
from sidecar.core.errors import SidecarError
from sidecar.stores.dynamodb.client import Client
from sidecar.stores.dynamodb.errors import CONDITION_FAILED, twin
from sidecar.stores.dynamodb.items import Names


class EpochMoved(Exception):
    """The store's epoch is not the one that was read when the table was prepared: prepare it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Sequences of an epoch for one transaction, whose change item stands under the first."""

    epoch: int
    first: int
    count: int

    @property
    def versions(self) -> list[int]:
        """In order."""
        return [version_of(self.epoch, self.first + offset) for offset in range(self.count)]

    def follows(self, version: int) -> bool:
        """Whether all its versions are greater than one."""
        return (self.epoch << EPOCH_SHIFT | self.first) > version


@dataclass(slots=True, eq=False)
class _Waiter:
    count: int
    future: asyncio.Future[Block]


class Sequencer:
    """Draws blocks. `epoch` is set when the table is prepared; `highest` is the last sequence that this process saw."""

    def __init__(self, client: Client, names: Names) -> None:
        self.epoch = 0
        self.highest = 0
        self._client = client
        self._names = names
        self._waiters: list[_Waiter] = []
        self._drawing: asyncio.Task[None] | None = None

    async def draw(self, count: int) -> Block:
        """A block of fresh sequences. Raises SidecarError (nothing is written), or EpochMoved."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(count, loop.create_future())
        self._waiters.append(waiter)
        if self._drawing is None or self._drawing.done():
            self._drawing = loop.create_task(self._draw_all())
        return await waiter.future

    async def _draw_all(self) -> None:
        while self._waiters:
            waiters, self._waiters = self._waiters, []
            try:
                first = await self._add(sum(waiter.count for waiter in waiters))
            except Exception as exc:  # noqa: BLE001  # whatever it was, they wait for it
                for waiter in waiters:
                    if not waiter.future.done():
                        waiter.future.set_exception(twin(exc))
                continue
            for waiter in waiters:
                if not waiter.future.done():
                    waiter.future.set_result(Block(epoch=self.epoch, first=first, count=waiter.count))
                first += waiter.count

    async def _add(self, count: int) -> int:
        epoch, highest = self.epoch, self.highest
        try:
            reply = await self._client.ask(
                "update_item",
                resend=False,  # what was drawn and never heard of would be one more hole
                TableName=self._client.target.table,
                Key=self._names.meta(),
                UpdateExpression="ADD sequence_number :count",
                ConditionExpression="epoch = :epoch",
                ExpressionAttributeValues={":count": {"N": str(count)}, ":epoch": {"N": str(epoch)}},
                ReturnValues="UPDATED_NEW",
            )
        except SidecarError as exc:
            if exc.metadata.get("dynamodb") == CONDITION_FAILED:
                raise EpochMoved from exc
            raise
        last = int(reply["Attributes"]["sequence_number"]["N"])
        if epoch != self.epoch or last - count < highest:
            # The counter went back: another table under the same name, restored while we ran.
            raise EpochMoved
        self.highest = max(self.highest, last)
        return last - count + 1
