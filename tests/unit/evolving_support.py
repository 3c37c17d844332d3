"""Daemons of different versions over one store: each knows the conversation's schemas up to its own (`support/evolving.py`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sidecar.core.blobs import Blobs
from sidecar.core.cache import Cache
from sidecar.core.entry import Entry
from sidecar.core.limits import Limits
from sidecar.core.modes import Tier
from sidecar.core.operations import Append, Change, MergePatch, Operation, Put, Write, WriteId
from sidecar.core.policy import OnOutage, Policy, PolicyTable
from sidecar.core.schema import Schemas
from sidecar.core.store import Store
from sidecar.engine import followups
from sidecar.engine.checkpoints import Checkpoints
from sidecar.engine.followups import Followup
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.reads import Reads
from sidecar.engine.replies import Read, Written
from sidecar.engine.schemas.views import Upgrade, Views
from sidecar.engine.schemas.writing import SchemaWriting
from sidecar.engine.writes import Writes
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.support.evolving import schemas
from tests.support.ports import ManualPorts

SPACE, PLAIN = "chat", "plain"
"""A namespace with schemas, and one without."""
JSON = "application/json"


class FakeFleet:
    """Says which schema all daemons know, as a test has it."""

    def __init__(self, floor: int = 1) -> None:
        self.at = floor

    def floor(self, namespace: str) -> int:
        assert namespace == SPACE
        return self.at


class Daemon:
    """One daemon that knows schemas up to `version`; all that share a `fleet` see the same floor."""

    def __init__(
        self,
        store: Store,
        clock: ManualClock,
        version: int,
        fleet: FakeFleet,
        *,
        known: Schemas | None = None,
        policy: Policy = Policy(on_outage=OnOutage.REJECT),  # noqa: B008  # frozen
        cache: Cache | None = None,
        cold: Blobs | None = None,
        large_bytes: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self.store = store
        self.fleet = fleet
        self.placement = Placement(
            store, tier=Tier.WARM, ports=ManualPorts(clock), cache=cache, cold=cold, large_bytes=large_bytes
        )
        limits = Limits(page_bytes_max=4_000)
        has = {SPACE: schemas(version) if known is None else known}
        policies = PolicyTable({SPACE: policy, PLAIN: policy})
        self.namespaces = Namespaces(policies, limits, hot=None, warm=self.placement, schemas=has)
        self.views = Views(fleet)
        self.reads = Reads(self.namespaces, limits, views=self.views)
        self.writes = Writes(self.namespaces, limits, schemas=SchemaWriting(fleet))
        self.checkpoints = Checkpoints(self.namespaces, limits, self.writes, self.views)
        self.owed: list[Followup] = []

    # ---- writes

    async def write(self, *operations: Operation, request_id: str = "", namespace: str = SPACE) -> Written:
        request = WriteId(request_id=request_id, fingerprint=repr(operations).encode()) if request_id else None
        if len(operations) > 1:
            return await self.writes.transact(namespace, operations, request=request, deadline=None)
        return await self.writes.write(namespace, operations, request=request, needs_authority=True)

    async def set(self, document: Any, schema: int, *, key: str = "key", request_id: str = "", **fields: Any) -> int:
        put = Put(key=key, value=dumped(document), schema_version=schema, **{"content_type": JSON} | fields)
        return (await self.write(put, request_id=request_id)).version

    async def append(
        self, item: Any, schema: int = 0, *, key: str = "key", request_id: str = "", **fields: Any
    ) -> Written:
        change = Change(key=key, change=Append(items=(item,)), schema_version=schema, **fields)
        return await self.write(change, request_id=request_id)

    async def patch(
        self, patch: Any, schema: int = 0, *, key: str = "key", request_id: str = "", **fields: Any
    ) -> Written:
        change = Change(key=key, change=MergePatch(patch=patch), schema_version=schema, **fields)
        return await self.write(change, request_id=request_id)

    # ---- reads

    async def read(self, *keys: str, maximum: int = 0, strong: bool = False, namespace: str = SPACE) -> Read:
        read = await self.reads.get(
            namespace, keys, floors=[0] * len(keys), strong=strong, deadline=None, max_schema_version=maximum
        )
        self.owed += read.followups
        return read

    async def entry(self, key: str = "key", *, maximum: int = 0, strong: bool = False) -> Entry:
        [lookup] = (await self.read(key, maximum=maximum, strong=strong)).lookups
        assert lookup.entry is not None
        return lookup.entry

    async def document(self, maximum: int = 0, *, key: str = "key") -> Any:
        return json.loads((await self.entry(key, maximum=maximum)).value)

    @property
    def upgrades(self) -> list[Upgrade]:
        return [followup for followup in self.owed if isinstance(followup, Upgrade)]

    async def follow_up(self) -> None:
        """What the reads so far owe."""
        owed, self.owed = self.owed, []
        await followups.run(owed)

    # ---- the authority

    async def row(self, key: str = "key") -> Entry:
        """As it is stored."""
        [row] = await self.store.get(SPACE, [key])
        assert isinstance(row, Entry)
        return row

    async def store_row(self, document: Any, schema: int, *, key: str = "key", **fields: Any) -> int:
        """A row that some daemon stored."""
        put = Put(key=key, value=dumped(document), schema_version=schema, **{"content_type": JSON} | fields)
        return (await self.store.commit(Write(namespace=SPACE, operations=(put,), value_bytes_max=1 << 30))).version


def dumped(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()
