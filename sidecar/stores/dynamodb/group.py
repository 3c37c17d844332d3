"""One group of writes, from load to answers: tried again on what is there then, when others were in its way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sidecar.core.errors import InvalidRequest
from sidecar.core.operations import Write
from sidecar.stores.dynamodb.errors import contended, too_large, too_many
from sidecar.stores.dynamodb.items import at
from sidecar.stores.dynamodb.loading import load
from sidecar.stores.dynamodb.parts import Parts
from sidecar.stores.dynamodb.plan import Answer, Loaded, Moment, Plan, provisional, wanted
from sidecar.stores.dynamodb.sequence import Block
from sidecar.stores.dynamodb.transactions import ACTIONS_MAX, TRANSACTION_BYTES_MAX, Change, End

ALONE_AFTER = 3
"""Attempts of several writes together."""


class Alone(Exception):
    """Several writes are in each other's way, or in others': one by one they have better prospects."""


class Group:
    """Writes that share a transaction."""

    def __init__(self, parts: Parts, writes: Sequence[Write]) -> None:
        self._parts = parts
        self._writes = writes
        self._block: Block | None = None
        """Drawn, and not used so far."""

    async def commit(self) -> list[Answer]:
        """The answer of each. Raises SidecarError if the transaction failed for all, or Alone."""
        several = len(self._writes) > 1
        try:
            async for number in self._parts.attempts():
                answers = await self._try()
                if answers is not None:
                    return answers
                if several and number + 1 == ALONE_AFTER:
                    raise Alone
        except InvalidRequest:
            if several:
                raise Alone from None  # too large together
            raise
        finally:
            self._parts.drop(self._block)
        raise contended("others write the same keys")

    async def _try(self) -> list[Answer] | None:
        """The answers if it landed; None: others were faster."""
        parts, writes = self._parts, self._writes
        loaded = await self._load()
        moment = Moment(now=parts.clock.now(), monotonic=parts.clock.monotonic())
        unversioned = provisional(len(writes), parts.sequencer.epoch)
        plan = Plan(writes, loaded, unversioned, moment)
        if plan.bytes > TRANSACTION_BYTES_MAX and len(writes) > 1:
            raise Alone
        change = None
        if plan.versions_used:
            self._block = await parts.block(self._block, plan.versions_used, above=plan.newest_loaded)
            if self._block is None:
                return None
            plan = Plan(writes, loaded, self._block.versions + unversioned, moment)
            change = Change(self._block, tuple(plan.changes))
        if plan.writes_nothing:
            return plan.answers
        actions = plan.actions()
        if len(actions) >= ACTIONS_MAX:
            if len(writes) > 1:
                raise Alone
            if len(actions) - len(plan.outsourced) < ACTIONS_MAX:
                raise too_large("the operations write too many large values at once", field="operations")
            made = f"the operations, their messages and checkpoints make {len(actions)} items"
            raise too_many(f"{made}, DynamoDB takes at most {ACTIONS_MAX - 1} in a transaction")
        await parts.payloads.store(plan.outsourced)
        end = await parts.transactions.run(actions, change)
        if end in (End.LANDED, End.FENCED):
            self._block = None
        return plan.answers if end is End.LANDED else None

    async def _load(self) -> Loaded:
        parts = self._parts
        valued, headers = wanted(parts.names, self._writes)
        found = await asyncio.gather(
            *[load(parts.client, keys, values=keys is valued) for keys in (valued, headers) if keys]
        )
        items = {place: item for part in found for place, item in part.items()}
        changed = [items[place] for key in valued if (place := at(key)) in items]
        return Loaded(parts.names, items, await parts.payloads.load(changed))
