"""Work that a reply owes and its caller needn't wait for. The engine returns it; the runtime runs it from a bounded queue.

Losing a followup costs speed, never truth: a lease that isn't filled passes on, an older copy is bypassed again, and a
sliding entry that wasn't touched is touched by its next read, for which its ttl leaves 90 %. An archived value that isn't
brought back is brought back by a later read; so is one upgraded that is still in an older schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from sidecar.core.cache import Fill
from sidecar.core.entry import Copy, Entry
from sidecar.core.failpoints import reach
from sidecar.core.store import Touch
from sidecar.engine.schemas.views import Upgrade, upgrade
from sidecar.tiers.placement import Placement


@dataclass(frozen=True, slots=True)
class FillCache:
    """Put what the authority answered into the cache, if the leases still hold."""

    placement: Placement
    namespace: str
    fills: tuple[Fill, ...]


@dataclass(frozen=True, slots=True)
class RepairCache:
    """The cache held copies older than these."""

    placement: Placement
    namespace: str
    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class TouchEntry:
    """A sliding entry was read with less than 90 % of its ttl left."""

    placement: Placement
    namespace: str
    key: str


@dataclass(frozen=True, slots=True)
class Rehydrate:
    """An archived entry was read: the authority is to keep its value again. `entry` has it."""

    placement: Placement
    entry: Entry


Followup = FillCache | RepairCache | TouchEntry | Rehydrate | Upgrade


async def run(followups: Iterable[Followup]) -> None:
    """Do all of them; touches of a namespace in one batch, each key once. Raises what the authority raises."""
    touches: dict[tuple[Placement, str], dict[str, Touch]] = {}
    for followup in followups:
        match followup:
            case FillCache(placement, namespace, fills):
                reach("followup.fill.before")
                await placement.cache.fill(namespace, fills, now=placement.authority.now())
                reach("followup.fill.after")
            case RepairCache(placement, namespace, copies):
                reach("followup.repair.before")
                await placement.cache.apply(namespace, copies)
                reach("followup.repair.after")
            case TouchEntry(placement, namespace, key):
                touches.setdefault((placement, namespace), {})[key] = Touch(key=key, extend_only=True)
            case Rehydrate(placement, entry):
                await placement.wake(entry)
            case Upgrade():
                await upgrade(followup)
            case _:
                assert_never(followup)
    for (placement, namespace), by_key in touches.items():
        reach("followup.touch.before")
        await placement.touch(namespace, list(by_key.values()), announce=False)
        reach("followup.touch.after")
