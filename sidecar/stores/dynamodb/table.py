"""The table when a store begins to use it: found or made, of our shape, and known to be the one that it was.

Its own item, `meta`, holds the last sequence drawn and the epoch, which changes are still told, and the cache's
generation. `table_id` is DynamoDB's name for this very table. A restore makes another table of the same content, so an
item that names a table other than the one it is in tells that the store went back in time: the epoch rises.
"""

from __future__ import annotations

import email.utils
import logging
from dataclasses import dataclass
from typing import Any

import sidecar
from sidecar.core.errors import SidecarError, StoreUnavailable, store_corrupt
from sidecar.core.ports import Clock
from sidecar.stores.counting import begin_of
from sidecar.stores.dynamodb.client import Client, Reply
from sidecar.stores.dynamodb.errors import CONDITION_FAILED, TABLE_EXISTS, TABLE_MISSING, CallFailed, twin
from sidecar.stores.dynamodb.items import Item, Names

_log = logging.getLogger(__name__)

INDEX = "sweep"
SCHEMA_VERSION = 1
CLOCK_SKEW_MS = 5_000
"""Above this, the log says that this machine's clock is not DynamoDB's."""
_ATTRIBUTES = {"p": "S", "k": "B", "q": "S", "t": "N"}
_KEYS = {"p": "HASH", "k": "RANGE"}
_INDEX_KEYS = {"q": "HASH", "t": "RANGE"}
_ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """The store's own item. `change_floor`: changes up to this sequence are forgotten; `swept`: and deleted."""

    table_id: str
    epoch: int
    sequence: int
    change_floor: int
    swept: int
    cache_identity: str
    generation: int


class Table:
    """Prepares the table, and reads and changes its meta item."""

    def __init__(self, client: Client, names: Names, clock: Clock) -> None:
        self._client = client
        self._names = names
        self._clock = clock
        self._table = client.target.table

    async def prepare(self, *, highest: int) -> Meta:
        """Find or make the table and its meta item. `highest`: a sequence that was seen. Raises SidecarError."""
        try:
            table_id = await self._identify()
            for _ in range(_ATTEMPTS_MAX):
                item = await self._item(through_gate=True)
                if item is None:
                    await self._make(table_id)
                    continue
                meta = _meta(item)
                if meta.table_id == table_id and meta.sequence >= highest:
                    return meta
                await self._raise_epoch(meta, table_id, highest)
        except CallFailed as failed:
            raise failed.error from failed
        raise StoreUnavailable("other daemons prepare the table at the same time")

    async def meta(self) -> Meta:
        """As it is now. Raises SidecarError."""
        reply = await self._client.ask("get_item", TableName=self._table, Key=self._names.meta(), ConsistentRead=True)
        if "Item" not in reply:
            # Another table under the same name: until it is prepared, which the next call does, nothing in it is of use.
            gone = StoreUnavailable("the store's own item is gone from the table; it is made again")
            self._client.failure = CallFailed(gone, TABLE_MISSING)
            raise twin(gone)
        return _meta(reply["Item"])

    async def change(self, update: str, condition: str, **values: int | str) -> bool:
        """Change attributes of meta if a condition holds; whether it did. Raises SidecarError."""
        try:
            await self._update(update, condition, values)
        except CallFailed as failed:
            if failed.code == CONDITION_FAILED:
                return False
            raise failed.error from failed
        return True

    async def _identify(self) -> str:
        """DynamoDB's id of the table, which is usable."""
        try:
            reply = await self._describe()
        except CallFailed as failed:
            if failed.code != TABLE_MISSING or not self._client.target.create:
                raise
            await self._create()
            reply = await self._describe()
        self._compare_clocks(reply)
        table = reply["Table"]
        if table["TableStatus"] not in ("ACTIVE", "UPDATING"):
            raise StoreUnavailable(f"the table {self._table!r} is {table['TableStatus'].lower()}; it is tried again")
        _check_shape(table)
        table_id: str = table["TableId"]
        return table_id

    async def _describe(self) -> Reply:
        return await self._client.call("describe_table", through_gate=True, TableName=self._table)

    async def _create(self) -> None:
        try:
            await self._client.call("create_table", through_gate=True, **definition(self._table))
        except CallFailed as failed:
            if failed.code != TABLE_EXISTS:
                raise

    async def _item(self, *, through_gate: bool) -> Item | None:
        reply = await self._client.call(
            "get_item", through_gate=through_gate, TableName=self._table, Key=self._names.meta(), ConsistentRead=True
        )
        item: Item | None = reply.get("Item")
        return item

    async def _make(self, table_id: str) -> None:
        item = self._names.meta() | {name: {"N": "0"} for name in ("epoch", "generation")}
        # A table under this name that was deleted has handed out versions and cursors, which must not be met again.
        begin = str(begin_of(self._clock.now()))
        item |= {name: {"N": begin} for name in ("sequence_number", "change_floor", "swept")}
        item |= {"schema_version": {"N": str(SCHEMA_VERSION)}, "release": {"S": sidecar.__version__}}
        item |= {"table_id": {"S": table_id}, "cache_identity": {"S": ""}}
        try:
            await self._client.call(
                "put_item",
                through_gate=True,
                TableName=self._table,
                Item=item,
                ConditionExpression="attribute_not_exists(p)",
            )
        except CallFailed as failed:
            if failed.code != CONDITION_FAILED:
                raise

    async def _raise_epoch(self, meta: Meta, table_id: str, highest: int) -> None:
        """Versions go on above all that may have been handed out; change readers and caches hear of it."""
        sequence = max(meta.sequence, highest)
        _log.warning("the table went back in time: the epoch rises", extra={"epoch": meta.epoch + 1})
        try:
            await self._update(
                "SET epoch = :next, table_id = :table_id, sequence_number = :sequence, change_floor = :sequence",
                "epoch = :epoch AND table_id = :was",
                {
                    "next": meta.epoch + 1,
                    "epoch": meta.epoch,
                    "sequence": sequence,
                    "table_id": table_id,
                    "was": meta.table_id,
                },
                through_gate=True,
            )
        except CallFailed as failed:
            if failed.code != CONDITION_FAILED:
                raise

    async def _update(
        self, update: str, condition: str, values: dict[str, int | str], *, through_gate: bool = False
    ) -> None:
        await self._client.call(
            "update_item",
            through_gate=through_gate,
            TableName=self._table,
            Key=self._names.meta(),
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeValues={f":{name}": _typed(value) for name, value in values.items()},
        )

    def _compare_clocks(self, reply: Reply) -> None:
        """Ends are by this machine's clock: one that is wrong expires entries early or late."""
        said = reply["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            skew_ms = self._clock.now() - email.utils.parsedate_to_datetime(said).timestamp() * 1000
        except ValueError:
            return
        if abs(skew_ms) > CLOCK_SKEW_MS:
            _log.warning(
                "this machine's clock is not DynamoDB's: check its time synchronisation",
                extra={"skew_s": round(skew_ms / 1000)},
            )


def definition(table: str) -> dict[str, Any]:
    """The parameters of CreateTable."""
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name, kind in _ATTRIBUTES.items()],
        "KeySchema": _schema(_KEYS),
        "GlobalSecondaryIndexes": [
            {"IndexName": INDEX, "KeySchema": _schema(_INDEX_KEYS), "Projection": {"ProjectionType": "KEYS_ONLY"}}
        ],
    }


