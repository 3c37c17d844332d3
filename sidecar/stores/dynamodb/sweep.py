"""The sweep: expired entries become tombstones, and what is old is forgotten.

The index lags behind the table, so it only says where to look: each key is loaded, and each deletion has a condition.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from sidecar.core.entry import Entry, Tombstone
from sidecar.core.errors import DataLoss
from sidecar.core.store import ChangeKind, ChangeRow, SweepOrder, Swept
from sidecar.stores.dynamodb import items
from sidecar.stores.dynamodb.errors import CONDITION_FAILED, CallFailed
from sidecar.stores.dynamodb.items import INDEX_SHARDS, Item
from sidecar.stores.dynamodb.loading import load
from sidecar.stores.dynamodb.parts import Parts
from sidecar.stores.dynamodb.table import INDEX
from sidecar.stores.dynamodb.transactions import Action

_log = logging.getLogger(__name__)

DELETIONS_AT_ONCE = 32
BATCH_MAX = 25
"""Expired entries in a transaction: the fewer, the fewer writers are in its way."""


class Sweep:
    """One batch of each kind a call."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._names = parts.names
        self._table = parts.client.target.table

    async def run(self, order: SweepOrder) -> Swept:
        """Clean what has ended. Raises SidecarError."""
        now, names = self._parts.clock.now(), self._names
        old = now - order.tombstone_retention_ms
        # What expires now must not be forgotten now.
        tombstones = await self._forget(names.graves, old, order.limit)
        expired, requests, changes = await asyncio.gather(
            self._expire(now, order.limit),
            self._forget(names.requests, now - order.request_retention_ms, order.limit),
            self._parts.feed.forget(old, order.limit),
        )
        await self._parts.payloads.sweep(now, await self._indexed(names.payloads, now, order.limit))
        return Swept(expired=expired, tombstones=tombstones, requests=requests, changes=changes)

    async def _expire(self, now: int, limit: int) -> tuple[Tombstone, ...]:
        found = await self._indexed(self._names.ends, now, limit)
        batches = [found[begin : begin + BATCH_MAX] for begin in range(0, len(found), BATCH_MAX)]
        swept = await asyncio.gather(*[self._bury(batch, now) for batch in batches])
        return tuple(grave for graves in swept for grave in graves)

    async def _bury(self, found: Sequence[Item], now: int) -> list[Tombstone]:
        """Replace those that have ended by tombstones of one version."""
        async for _ in self._parts.attempts():
            loaded = await load(self._parts.client, map(items.key_of, found), values=False)
            ended = [(item, entry) for item in loaded.values() if (entry := self._ended(item, now)) is not None]
            if not ended:
                return []
            graves: list[Tombstone] = []

            def bury(
                version: int, ended: list[tuple[Item, Entry]] = ended, graves: list[Tombstone] = graves
            ) -> tuple[list[Action], list[ChangeRow]]:
                graves[:] = [
                    Tombstone(namespace=entry.namespace, key=entry.key, version=version, delete_time=now)
                    for _, entry in ended
                ]
                puts: list[Action] = [
                    {"Put": {"Item": items.encode(self._names, grave), **items.unchanged(item)}}
                    for grave, (item, _) in zip(graves, ended, strict=True)
                ]
                return puts, [_row(grave) for grave in graves]

            if await self._parts.write(bury):
                return graves
        return []  # writers were in the way all the time; the next sweep finds what is left

    def _ended(self, item: Item, now: int) -> Entry | None:
        try:
            copy = items.decode(self._names, item)
        except DataLoss:
            # Its end may be what is wrong: left as it is, for those who read it to hear of.
            _log.warning("an expired entry does not verify and was not swept")
            return None
        return copy if isinstance(copy, Entry) and copy.expired(now) else None

    async def _forget(self, partition: Callable[[int], str], until: int, limit: int) -> int:
        found = await self._indexed(partition, until, limit)
        count = 0
        for begin in range(0, len(found), DELETIONS_AT_ONCE):
            batch = found[begin : begin + DELETIONS_AT_ONCE]
            count += sum(await asyncio.gather(*[self._delete(item) for item in batch]))
        return count

    async def _delete(self, item: Item) -> bool:
        """Delete an item unless it was written since the index knew it."""
        try:
            await self._parts.client.call(
                "delete_item",
                TableName=self._table,
                Key=items.key_of(item),
                ConditionExpression="q = :q AND t = :t",
                ExpressionAttributeValues={":q": item["q"], ":t": item["t"]},
            )
        except CallFailed as failed:
            if failed.code == CONDITION_FAILED or failed.throttled:
                return False
            raise failed.error from failed
        return True

    async def _indexed(self, partition: Callable[[int], str], until: int, limit: int) -> list[Item]:
        """What the index has up to an instant, the oldest first, at most `limit`."""
        pages = await asyncio.gather(*[self._page(partition(shard), until, limit) for shard in range(INDEX_SHARDS)])
        return sorted((item for page in pages for item in page), key=_time)[:limit]

    async def _page(self, partition: str, until: int, limit: int) -> list[Item]:
        reply = await self._parts.client.ask(
            "query",
            TableName=self._table,
            IndexName=INDEX,
            KeyConditionExpression="q = :q AND t <= :until",
            ExpressionAttributeValues={":q": {"S": partition}, ":until": {"N": str(until)}},
            Limit=limit,
        )
        found: list[Item] = reply["Items"]
        return found


def _time(item: dict[str, Any]) -> int:
    return int(item["t"]["N"])


def _row(grave: Tombstone) -> ChangeRow:
    return ChangeRow(namespace=grave.namespace, key=grave.key, version=grave.version, kind=ChangeKind.EXPIRE)
