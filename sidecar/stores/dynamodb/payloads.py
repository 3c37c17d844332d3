"""Values that don't fit into their key's item: parts beside it, which never change.

The parts are stored before the transaction that names them, together with a record that says whose they are. The
transaction makes sure that the record is there and not doomed. The sweep looks at each record from time to time: if its
key names other parts, it dooms the record, looks once more (no transaction can name the parts any more), and deletes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sidecar.core.ports import Clock
from sidecar.stores.dynamodb import items
from sidecar.stores.dynamodb.client import Client
from sidecar.stores.dynamodb.errors import CONDITION_FAILED, CallFailed
from sidecar.stores.dynamodb.items import At, Item, Names, Payload, at, shard_of
from sidecar.stores.dynamodb.loading import load
from sidecar.stores.dynamodb.transactions import Action

INLINE_BYTES_MAX = 390_000
"""Of a key's item with its value; also of a part."""
GRACE_MS = 600_000
"""How long parts are left alone that no key names: far longer than a write or a read takes."""
RECHECK_MS = 6 * 3_600_000
"""How often parts are looked at that a key names."""
_NOT_DOOMED = {
    "ConditionExpression": "attribute_exists(p) AND s <> :doomed",
    "ExpressionAttributeValues": {":doomed": {"S": "doomed"}},
}


@dataclass(frozen=True, slots=True)
class Outsourced:
    """A value that is to be stored beside its key's item."""

    payload: Payload
    namespace: str
    key: str
    value: bytes


def payload_for(value: bytes) -> Payload:
    """A name that was never used, not even by an attempt that failed: the sweep may be deleting what that one stored."""
    return Payload(secrets.token_hex(12), -(-len(value) // INLINE_BYTES_MAX), len(value))


def must_be_there(names: Names, payload: Payload) -> Action:
    """The check of the transaction that names a payload."""
    return {"ConditionCheck": {"Key": names.payload(payload.id), **_NOT_DOOMED}}


class Payloads:
    """Stores, loads and forgets large values."""

    def __init__(self, client: Client, names: Names, clock: Clock) -> None:
        self._client = client
        self._names = names
        self._clock = clock
        self._table = client.target.table

    async def store(self, values: Iterable[Outsourced]) -> None:
        """Put parts and records; nobody sees them yet. Raises SidecarError."""
        await asyncio.gather(*[self._store(one) for one in values])

    async def load(self, found: Iterable[Item]) -> dict[str, bytes]:
        """The values of the keys' items that name one, by payload; those of which a part is missing are left out."""
        wanted = {payload.id: payload for item in found if (payload := Payload.of(item)) is not None}
        if not wanted:
            return {}
        keys = {name: [self._names.part(name, number) for number in range(wanted[name].count)] for name in wanted}
        parts = await load(self._client, [key for several in keys.values() for key in several], values=True)
        return {
            name: b"".join([parts[at(key)]["b"]["B"] for key in several])
            for name, several in keys.items()
            if all(at(key) in parts for key in several)
        }

    async def sweep(self, now: int, found: Sequence[Item]) -> None:
        """Look at records that are due: keep them for a while, or delete them with their parts. Raises SidecarError."""
        records = await load(self._client, map(items.key_of, found), values=True)
        due = [record for record in records.values() if int(record["t"]["N"]) <= now]
        await asyncio.gather(*[self._look_at(record, now) for record in due])

    async def _store(self, one: Outsourced) -> None:
        name, count = one.payload.id, one.payload.count
        record = self._names.payload(name) | {
            "e": {"S": one.namespace},
            "w": {"B": one.key.encode()},
            "n": {"N": str(count)},
            "s": {"S": "kept"},
            "q": {"S": self._names.payloads(shard_of(name.encode()))},
            "t": {"N": str(self._clock.now() + GRACE_MS)},
        }
        # The record first: parts without one would stay for ever.
        await self._client.ask("put_item", TableName=self._table, Item=record)
        cuts = range(0, len(one.value), INLINE_BYTES_MAX)
        parts = [
            self._names.part(name, number) | {"b": {"B": one.value[begin : begin + INLINE_BYTES_MAX]}}
            for number, begin in enumerate(cuts)
        ]
        await asyncio.gather(*[self._client.ask("put_item", TableName=self._table, Item=part) for part in parts])

    async def _look_at(self, record: Item, now: int) -> None:
        name = record["p"]["S"].rpartition("#")[2]
        if not await self._is_named(name, record):
            if not await self._update(record, "doomed", now):
                return
            if not await self._is_named(name, record):
                parts = [self._names.part(name, number) for number in range(int(record["n"]["N"]))]
                await asyncio.gather(*[self._delete(part) for part in parts])
                await self._delete(items.key_of(record))
                return
        await self._update(record, "kept", now + RECHECK_MS)

    async def _is_named(self, name: str, record: Item) -> bool:
        key = self._names.entry(record["e"]["S"], record["w"]["B"].decode())
        found: Mapping[At, Item] = await load(self._client, [key], values=False)
        item = found.get(at(key))
        payload = None if item is None else Payload.of(item)
        return payload is not None and payload.id == name

    async def _update(self, record: Item, state: str, due: int) -> bool:
        try:
            await self._client.call(
                "update_item",
                TableName=self._table,
                Key=items.key_of(record),
                UpdateExpression="SET s = :state, t = :due",
                ConditionExpression="attribute_exists(p)",
                ExpressionAttributeValues={":state": {"S": state}, ":due": {"N": str(due)}},
            )
        except CallFailed as failed:
            if failed.code == CONDITION_FAILED:
                return False
            raise failed.error from failed
        return True

    async def _delete(self, key: Item) -> None:
        await self._client.ask("delete_item", TableName=self._table, Key=key)
