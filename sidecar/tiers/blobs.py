"""The blobs of one authority: large objects in the cold tier, each with a record in the authority's ledger.

Intent before blob, blob before pointer:

1. the record is committed, and says whose the blob will be;
2. the object is put, under a name that was never used;
3. whoever points to it commits the pointer with `Stored.check`, which holds only while nobody has condemned the record.

So whatever a crash leaves has a record, and `tiers/blob_jobs.py` collects what nobody points to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sidecar.core.blob_records import BlobRecord, Owner, Stored, blob_name, store_id
from sidecar.core.blobs import Blobs
from sidecar.core.errors import ColdUnavailable, OutcomeUnknown, StoreUnavailable, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.ledger import SECRET, blob_key
from sidecar.core.modes import Tier
from sidecar.core.operations import Check, Put
from sidecar.core.ports import Ports
from sidecar.core.sealing import Sealer
from sidecar.tiers.guard import Guard
from sidecar.tiers.ledger import Ledger
from sidecar.tiers.room import Room

__all__ = ["BlobLedger", "Owner", "Stored", "blob_ledger", "secret_of"]

BYTES_UNDER_WAY_MAX = 256 << 20
"""Contents that are on their way to the cold tier or from it, together."""
CALLS_MAX = 64
"""Calls that the cold tier has at once."""
SLOW_S = 90.0
"""An answer that takes longer counts as a failure. A large object may be on its way for a minute."""
PROBE_BLOB = "state-sidecar-probe"
"""A name that is asked for to find out whether the cold tier is back; nobody has it."""
SLOW_MS = 5 * 60_000
"""A put that took longer may have been overtaken by a collection, whose grace is twice as long."""
UNKNOWN_BYTES = 1 << 20
"""What is reckoned for a content of which nobody said how large it is."""


async def secret_of(ledger: Ledger, ports: Ports) -> bytes:
    """The random bytes of a ledger, made by whoever asks first. Raises what the authority raises."""
    [row] = await ledger.get([SECRET])
    if row is None:
        made = hashlib.sha256(f"{ports.token()} {ports.token()}".encode()).digest()
        try:
            await ledger.commit([Put(key=SECRET, value=made, expected_version=0)])
        except (VersionConflict, OutcomeUnknown):
            pass  # another was faster, or it was us: what is there now is the secret
        else:
            return made
        [row] = await ledger.get([SECRET])
    if row is None:
        raise StoreUnavailable("the authority has not kept the ledger's secret")
    return row.value


def blob_ledger(ledger: Ledger, cold: Blobs, ports: Ports) -> BlobLedger:
    """The blobs of an authority, with a guard before the cold tier."""

    async def probe() -> None:
        await cold.get(PROBE_BLOB)

    guard = Guard(Tier.COLD, ports=ports, probe=probe, slow_s=SLOW_S)
    guard.calls_max = CALLS_MAX
    return BlobLedger(ledger, cold, guard, ports)


class BlobLedger:
    """Stores and loads blobs. `ledger` is behind the authority's guard; `guard` is that of the cold tier."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: Blobs,
        guard: Guard,
        ports: Ports,
        *,
        bytes_max: int = BYTES_UNDER_WAY_MAX,
    ) -> None:
        self.ledger = ledger
        self.backend = blobs
        self.guard = guard
        self.room = Room(bytes_max, ports)
        self.sealer: Sealer | None = None
        """Set before anything is stored: what goes to cold is sealed."""
        self._ports = ports
        self._store_id = ""

    async def store_id(self) -> str:
        """What begins the names of this ledger's blobs. Raises what the authority raises."""
        if not self._store_id:
            self._store_id = store_id(await secret_of(self.ledger, self._ports))
        return self._store_id

    async def known_store_id(self) -> str:
        """The same, if there is a name yet; else empty, and none is made."""
        if not self._store_id:
            [row] = await self.ledger.get([SECRET])
            self._store_id = "" if row is None else store_id(row.value)
        return self._store_id

    async def sealed(self, namespace: str, content: bytes, at: bytes) -> bytes:
        """A content as it is to be stored: bound to its place, or as it is. Raises StoreUnavailable without a data key."""
        return content if self.sealer is None else await self.sealer.seal(namespace, content, at)

    async def opened(self, stored: bytes, at: bytes, *, namespace: str, key: str) -> bytes:
        """Inverse of `sealed`. Raises DataLoss for anything else, FailedPrecondition (ENCRYPTION_KEY_MISSING)."""
        if self.sealer is None:
            return stored
        return await self.sealer.open(stored, at, namespace=namespace, key=key)

    async def store(
        self, content: bytes, owner: Owner, *, fence: Sequence[Check] = (), deadline: float | None = None
    ) -> Stored:
        """Put a content into cold under a new name. Until a pointer to it is committed, it is nobody's.

        `fence` is carried by the record's write, for jobs. Raises ColdUnavailable when the cold tier is away, and what the
        authority raises, other than OutcomeUnknown: in either case nothing was done that anybody can see.
        """
        if not self.guard.passes:
            raise ColdUnavailable("the cold tier is away, and not asked for now")
        begun = self.ledger.now()
        blob = blob_name(await self.store_id(), begun, self._chance())
        key = blob_key(blob)
        record = Put(key=key, value=BlobRecord(owner).encode(), expected_version=0)
        reach("blob.record.before")
        try:
            outcome = await self.ledger.commit([record, *fence], deadline=deadline)
        except OutcomeUnknown as exc:
            raise StoreUnavailable(f"no blob was stored: {exc.message}") from exc
        reach("blob.record.after")
        async with self.room.taken(len(content)):
            await self._put(blob, content)
        reach("blob.put.after")
        check = Check(key=key, expected_version=outcome.version, ledger=True)
        if self.ledger.now() - begun > SLOW_MS:
            await self._still_kept(blob, check)
        return Stored(blob, check)

    async def _still_kept(self, blob: str, check: Check) -> None:
        """Undo a put that may have come after its record was collected, or nothing would ever name the object."""
        [row] = await self.ledger.get([check.key])
        if row is None or row.version != check.expected_version:
            await self.delete(blob)
            raise ColdUnavailable("storing the value took too long, and it was given up")

    async def _put(self, blob: str, content: bytes) -> None:
        try:
            made = await self.guard.call("put", lambda: self.backend.put(blob, content))
        except (StoreUnavailable, OutcomeUnknown) as exc:
            raise ColdUnavailable(f"the value can't be stored in the cold tier: {exc.message}") from exc
        if not made:
            raise ColdUnavailable("the cold tier has an object of that name already")

    async def load(self, blob: str, *, size: int = UNKNOWN_BYTES) -> bytes | None:
        """A blob's content; None: it is gone. `size`: about how large it is.

        Raises DataLoss (BLOB_CORRUPT) if it is not what was put, ColdUnavailable when the cold tier is away.
        """
        async with self.room.taken(size):
            try:
                content = await self.guard.call("get", lambda: self.backend.get(blob), again=True)
            except (StoreUnavailable, OutcomeUnknown) as exc:
                raise ColdUnavailable(f"the cold tier can't be read: {exc.message}") from exc
        self.guard.stats.looked_up(content is not None, 1)
        return content

    async def delete(self, blob: str) -> None:
        """Remove an object that nobody can point to any more. Raises ColdUnavailable; then it may be gone or not."""
        try:
            await self.guard.call("delete", lambda: self.backend.delete(blob), again=True)
        except (StoreUnavailable, OutcomeUnknown) as exc:
            raise ColdUnavailable(f"the blob can't be deleted: {exc.message}") from exc

    def _chance(self) -> str:
        return hashlib.sha256(self._ports.token().encode()).hexdigest()
