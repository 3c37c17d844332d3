"""Which schema all daemons know: each says in a row of the ledger what it knows, and looks at the others' rows.

Values are stored in no newer schema than that, the floor, so a daemon that is replaced last can still read and write them.
A row ends by itself, some time after its daemon did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sidecar.core.entry import Entry
from sidecar.core.errors import SidecarError
from sidecar.core.failpoints import reach
from sidecar.core.ledger import SCHEMAS
from sidecar.core.operations import Forget, Put
from sidecar.core.schema import Schemas
from sidecar.engine.namespaces import Namespaces
from sidecar.tiers.placement import Placement

LOOK_S = 2.0
"""From one look at the others to the next."""
RENEW_S = 10.0
TTL_S = 30.0
"""How long a daemon counts that says nothing any more."""
PAGE = 1000


class Fleet:
    """The daemons that share the authorities of namespaces with schemas."""

    def __init__(self, schemas: Mapping[str, Schemas], namespaces: Namespaces) -> None:
        self._bases = {name: known.base for name, known in schemas.items()}
        self._members: dict[int, _Member] = {}
        for name, known in schemas.items():
            placement = namespaces.of(name).placement
            # Where rows can't be relocated, every value stays in the schema that it was written in.
            if placement is not None and placement.authority.capabilities.quiet:
                member = self._members.setdefault(id(placement), _Member(placement))
                member.add(name, known)

    @property
    def alone(self) -> bool:
        """Whether there is nothing to look at, because no namespace has a schema that is shared."""
        return not self._members

    def floor(self, namespace: str) -> int:
        """The newest schema that all daemons know of a namespace that has schemas; its base, until that is known."""
        for member in self._members.values():
            if (floor := member.floors.get(namespace)) is not None:
                return floor
        return self._bases[namespace]

    async def look(self) -> bool:
        """Say what we know, when it is time to, and see what the others do. Whether more is left to do now: no.

        Raises what the authority raises; floors are then as they were.
        """
        failure: SidecarError | None = None
        for member in self._members.values():
            try:
                await member.look()
            except SidecarError as exc:
                failure = exc
        if failure is not None:
            raise failure
        return False

    async def leave(self) -> None:
        """Count no longer: nothing is stored here any more."""
        for member in self._members.values():
            await member.leave()


class _Member:
    """This daemon, in one authority's ledger."""

    def __init__(self, placement: Placement) -> None:
        self.floors: dict[str, int] = {}
        self._ledger = placement.ledger
        self._key = SCHEMAS + placement.ports.token()
        self._monotonic = placement.ports.clock.monotonic
        self._known: dict[str, Schemas] = {}
        self._renewed_s: float | None = None
        self._missing = False
        self._holds_until_s = 0.0

    def add(self, namespace: str, known: Schemas) -> None:
        """Another namespace whose schemas we know."""
        self._known[namespace] = known

    async def look(self) -> None:
        """One round."""
        now_s = self._monotonic()
        late = self._renewed_s is not None and now_s - self._renewed_s >= TTL_S
        if late or self._missing:
            # Others' rows may be gone as ours was, for an authority that was away: they get the time to come back.
            self._holds_until_s = now_s + TTL_S
        if self._renewed_s is None or self._missing or now_s - self._renewed_s >= RENEW_S:
            await self._renew(now_s)
        rows = await self._rows()
        self._missing = self._key not in rows
        rises = not self._missing and now_s >= self._holds_until_s
        others = [_versions(row) for key, row in rows.items() if key != self._key]
        for name, known in self._known.items():
            versions = [known.version, *(told.get(name, known.version) for told in others if told is not None)]
            seen = known.base if None in others else max(known.base, min(versions))
            before = self.floors.get(name, known.base)
            self.floors[name] = seen if rises else min(seen, before)

    async def leave(self) -> None:
        if self._renewed_s is not None:
            await self._ledger.commit([Forget(key=self._key)])
            reach("fleet.leave.after")

    async def _renew(self, now_s: float) -> None:
        told = {name: known.version for name, known in self._known.items()}
        row = Put(key=self._key, value=json.dumps(told).encode(), ttl_ms=int(TTL_S * 1000))
        reach("fleet.row.before")
        await self._ledger.commit([row])
        reach("fleet.row.after")
        self._renewed_s, self._missing = now_s, False

    async def _rows(self) -> dict[str, Entry]:
        rows: dict[str, Entry] = {}
        after: str | None = None
        while True:
            page = await self._ledger.scan(SCHEMAS, after=after, limit=PAGE)
            rows.update((row.key, row) for row in page.entries)
            if not page.more:
                return rows
            after = page.entries[-1].key


def _versions(row: Entry) -> Mapping[str, int] | None:
    """What a daemon knows; None: nobody can tell, so nothing beyond the base is taken for known."""
    try:
        told: Any = json.loads(row.value)
    except ValueError:
        return None
    if not isinstance(told, dict) or not all(type(version) is int for version in told.values()):
        return None
    return told
