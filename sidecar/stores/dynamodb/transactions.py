"""One write transaction: it lands whole, or it is known not to have landed, or its end is honestly unknown.

Each transaction that changes a key puts a change item under its first sequence, which must not exist. Who puts a void
item there first has fenced the transaction: it can't land any more, however late it arrives. So a writer that got no
answer asks for the fence, and learns how its transaction ended; and a reader of changes that waits for a sequence too
long passes over it safely.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from sidecar.core.errors import SidecarError
from sidecar.core.failpoints import reach
from sidecar.core.ports import Clock
from sidecar.core.store import ChangeKind, ChangeRow
from sidecar.stores.dynamodb.client import RETRIES_MAX, Client, pause
from sidecar.stores.dynamodb.errors import CANCELLED, CONDITION_FAILED, CONTENDED, THROTTLED, CallFailed, invalid, twin
from sidecar.stores.dynamodb.items import Item, Names
from sidecar.stores.dynamodb.sequence import Block

ACTIONS_MAX = 100
"""DynamoDB's bound of a transaction."""
TRANSACTION_BYTES_MAX = 4_000_000
"""DynamoDB's 4 MB, less what is not counted here."""
_REASON_CONDITION = "ConditionalCheckFailed"

Action = dict[str, dict[str, Any]]
"""`{"Put": {…}}` and the like, without the table's name."""


class End(Enum):
    """How a transaction ended that raised nothing."""

    LANDED = auto()
    LOST = auto()
    """A condition failed: what was loaded is not what is there."""
    FENCED = auto()
    """Its sequence was passed over: it needs another."""
    CONTENDED = auto()
    """In the way of others, or of the table's throughput: nothing is known to have changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction tells readers of changes: rows in order, under a block of sequences. None: it is a void."""

    block: Block
    rows: tuple[ChangeRow, ...] | None = None


class Transactions:
    """Runs transactions on the store's table."""

    def __init__(self, client: Client, names: Names, clock: Clock) -> None:
        self._client = client
        self._names = names
        self._clock = clock
        self._table = client.target.table

    async def run(self, actions: Iterable[Action], change: Change | None) -> End:
        """Do all or none. Raises SidecarError (nothing was written), or OutcomeUnknown."""
        named = [{kind: {"TableName": self._table, **what} for kind, what in action.items()} for action in actions]
        if change is not None:
            named.insert(0, {"Put": {"TableName": self._table, **self._put_change(change)}})
        reach("dynamodb.transaction.before")
        try:
            await self._client.call(
                "transact_write_items", TransactItems=named, ClientRequestToken=secrets.token_hex(16)
            )
            reach("dynamodb.transaction.after")
        except CallFailed as failed:
            if failed.code == CANCELLED:
                return _cancelled(failed.reasons, fenceable=change is not None)
            if failed.throttled:
                return End.CONTENDED
            if failed.unknown and change is not None:
                return await self._find_out(change, failed)
            raise failed.write_error() from failed
        return End.LANDED

    async def fence(self, block: Block, *, through_gate: bool = False) -> Item | None:
        """Have no transaction land under a block that hasn't: None, or the change item that is there already.

        Raises CallFailed.
        """
        for attempt in range(RETRIES_MAX):
            try:
                await self._client.call(
                    "put_item",
                    through_gate=through_gate,
                    TableName=self._table,
                    **self._put_change(Change(block)),
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except CallFailed as failed:
                if failed.code == CONDITION_FAILED and failed.item is not None:
                    return failed.item
                # A fence that was put twice is one.
                if not (failed.throttled or failed.lost) or attempt == RETRIES_MAX - 1:
                    raise
                await pause(attempt)
            else:
                return None
        raise AssertionError("the last attempt returns or raises")

    async def _find_out(self, change: Change, failed: CallFailed) -> End:
        try:
            found = await self.fence(change.block, through_gate=True)
        except CallFailed as exc:
            raise failed.write_error() from exc
        if found is not None and (rows_of(found) or "l" in found):
            return End.LANDED
        raise twin(failed.error) from failed

    def _put_change(self, change: Change) -> dict[str, Any]:
        rows = [[row.namespace, row.key, row.version, row.kind.value] for row in change.rows or ()]
        item = self._names.change(change.block.first) | {
            "c": {"S": json.dumps(rows, ensure_ascii=False, separators=(",", ":"))},
            "n": {"N": str(change.block.count)},
            "t": {"N": str(self._clock.now())},
        }
        if change.rows == ():
            item |= {"l": {"S": "landed"}}  # it told nothing, and is no void: its messages are there
        return {"Item": item, "ConditionExpression": "attribute_not_exists(p)"}


def rows_of(item: Item) -> list[ChangeRow]:
    """The rows of a change item. Raises KeyError, ValueError for what is none."""
    return [
        ChangeRow(namespace=namespace, key=key, version=version, kind=ChangeKind(kind))
        for namespace, key, version, kind in json.loads(item["c"]["S"])
    ]


def _cancelled(reasons: Sequence[str], *, fenceable: bool) -> End:
    if fenceable and reasons[:1] == (_REASON_CONDITION,):
        return End.FENCED
    if _REASON_CONDITION in reasons:
        return End.LOST
    for reason in reasons:
        if reason not in CONTENDED and reason not in THROTTLED and reason != "None":
            raise _refused(reason)
    return End.CONTENDED


def _refused(reason: str) -> SidecarError:
    return invalid("size exceeded" if reason == "ValidationError" else reason)
