"""Reads of keys. All are consistent: they see every commit that was answered before they began."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.core.entry import Copy, Entry, live
from sidecar.core.errors import InvalidRequest, LimitExceeded
from sidecar.core.ports import Clock
from sidecar.core.store import Page
from sidecar.stores.dynamodb import items
from sidecar.stores.dynamodb.client import RETRIES_MAX, Client, Reply, pause
from sidecar.stores.dynamodb.errors import CANCELLED, CallFailed, contended, twin
from sidecar.stores.dynamodb.items import At, Item, Names, Payload
from sidecar.stores.dynamodb.loading import KEYS_MAX, load
from sidecar.stores.dynamodb.payloads import Payloads

Spawn = Callable[[Coroutine[Any, Any, None]], None]
KEY_BYTES_MAX = 1024
"""DynamoDB's bound of a sort key, also in a condition."""
SCAN_ITEMS_MAX = 1_000
_ABOVE_ALL = b"\xff"
"""Greater than any UTF-8."""


@dataclass(slots=True, eq=False)
class _Asked:
    key: Item
    future: asyncio.Future[dict[At, Item]]


class Reads:
    """Keys by name, and in order."""

    def __init__(
        self, client: Client, names: Names, clock: Clock, payloads: Payloads, *, spawn: Spawn, queue_max: int
    ) -> None:
        self._client = client
        self._names = names
        self._clock = clock
        self._payloads = payloads
        self._spawn = spawn
        self._queue_max = queue_max
        self._waiting = 0
        self._asked: list[_Asked] = []
        self._table = client.target.table

    async def get(self, namespace: str, keys: Sequence[str]) -> list[Copy | None]:
        """The state of each key, of one moment for each hundred of them. Raises SidecarError."""
        if self._waiting >= self._queue_max:
            raise LimitExceeded(f"{self._waiting} reads are waiting for DynamoDB")
        self._waiting += 1
        try:
            return await self._get(namespace, keys)
        finally:
            self._waiting -= 1

    async def scan(
        self, namespace: str, prefix: str, *, after: str | None, limit: int, bytes_max: int, keys_only: bool
    ) -> Page:
        """A page in key order. Raises SidecarError."""
        now = self._clock.now()
        taken: list[Item] = []
        size, begin, more = 0, after, False
        while not more:
            page, end = await self.range(
                namespace, prefix, after=begin, limit=limit + 1 - len(taken), values=not keys_only
            )
            for item in page:
                if live(items.decode(self._names, item), now) is None:
                    continue
                size += 0 if keys_only else _value_size(item)
                more = len(taken) == limit or bool(taken and size > bytes_max)
                if more:
                    break
                taken.append(item)
            if end is None:
                break
            begin = end
        return Page(entries=tuple(await self._entries(taken, keys_only=keys_only)), more=more)

    async def range(
        self, namespace: str, prefix: str, *, after: str | None, limit: int, values: bool
    ) -> tuple[list[Item], str | None]:
        """At most `limit` items of a key range, and the key to go on after; None: that was all. Raises SidecarError."""
        lower, upper = _bounds(prefix, after)
        if lower > upper:
            return [], None
        shape: dict[str, Any] = {} if values else {"ProjectionExpression": items.HEADERS}
        reply = await self._client.ask(
            "query",
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="p = :p AND k BETWEEN :lower AND :upper",
            ExpressionAttributeValues={
                ":p": {"S": self._names.entries(namespace)},
                ":lower": {"B": lower},
                ":upper": {"B": upper},
            },
            Limit=min(limit, SCAN_ITEMS_MAX),
            **shape,
        )
        last = reply.get("LastEvaluatedKey")
        return reply["Items"], None if last is None else items.decode_key(namespace, last)

    async def _get(self, namespace: str, keys: Sequence[str]) -> list[Copy | None]:
        wanted = {items.at(item): item for item in (self._names.entry(namespace, key) for key in keys)}
        ats = list(wanted)
        chunks = [[wanted[at] for at in ats[begin : begin + KEYS_MAX]] for begin in range(0, len(ats), KEYS_MAX)]
        found: dict[At, Item] = {}
        for part in await asyncio.gather(*[self._of_one_moment(chunk) for chunk in chunks]):
            found |= part
        values = await self._payloads.load(found.values())
        now = self._clock.now()
        copies = {at: items.decode(self._names, item, values) for at, item in found.items()}
        answers = [copies.get(items.at(self._names.entry(namespace, key))) for key in keys]
        return [None if isinstance(copy, Entry) and copy.expired(now) else copy for copy in answers]

    async def _entries(self, found: Sequence[Item], *, keys_only: bool) -> list[Entry]:
        values = None if keys_only else await self._payloads.load(found)
        copies = [items.decode(self._names, item, values) for item in found]
        return [copy for copy in copies if isinstance(copy, Entry)]

    async def _of_one_moment(self, keys: list[Item]) -> dict[At, Item]:
        """All of one state of the table: a transaction is seen whole or not at all."""
        if len(keys) == 1:
            return await self._with_others(keys[0])
        for attempt in range(RETRIES_MAX * 2):
            try:
                reply = await self._transact(keys)
            except CallFailed as failed:
                if failed.code != CANCELLED:
                    raise twin(failed.error) from failed
                # Someone writes one of them at this moment.
                await pause(attempt)
                continue
            except InvalidRequest:
                # More than 4 MB: DynamoDB reads that in parts only.
                half = len(keys) // 2
                return await self._of_one_moment(keys[:half]) | await self._of_one_moment(keys[half:])
            return {items.at(one["Item"]): one["Item"] for one in reply["Responses"] if one.get("Item")}
        raise _written_all_the_time()

    async def _with_others(self, key: Item) -> dict[At, Item]:
        """One key, in one call with those that are asked for in this iteration of the event loop."""
        loop = asyncio.get_running_loop()
        asked = _Asked(key, loop.create_future())
        if not self._asked:
            loop.call_soon(self._hand_over)
        self._asked.append(asked)
        return await asked.future

    def _hand_over(self) -> None:
        asked, self._asked = self._asked, []
        self._spawn(self._answer(asked))

    async def _answer(self, asked: Sequence[_Asked]) -> None:
        try:
            found = await load(self._client, [one.key for one in asked], values=True)
        except Exception as exc:  # noqa: BLE001  # whatever it was, they wait for it
            for one in asked:
                if not one.future.done():
                    one.future.set_exception(twin(exc))
            return
        for one in asked:
            at = items.at(one.key)
            if not one.future.done():
                one.future.set_result({at: found[at]} if at in found else {})

    async def _transact(self, keys: list[Item]) -> Reply:
        gets = [{"Get": {"TableName": self._table, "Key": key}} for key in keys]
        for attempt in range(RETRIES_MAX):
            try:
                return await self._client.call("transact_get_items", TransactItems=gets)
            except CallFailed as failed:
                if isinstance(failed.error, InvalidRequest):
                    raise twin(failed.error) from failed
                if attempt == RETRIES_MAX - 1 or not (failed.throttled or failed.lost):
                    raise
            await pause(attempt)
        raise AssertionError("the last attempt returns or raises")


def _bounds(prefix: str, after: str | None) -> tuple[bytes, bytes]:
    """The least and the greatest key, both within; `after` is not taken itself.

    No UTF-8 has a byte 0xff, so all that begins with the prefix is below prefix + 0xff, and nothing else is between.
    """
    begin = prefix.encode()
    lower, upper = begin, (begin + _ABOVE_ALL)[:KEY_BYTES_MAX]
    if after is not None and after.encode() >= begin:
        last = after.encode()
        # The least key above `after`: one byte longer, or where that is too long, the next of the same length.
        lower = last + b"\0" if len(last) < KEY_BYTES_MAX else last[:-1] + bytes([last[-1] + 1])
    return lower or b"\0", upper


def _value_size(item: Item) -> int:
    payload = Payload.of(item)
    return len(item["b"]["B"]) if payload is None else payload.size


def _written_all_the_time() -> LimitExceeded:
    return contended("TransactionConflict")
