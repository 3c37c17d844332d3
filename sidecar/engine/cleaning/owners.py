"""Who does a background job: one row of the ledger a job, taken over and renewed by compare-and-set.

The row's version is the fence: every write of the job names it, so whoever was stopped for longer than its lease, and has
lost the job to another, changes nothing any more. The time in it only says when it is polite to take it over.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from sidecar.core import ledger as keys
from sidecar.core.entry import Entry
from sidecar.core.errors import VersionConflict
from sidecar.core.operations import Check, Put
from sidecar.tiers.ledger import Ledger

LEASE_MS = 30_000


def owner_key(job: str) -> str:
    """The row of a job's owner."""
    return keys.OWNERS + job


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """`until`: nobody else takes it over before. `cursor`: where the pass is; empty: at its beginning.

    `pass_time`: when the latest whole pass ended; 0: none did. Instants are the authority's.
    """

    owner: str = ""
    until: int = 0
    cursor: str = ""
    pass_time: int = 0

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, row: Entry | None) -> Owner:
        """What a row says. One that can't be read is nobody's: whoever takes it over is safe by its version."""
        try:
            return cls() if row is None else cls(**json.loads(row.value))
        except (ValueError, TypeError):
            return cls()


class Turn:
    """A job that is ours, as far as we know. `renew`, `finish` and `release` raise VersionConflict if it was lost."""

    def __init__(self, ledger: Ledger, job: str, owner: Owner, version: int, lease_ms: int = LEASE_MS) -> None:
        self.owner = owner
        self.cursor = owner.cursor
        self._ledger = ledger
        self._key = owner_key(job)
        self._version = version
        self._lease_ms = lease_ms

    @property
    def fence(self) -> Check:
        """What every write of the job carries."""
        return Check(key=self._key, expected_version=self._version, ledger=True)

    @property
    def worn(self) -> bool:
        """Whether a third of the lease is gone, or more."""
        return self.owner.until - self._ledger.now() < self._lease_ms * 2 // 3

    def lost_by(self, conflict: VersionConflict) -> bool:
        """Whether a conflict says that the job is another's now."""
        return (conflict.key, conflict.expected_version) == (self._key, self._version)

    async def renew(self, cursor: str) -> None:
        """Ours for another lease, with the pass at `cursor`."""
        await self._store(replace(self.owner, until=self._ledger.now() + self._lease_ms, cursor=cursor))

    async def finish(self) -> None:
        """The pass is at its end, and the job is free."""
        await self._store(Owner(pass_time=self._ledger.now()))

    async def release(self) -> None:
        """Free for others, who go on at the cursor."""
        await self._store(Owner(cursor=self.cursor, pass_time=self.owner.pass_time))

    async def _store(self, owner: Owner) -> None:
        put = Put(key=self._key, value=owner.encode(), expected_version=self._version)
        self._version = (await self._ledger.commit([put])).version
        self.owner, self.cursor = owner, owner.cursor


class Claim:
    """A job's row as it was read."""

    def __init__(self, ledger: Ledger, job: str, row: Entry | None) -> None:
        self.owner = Owner.decode(row)
        self._ledger = ledger
        self._job = job
        self._version = 0 if row is None else row.version

    @property
    def held(self) -> bool:
        """Whether it is somebody's. More than two leases ahead, it was written by a clock that was wrong."""
        return 0 < self.owner.until - self._ledger.now() <= 2 * LEASE_MS

    def rests(self, interval_ms: int) -> bool:
        """Whether a whole pass ended less than an interval ago."""
        return not self.owner.cursor and 0 <= self._ledger.now() - self.owner.pass_time < interval_ms

    async def take(self, name: str, lease_ms: int = LEASE_MS) -> Turn | None:
        """Take the job over as `name`; None: another was faster. `lease_ms`: at most `LEASE_MS`."""
        owner = replace(self.owner, owner=name, until=self._ledger.now() + lease_ms)
        put = Put(key=owner_key(self._job), value=owner.encode(), expected_version=self._version)
        try:
            outcome = await self._ledger.commit([put])
        except VersionConflict:
            return None
        return Turn(self._ledger, self._job, owner, outcome.version, lease_ms)


async def look(ledger: Ledger, job: str) -> Claim:
    """Who does a job now."""
    (row,) = await ledger.get([owner_key(job)])
    return Claim(ledger, job, row)
