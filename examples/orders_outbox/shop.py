"""The order service: one transaction an order, with its message, under a request id made of the order's number."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from statesidecar import CasOp, IncrementOp, OutboxMessage, StateClient, WriteOutcomeUnknown

NAMESPACE = "orders"
PLACED = "order.placed"
ATTEMPTS_MAX = 10


@dataclass(frozen=True)
class Order:
    """What a customer wants."""

    number: int
    customer: str
    item: str


@dataclass(frozen=True)
class Placed:
    """What became of an order that was accepted."""

    version: int
    lost_answers: int


def place(client: StateClient, order: Order) -> int:
    """Stores the order, takes its item from the stock, and has the confirmation sent: all of it, or nothing.

    The version that was committed. However often it is called for an order, it takes effect once, and answers the same.
    Raises FailedPrecondition (COUNTER_OUT_OF_BOUNDS) if the item is sold out.
    """
    value = json.dumps(asdict(order))
    confirmation = OutboxMessage(PLACED, value, "application/json")
    return client.transact(
        NAMESPACE,
        [
            CasOp(f"order/{order.number}", value, expected_version=0, outbox=[confirmation]),
            IncrementOp(f"stock/{order.item}", -1, minimum=0, create=False),
        ],
        request_id=f"place order {order.number}",
    ).version


def place_for_certain(client: StateClient, order: Order) -> Placed:
    """As `place`, also where answers are lost: whoever does not know what became of an order asks again."""
    for lost_answers in range(ATTEMPTS_MAX):
        try:
            return Placed(place(client, order), lost_answers)
        except WriteOutcomeUnknown:
            continue
    raise TimeoutError(f"{ATTEMPTS_MAX} answers about order {order.number} were lost")
