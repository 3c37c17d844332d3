"""Messages one by one: those of equal order in their order, the others beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from sidecar.core.sinks import UNTRIED, Delivery, Receipt, Refused, SinkUnavailable

Send = Callable[[Delivery], Awaitable[Refused | None]]
"""Publishes one message, and waits until the sink has confirmed it. Raises SinkUnavailable."""


def chains(deliveries: Sequence[Delivery]) -> dict[str, list[int]]:
    """The indexes of the messages of each order, in their order."""
    found: dict[str, list[int]] = {}
    for index, delivery in enumerate(deliveries):
        found.setdefault(delivery.message.order, []).append(index)
    return found


async def one_by_one(deliveries: Sequence[Delivery], send: Send) -> list[Receipt]:
    """Send all, an order's next one when the one before was confirmed. Raises SinkUnavailable as `settled` does."""
    receipts: list[Receipt] = [UNTRIED] * len(deliveries)
    failures: list[SinkUnavailable] = []

    async def in_order(indexes: Sequence[int]) -> None:
        for index in indexes:
            if failures:
                return
            try:
                receipts[index] = await send(deliveries[index])
            except SinkUnavailable as exc:
                failures.append(exc)
            if receipts[index] is not None:
                return

    async with asyncio.TaskGroup() as group:
        for indexes in chains(deliveries).values():
            group.create_task(in_order(indexes))
    return settled(receipts, failures)


def settled(receipts: list[Receipt], failures: Sequence[SinkUnavailable]) -> list[Receipt]:
    """The receipts of a call during which the sink may have gone away.

    What was confirmed before is told, or it would all go out again; the rest counts as untried, and the next call finds
    out whether the sink is back. Raises the failure if there is nothing to tell.
    """
    if failures and all(receipt is UNTRIED for receipt in receipts):
        raise failures[0]
    return receipts