def _schema(keys: dict[str, str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()]


def _check_shape(table: dict[str, Any]) -> None:
    indexes = {index["IndexName"]: index["KeySchema"] for index in table.get("GlobalSecondaryIndexes", ())}
    types = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
    ours = table["KeySchema"] == _schema(_KEYS) and indexes.get(INDEX) == _schema(_INDEX_KEYS)
    if not ours or any(types.get(name) != kind for name, kind in _ATTRIBUTES.items()):
        raise StoreUnavailable(
            f"the table {table['TableName']!r} has not the keys and the index {INDEX!r} that docs/adapters/dynamodb.md "
            "says: name another table, or make it anew"
        )


def _typed(value: int | str) -> dict[str, str]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def _meta(item: Item) -> Meta:
    try:
        schema_version = int(item["schema_version"]["N"])
        if schema_version > SCHEMA_VERSION:
            release = item["release"]["S"]
            raise StoreUnavailable(
                f"the table was made by release {release} (schema {schema_version}); this is release "
                f"{sidecar.__version__} and knows schemas up to {SCHEMA_VERSION}: start a release at least as new",
                metadata={"release": release, "schema_version": str(schema_version)},
            )
        return Meta(
            table_id=item["table_id"]["S"],
            epoch=int(item["epoch"]["N"]),
            sequence=int(item["sequence_number"]["N"]),
            change_floor=int(item["change_floor"]["N"]),
            swept=int(item["swept"]["N"]),
            cache_identity=item["cache_identity"]["S"],
            generation=int(item["generation"]["N"]),
        )
    except SidecarError:
        raise
    except (KeyError, ValueError) as exc:
        raise store_corrupt("the store's own item in the table is not in a known form") from exc
