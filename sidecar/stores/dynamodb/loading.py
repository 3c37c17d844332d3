"""Consistent reads of many items by key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from sidecar.core.errors import LimitExceeded
from sidecar.stores.dynamodb.client import RETRIES_MAX, Client, pause
from sidecar.stores.dynamodb.errors import contended
from sidecar.stores.dynamodb.items import HEADERS, At, Item, at

KEYS_MAX = 100
"""Of a BatchGetItem, and of a TransactGetItems."""


async def load(client: Client, keys: Iterable[Item], *, values: bool) -> dict[At, Item]:
    """The items that are there; without `values`, only what stands beside them. Raises SidecarError."""
    wanted = list({at(key): key for key in keys}.values())
    chunks = [wanted[begin : begin + KEYS_MAX] for begin in range(0, len(wanted), KEYS_MAX)]
    found: dict[At, Item] = {}
    for items in await asyncio.gather(*[_load(client, chunk, values=values) for chunk in chunks]):
        found |= {at(item): item for item in items}
    return found


async def _load(client: Client, keys: Sequence[Item], *, values: bool) -> list[Item]:
    table = client.target.table
    shape = {"ConsistentRead": True} if values else {"ConsistentRead": True, "ProjectionExpression": HEADERS}
    if len(keys) == 1:
        reply = await client.ask("get_item", TableName=table, Key=keys[0], **shape)
        return [reply["Item"]] if "Item" in reply else []
    found: list[Item] = []
    for attempt in range(RETRIES_MAX):
        reply = await client.ask("batch_get_item", RequestItems={table: {"Keys": keys, **shape}})
        items = reply["Responses"].get(table, [])
        found += items
        left = reply.get("UnprocessedKeys", {})
        if not left:
            return found
        keys = left[table]["Keys"]
        if not items:  # not cut off at 16 MB, but throttled
            await pause(attempt)
    raise _throttled()


def _throttled() -> LimitExceeded:
    return contended("UnprocessedKeys")
