"""A daemon dies at every place around a blob, two hundred times each, and starts again: nothing dangles, nothing is left over.

And the proof that these runs would notice: daemons with one promise broken each, of which every one is found out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.blob_records import BlobRecord, BlobState, Owner, Stored, blob_name
from sidecar.core.errors import DataLoss, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.ledger import blob_key
from sidecar.core.marks import Pointer
from sidecar.core.operations import Check, Put, Remove, Write
from sidecar.core.store import Outcome
from sidecar.tiers.blob_jobs import BlobCollection
from sidecar.tiers.blobs import BlobLedger
from sidecar.tiers.cold import Cold
from tests.unit.cold_crashes import Daemon, Failed, World, crash

CRASHES = 200
PLACES = (
    "blob.record.before",
    "blob.record.after",
    "files.link.before",
    "files.link.after",
    "blob.put.after",
    "large.commit.before",
    "large.commit.after",
    "archive.relocate.before",
    "archive.relocate.after",
    "wake.relocate.before",
    "wake.relocate.after",
    "collect.condemn.before",
    "collect.condemn.after",
    "collect.delete.before",
    "collect.delete.after",
    "collect.forget.after",
)


@pytest.mark.parametrize("place", PLACES)
async def test_a_daemon_that_dies_there_leaves_nothing_dangling_and_nothing_over(tmp_path: Path, place: str) -> None:
    counts: Counter[str] = Counter()
    for seed in range(CRASHES):
        counts += (await crash(seed, tmp_path / f"{seed}", place)).counts

    assert counts["crashed"] == CRASHES
    # What else went on, so that it was no crash of an idle daemon.
    assert min(counts["written"], counts["large.commit.before"]) > CRASHES
    assert min(counts["archived"], counts["blobs"]) > CRASHES // 10


async def test_a_run_is_its_seed_s(tmp_path: Path) -> None:
    first, second = [await crash(7, tmp_path / name, "collect.delete.before") for name in ("a", "b")]

    assert (first.counts, first.random.random()) == (second.counts, second.random.random())


# ---- daemons with one promise broken


class PointerBeforeBlob(Cold):
    """Objects of large values are put when the pointers to them are committed."""

    async def put(
        self, namespace: str, key: str, value: bytes, *, archived: bool, **fields: Any
    ) -> tuple[Pointer, Check]:
        if archived:
            return await super().put(namespace, key, value, archived=True, **fields)
        blob, check = await _recorded(self.blobs, Owner(namespace=namespace, key=key))
        vars(self).setdefault("late", {})[check.key] = (blob, value)
        return Pointer(blob, len(value), await self.digest(value), archived=False), check

    async def _checked(self, write: Write, checks: Sequence[Check], *, alone: bool) -> Outcome:
        outcome = await super()._checked(write, checks, alone=alone)
        for check in checks:
            await self.blobs._put(*vars(self)["late"].pop(check.key))
        return outcome


class BlobBeforeRecord(BlobLedger):
    """The object first, then what says whose it is."""

    async def store(
        self, content: bytes, owner: Owner, *, fence: Sequence[Check] = (), deadline: float | None = None
    ) -> Stored:
        blob = blob_name(await self.store_id(), self.ledger.now(), self._chance())
        await self._put(blob, content)
        return Stored(*await _recorded(self, owner, blob))


async def _recorded(blobs: BlobLedger, owner: Owner, blob: str = "") -> tuple[str, Check]:
    blob = blob or blob_name(await blobs.store_id(), blobs.ledger.now(), blobs._chance())
    record = Put(key=blob_key(blob), value=BlobRecord(owner).encode(), expected_version=0)
    outcome = await blobs.ledger.commit([record])
    return blob, Check(key=record.key, expected_version=outcome.version, ledger=True)


class NoCheck(Cold):
    """Pointers are committed whatever became of the record."""

    async def put(self, *args: Any, **fields: Any) -> tuple[Pointer, Check]:
        pointer, check = await super().put(*args, **fields)
        return pointer, replace(check, key="i/never", expected_version=0)


class LooksOnce(BlobCollection):
    """What was not named before its record was condemned is deleted."""

    async def _collect(self, blob: str, version: int, record: BlobRecord, fence: tuple[Check, ...]) -> bool:
        key = blob_key(blob)
        condemned = replace(record, state=BlobState.CONDEMNED)
        try:
            if record.state is BlobState.KEPT:
                version = await self._change(Put(key=key, value=condemned.encode()), version, fence)
            await self._blobs.delete(blob)
            await self._change(Remove(key=key), version, fence)
        except VersionConflict:
            return False
        return True


class RecordBeforeBlob(BlobCollection):
    """The record goes first, then the object."""

    async def _collect(self, blob: str, version: int, record: BlobRecord, fence: tuple[Check, ...]) -> bool:
        try:
            await self._change(Remove(key=blob_key(blob)), version, fence)
        except VersionConflict:
            return False
        reach("collect.forget.after")
        await self._blobs.delete(blob)
        return True


def _wrong(wrong: type) -> Any:
    def made(world: World) -> Daemon:
        daemon = Daemon(world)
        part: Any = daemon.collection if issubclass(wrong, BlobCollection) else daemon.cold
        if issubclass(wrong, BlobLedger):
            part = daemon.cold.blobs
        part.__class__ = wrong
        return daemon

    return made


@pytest.mark.parametrize("wrong", [PointerBeforeBlob, BlobBeforeRecord, NoCheck, LooksOnce, RecordBeforeBlob])
async def test_a_wrong_daemon_is_found_out(tmp_path: Path, wrong: type) -> None:
    found = False
    for seed in range(CRASHES):
        for place in ("files.link.after", "large.commit.after", "collect.forget.after"):
            if not found:
                try:
                    await crash(seed, tmp_path / f"{seed}{place}", place, _wrong(wrong))
                except (Failed, DataLoss):
                    found = True

    assert found
