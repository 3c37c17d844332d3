"""Daemons that know different schemas of one namespace, over one store."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sidecar.core import marks
from sidecar.core.blobs import Blobs
from sidecar.core.entry import Entry
from sidecar.core.limits import Limits
from sidecar.core.modes import Tier
from sidecar.core.operations import Put, Write
from sidecar.core.policy import PolicyTable
from sidecar.core.schema import Schemas, Step, shown
from sidecar.core.schema_steps import read
from sidecar.core.store import Store
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.schemas.fleet import Fleet
from sidecar.engine.schemas.migration import Migrations, Progress
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.support.ports import ManualPorts

SPACE = "chat"
OPERATIONS = (
    [{"rename": {"from": "/name", "to": "/full_name"}}, {"default": {"path": "/two", "value": 0}}],
    [{"move": {"from": "/full_name", "to": "/person/name"}}, {"default": {"path": "/three", "value": 0}}],
)


def step(declared: Any) -> Step:
    up, problems = read(declared)
    assert problems == []
    return Step(up, up.back())


STEPS = tuple(step(declared) for declared in OPERATIONS)
"""From 1 to 2, and to 3."""


class Sidecar:
    """One daemon's schemas. `version`: what it knows, from `base`."""

    def __init__(
        self,
        store: Store,
        clock: ManualClock,
        version: int,
        *,
        base: int = 1,
        steps: tuple[Step, ...] | None = None,
        cold: Blobs | None = None,
        large_bytes: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self.known = Schemas(base, STEPS[base - 1 : version - 1] if steps is None else steps)
        self.ports = ManualPorts(clock)
        self.placement = Placement(store, tier=Tier.WARM, ports=self.ports, cold=cold, large_bytes=large_bytes)
        namespaces = Namespaces(PolicyTable(), Limits(), hot=None, warm=self.placement)
        self.fleet = Fleet({SPACE: self.known}, namespaces)
        self.migrations = Migrations(namespaces, {SPACE: self.known}, self.fleet)

    @property
    def floor(self) -> int:
        return self.fleet.floor(SPACE)

    async def migrate(self, *, target: int = 0, dry_run: bool = False) -> Progress:
        """To its end."""
        told = [progress async for progress in self.migrations.of(SPACE, target=target, dry_run=dry_run).run()]
        assert [progress.state.ended for progress in told] == [False] * (len(told) - 1) + [True]
        return told[-1]

    async def put(self, key: str, document: Any, schema: int, *, rests: str = "", **fields: Any) -> int:
        """A row as it is stored; its version."""
        value = document if isinstance(document, bytes) else json.dumps(document).encode()
        given = {marks.SCHEMA: rests} if rests else {}
        put = Put(key=key, value=value, schema_version=schema, marks=given, **fields)
        write = Write(namespace=SPACE, operations=(put,), value_bytes_max=1 << 30)
        return (await self.placement.commit(write)).version

    async def row(self, key: str) -> Entry:
        """As it is stored."""
        [row] = await self.placement.rows(SPACE, [key])
        assert isinstance(row, Entry)
        return row

    async def document(self, key: str, maximum: int = 0) -> Any:
        """What a reader sees."""
        [entry] = await self.placement.resolve(SPACE, [await self.row(key)])
        return json.loads(shown(self.known, entry, maximum).value)

    async def schemas(self) -> list[int]:
        """The schema of each row, in key order."""
        page = await self.placement.scan(
            SPACE, "", after=None, limit=100_000, bytes_max=1 << 30, keys_only=True, deadline=None
        )
        return [entry.schema_version for entry in page.entries]
