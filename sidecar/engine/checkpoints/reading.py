"""Reading a checkpoint with its entries. What waits to be stored is read from where it waits."""

from __future__ import annotations

from sidecar.core import ledger as names
from sidecar.core import marks
from sidecar.core.checkpoints import Record, corrupt, entries_of, unseal
from sidecar.core.entry import Entry
from sidecar.core.errors import ColdUnavailable, DataLoss
from sidecar.engine.checkpoints.home import Home
from sidecar.engine.checkpoints.records import not_found, rows_of
from sidecar.engine.checkpoints.replies import Snapshot
from sidecar.tiers.cold import is_away

_TRIES = 3


async def read(home: Home, namespace: str, checkpoint: str, *, deadline: float | None = None) -> Snapshot:
    """A checkpoint with its entries. Raises CheckpointNotFound, DataLoss (CHECKPOINT_CORRUPT), ColdUnavailable."""
    found = await home.records.get(namespace, checkpoint, deadline=deadline)
    for _ in range(_TRIES):
        try:
            entries = await _entries(home, found.record, deadline)
            return Snapshot(record=await home.records.shown(found.record), entries=entries)
        except DataLoss:
            again = await home.records.find(namespace, checkpoint, deadline=deadline)
            if again is None:
                raise not_found(checkpoint) from None
            if again.version == found.version:
                raise  # as long as it was there, so was all that it needs
            found = again
    raise corrupt("its record changes all the time")


async def _entries(home: Home, record: Record, deadline: float | None) -> tuple[Entry, ...]:
    if record.content:
        stored = await home.contents.load(record.namespace, record.content, deadline=deadline)
        return entries_of(record.namespace, stored)
    key = names.waiting_key(record.namespace, record.checkpoint_id)
    [row] = await rows_of(home.ledger, [key], deadline=deadline)
    if row is None:
        raise corrupt("its document is gone")
    return await waiting_entries(home, record.namespace, row)


async def waiting_entries(home: Home, namespace: str, row: Entry) -> tuple[Entry, ...]:
    """The entries of a checkpoint that waits, with their values. Raises DataLoss, ColdUnavailable."""
    entries = entries_of(namespace, unseal(row.value, row.key))
    return tuple([await _with_value(home, entry) for entry in entries])


async def _with_value(home: Home, entry: Entry) -> Entry:
    if not is_away(entry):
        return entry
    cold = home.placement.cold
    if cold is None:
        raise ColdUnavailable("a value of the checkpoint is in a cold tier, and none is configured")
    try:
        value = await cold.value_of(entry)
    except DataLoss as exc:
        raise corrupt("a value of it does not verify") from exc
    if value is None:
        raise corrupt("a value of it is gone")
    return marks.with_value(entry, value)
