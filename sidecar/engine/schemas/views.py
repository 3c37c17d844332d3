"""What readers see of values that are stored in another schema than they understand, and what a read owes those values.

Which schema a value is stored in is the floor: the newest that all daemons know. When that has risen, values follow as they
are read, under their versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sidecar.core import schema
from sidecar.core.entry import Entry
from sidecar.core.errors import DECISIONS, FailedPrecondition, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.marks import SCHEMA
from sidecar.core.modes import Tier
from sidecar.core.operations import Relocate, Write
from sidecar.core.ports import Ports
from sidecar.core.schema import Schemas
from sidecar.engine.namespaces import Namespace
from sidecar.tiers.cold import UNBOUNDED
from sidecar.tiers.placement import Placement
from sidecar.tiers.reading import Lookup

CONVERTED_BYTES = 32 * 1024
"""What is longer is converted where it holds up nobody: it takes milliseconds."""
UNDER_WAY_MAX = 1024
UNDER_WAY_S = 30.0
"""Whose upgrade has not ended by then was forgotten, or failed."""


class Floors(Protocol):
    """Which schema all daemons know (`fleet.py`)."""

    def floor(self, namespace: str) -> int:
        """The newest that all daemons know of a namespace that has schemas."""
        ...


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An entry was read in an older schema than all daemons know: it is to be kept in `level`. `entry`: as it is stored."""

    placement: Placement
    schemas: Schemas
    entry: Entry
    level: int
    views: Views


class Views:
    """What readers see. `floors` tells where values are stored."""

    def __init__(self, floors: Floors) -> None:
        self.floors = floors
        self._under_way: dict[tuple[str, str], float] = {}

    async def shown(self, space: Namespace, entry: Entry, maximum: int) -> Entry:
        """An entry, with its value in it, as a reader sees it who understands schemas up to `maximum`; 0: any.

        Raises FailedPrecondition (SCHEMA_TOO_NEW, SCHEMA_STEP_FAILED; metadata name the key), DataLoss.
        """
        schemas = space.schemas
        try:
            if schemas is None:
                if maximum and entry.schema_version > maximum:
                    raise schema.too_new(entry.schema_version, maximum, "the namespace has no steps between schemas")
                return entry
            known = schemas
            if schema.wanted_level(known, entry.schema_version, maximum) != entry.schema_version and _is_long(entry):
                return await space.authority().ports.compute(lambda: schema.shown(known, entry, maximum))
            return schema.shown(known, entry, maximum)
        except FailedPrecondition as exc:
            exc.metadata["key"] = entry.key
            raise

    async def lookups(self, space: Namespace, lookups: Sequence[Lookup], maximum: int) -> tuple[Lookup, ...]:
        """As `shown`, of what was looked up."""
        return tuple(
            [
                lookup if lookup.entry is None else lookup._replace(copy=await self.shown(space, lookup.entry, maximum))
                for lookup in lookups
            ]
        )

    # ---- values follow the floor

    def owed(self, space: Namespace, placement: Placement, lookups: Sequence[Lookup]) -> list[Upgrade]:
        """The upgrades that a read of these owes: each by one reader at a time."""
        schemas = space.schemas
        if schemas is None or not space.quiet:
            return []
        floor = min(self.floors.floor(space.name), schemas.version)
        return [
            Upgrade(placement, schemas, entry, floor, self)
            for lookup in lookups
            # A value in cold stays where it is; who writes it, or `migrate`, takes it along.
            if (entry := lookup.entry) is not None and lookup.tier is not Tier.COLD
            if entry.schema_version < floor
            and schemas.says(entry.schema_version)
            and schemas.knows(entry.schema_version)
            if self._begin(placement.ports, entry)
        ]

    def done(self, entry: Entry) -> None:
        """Its upgrade ended; somebody may owe another."""
        self._under_way.pop((entry.namespace, entry.key), None)

    def _begin(self, ports: Ports, entry: Entry) -> bool:
        now, under_way = ports.clock.monotonic(), self._under_way
        while under_way and now - next(iter(under_way.values())) >= UNDER_WAY_S:
            del under_way[next(iter(under_way))]
        at = (entry.namespace, entry.key)
        if at in under_way or len(under_way) >= UNDER_WAY_MAX:
            return False
        under_way[at] = now
        return True


async def upgrade(owed: Upgrade) -> None:
    """Have the authority keep an entry in the newer schema, under its version. Raises what the authority raises."""
    placement, entry = owed.placement, owed.entry
    try:
        relocate = await _relocated(owed)
        if len(relocate.value) > (placement.authority.capabilities.value_bytes_max or UNBOUNDED):
            return
        reach("upgrade.relocate.before")
        await placement.relocate(Write(namespace=entry.namespace, operations=(relocate,), value_bytes_max=UNBOUNDED))
        reach("upgrade.relocate.after")
    except VersionConflict:
        pass  # it was written, or upgraded by another: the copy that was read is outdated in both cases
    except DECISIONS:
        return  # a step that fails: who reads it is told, and `migrate` counts it; it is not tried again for a while
    # Caches would go on with the old form, and each read of it would owe this again.
    await placement.forget(entry.namespace, [entry.key])
    owed.views.done(entry)


async def _relocated(owed: Upgrade) -> Relocate:
    def work() -> Relocate:
        return schema.relocated(owed.schemas, owed.entry, owed.level)

    return await owed.placement.ports.compute(work) if _is_long(owed.entry) else work()


def _is_long(entry: Entry) -> bool:
    return len(entry.value) + len(entry.labels.get(SCHEMA, "")) > CONVERTED_BYTES
