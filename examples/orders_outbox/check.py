"""Whether every order was confirmed once: what the shop was told, against what arrived, against what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from examples.orders_outbox.shop import Order


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Counts of what must not be."""

    missing: int
    """Orders that were accepted, and nobody was told."""
    doubled: int
    """Confirmations of an order that had one."""
    ghosts: int
    """Confirmations of orders that were not accepted."""
    stock_off: int
    """Items that the stock has too many or too few of."""

    @property
    def clean(self) -> bool:
        """Whether there is none of it."""
        return self == Verdict(missing=0, doubled=0, ghosts=0, stock_off=0)


def compare(accepted: Sequence[Order], mails: Sequence[Any], taken: Mapping[str, int]) -> Verdict:
    """`mails`: what arrived; `taken`: how many of each item the stock has lost."""
    orders = [asdict(order) for order in accepted]
    confirmed = [mail["number"] for mail in mails]
    items = [order.item for order in accepted]
    return Verdict(
        missing=sum(order not in mails for order in orders),
        doubled=len(confirmed) - len(set(confirmed)),
        ghosts=sum(mail not in orders for mail in mails),
        stock_off=sum(abs(count - items.count(item)) for item, count in taken.items()),
    )
