"""Jobs that collect blobs which nobody points to.

A blob is given up in three steps, each a commit or an effect that may be repeated:

1. its record is condemned, guarded by the record's version: no pointer to it can be committed from now on, because every
   such write checks the version that the record had before;
2. its owner is looked at once more: a pointer that was committed before the first step is seen now, and the blob kept;
3. the object is deleted, then the record.

A crash between any two leaves a condemned record, with which the next pass goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from sidecar.core.blob_records import BlobRecord, BlobState, Owner, named_time
from sidecar.core.cleaning import Step
from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import ColdUnavailable, DataLoss, OutcomeUnknown, StoreUnavailable, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.ledger import BLOBS, CONTENTS, blob_key, hold_key
from sidecar.core.limits import DAY_MS
from sidecar.core.operations import Check, Put, Remove
from sidecar.tiers.blobs import BlobLedger
from sidecar.tiers.cold import is_away, pointer_at

GRACE_MS = 10 * 60_000
"""How long after its record a blob is left alone: who stored it may be about to commit the pointer."""
OWNERS_MAX = 8
"""Owners that are looked at together: their rows may be large."""

NOBODY = Owner()
"""The owner of a blob whose record was lost."""

Read = Callable[[str, Sequence[str]], Awaitable["list[Copy | None]"]]


class BlobCollection:
    """The job that deletes blobs which nobody points to. `read` reads rows of the authority as they are, strongly."""

    name = "blobs"

    def __init__(self, blobs: BlobLedger, read: Read, *, grace_ms: int = GRACE_MS) -> None:
        self._blobs = blobs
        self._ledger = blobs.ledger
        self._read = read
        self._grace_ms = grace_ms

    async def step(self, cursor: str, *, limit: int, fence: tuple[Check, ...], dry_run: bool) -> Step:
        """Look at some records; delete the blobs that are given up."""
        page = await self._ledger.scan(BLOBS, after=cursor or None, limit=limit)
        due = [found for row in page.entries if (found := self._due(row)) is not None]
        counts = {"blobs": 0, "kept": 0, "corrupt": sum(found is None for _, _, found in due)}
        candidates = [(blob, row, record) for blob, row, record in due if record is not None]
        for begin in range(0, len(candidates), OWNERS_MAX):
            some = candidates[begin : begin + OWNERS_MAX]
            named = await self._named([(blob, record) for blob, _, record in some])
            for blob, row, record in some:
                if blob in named:
                    if record.state is BlobState.KEPT:
                        continue
                    counts["kept"] += 1
                if dry_run or await self._collect(blob, row.version, record, fence):
                    counts["blobs"] += blob not in named
        return Step(cursor=page.entries[-1].key if page.more else "", counts={k: n for k, n in counts.items() if n})

    def _due(self, row: Entry) -> tuple[str, Entry, BlobRecord | None] | None:
        """A record that is to be judged; without its content if that does not verify."""
        blob = row.key.removeprefix(BLOBS)
        if "+" in blob:
            return None  # a checkpoint's claim on the blob before it
        try:
            record = BlobRecord.decode(row.value)
        except DataLoss:
            return blob, row, None
        young = row.update_time + self._grace_ms > self._ledger.now()
        return None if young and record.state is BlobState.KEPT else (blob, row, record)

    async def _named(self, records: Sequence[tuple[str, BlobRecord]]) -> set[str]:
        """Those of some blobs that somebody points to."""
        named: set[str] = set()
        rows: dict[tuple[str, str], Copy | None] = {}
        keys: dict[str, dict[str, None]] = {}
        for _, record in records:
            if record.owner.key:
                keys.setdefault(record.owner.namespace, {})[record.owner.key] = None
        for namespace, wanted in keys.items():
            found = await self._read(namespace, list(wanted))
            rows |= {(namespace, key): copy for key, copy in zip(wanted, found, strict=True)}
        for blob, record in records:
            owner = record.owner
            pointed = _points(rows.get((owner.namespace, owner.key)), blob) or await self._in_content(blob, owner)
            if pointed or await self._held(blob):
                named.add(blob)
        return named

    async def _in_content(self, blob: str, owner: Owner) -> bool:
        if not owner.content:
            return False
        # The row's form is its own business: the name is in it or not.
        [row] = await self._ledger.get([CONTENTS + owner.content])
        return row is not None and blob.encode() in row.value

    async def _held(self, blob: str) -> bool:
        page = await self._ledger.scan(hold_key(blob, ""), limit=1, keys_only=True)
        return bool(page.entries)

    async def _collect(self, blob: str, version: int, record: BlobRecord, fence: tuple[Check, ...]) -> bool:
        """Give a blob up, unless it is named after all; whether it is gone."""
        key = blob_key(blob)
        try:
            if record.state is BlobState.KEPT:
                reach("collect.condemn.before")
                condemned = Put(key=key, value=BlobRecord(record.owner, BlobState.CONDEMNED).encode())
                version = await self._change(condemned, version, fence)
                reach("collect.condemn.after")
            if await self._named([(blob, record)]):
                await self._change(Put(key=key, value=BlobRecord(record.owner).encode()), version, fence)
                return False
            reach("collect.delete.before")
            await self._blobs.delete(blob)
            reach("collect.delete.after")
            await self._change(Remove(key=key), version, fence)
            reach("collect.forget.after")
        except VersionConflict as exc:
            if exc.key != key:
                raise  # the fence: the job is another's by now
            return False
        return True

    async def _change(self, operation: Put | Remove, version: int, fence: tuple[Check, ...]) -> int:
        guarded = replace(operation, expected_version=version)
        return (await self._ledger.commit([guarded, *fence])).version


class OrphanSearch:
    """The job that finds blobs without a record, which an authority that was put back from a copy leaves behind.

    It only gives them a record, condemned: the collection does the rest, and looks at nothing twice.
    """

    name = "orphans"

    def __init__(self, blobs: BlobLedger, *, age_ms: int = DAY_MS) -> None:
        self._blobs = blobs
        self._ledger = blobs.ledger
        self._age_ms = age_ms
        self._names: AsyncIterator[str] | None = None
        self._last = ""

    async def step(self, cursor: str, *, limit: int, fence: tuple[Check, ...], dry_run: bool) -> Step:
        """Look at some names; condemn those that nobody knows."""
        names = await self._page(cursor, limit)
        oldest = self._ledger.now() - self._age_ms
        old = [name for name in names if (made := named_time(name)) is not None and made < oldest]
        rows = await self._ledger.get([blob_key(name) for name in old]) if old else []
        unknown = [name for name, row in zip(old, rows, strict=True) if row is None]
        for name in unknown if not dry_run else ():
            await self._condemn(name, fence)
        counts = {"orphans": len(unknown)} if unknown else {}
        return Step(cursor=names[-1] if len(names) == limit else "", counts=counts)

    async def _condemn(self, name: str, fence: tuple[Check, ...]) -> None:
        record = BlobRecord(NOBODY, BlobState.CONDEMNED)
        key = blob_key(name)
        try:
            await self._ledger.commit([Put(key=key, value=record.encode(), expected_version=0), *fence])
        except VersionConflict as exc:
            if exc.key != key:
                raise

    async def _page(self, cursor: str, limit: int) -> list[str]:
        """The names after `cursor`: where the last step ended, if it was that one, the listing goes on."""
        if self._names is None or not cursor or cursor != self._last:
            store = await self._blobs.known_store_id()
            if not store:
                return []  # nothing was ever kept
            self._names = self._blobs.backend.names(f"{store}/")
        listing, self._names = self._names, None
        names: list[str] = []

        async def listed() -> None:
            async for name in listing:
                if name > cursor:
                    names.append(name)
                if len(names) == limit:
                    break

        try:
            await self._blobs.guard.call("list", listed)
        except (StoreUnavailable, OutcomeUnknown) as exc:
            raise ColdUnavailable(f"the cold tier can't be listed: {exc.message}") from exc
        self._names, self._last = listing, names[-1] if names else ""
        return names


def _points(copy: Copy | None, blob: str) -> bool:
    if not isinstance(copy, Entry) or not is_away(copy):
        return False
    try:
        return pointer_at(copy).blob == blob
    except DataLoss:
        return True  # where it points to can't be told: nothing of it is deleted
