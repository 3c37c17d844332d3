"""Storing what waits: the automatic checkpoints of a key in their order, each by what changed since the one before."""

from __future__ import annotations

from dataclasses import replace

from sidecar.core import ledger as names
from sidecar.core.checkpoints import document
from sidecar.core.entry import Entry
from sidecar.core.errors import SidecarError
from sidecar.core.failpoints import reach
from sidecar.core.operations import Operation, Put, Remove
from sidecar.engine.checkpoints.home import RACES_MAX, Home, is_race
from sidecar.engine.checkpoints.reading import waiting_entries
from sidecar.engine.checkpoints.records import Held, scope_of, without_waiting
from sidecar.engine.checkpoints.removing import Fence, is_lost


async def settle(home: Home, row: Entry, *, fence: Fence) -> bool:
    """Store the document of a row of the waiting; whether it was us who did.

    Raises DataLoss for one that doesn't verify, ColdUnavailable, VersionConflict if the fence is lost, and what the Store
    port raises.
    """
    namespace, checkpoint = waiting_of(row)
    for _ in range(RACES_MAX):
        held = await home.records.find(namespace, checkpoint)
        try:
            if held is None or not held.waits:
                # No commit leaves this: a store that lost some of its rows does.
                await home.commit([Remove(key=row.key, expected_version=row.version), *fence])
                return False
            operations = await _storing(home, held, row, fence)
            reach("settle.commit.before")
            await home.commit([*operations, *fence])
        except SidecarError as exc:
            if is_lost(exc, fence) or not is_race(exc):
                raise
            [again] = await home.ledger.get([row.key])
            if again is None or again.version != row.version:
                return False  # it was stored, or removed
        else:
            reach("settle.commit.after")
            return True
    return False


async def _storing(home: Home, held: Held, row: Entry, fence: Fence) -> list[Operation]:
    record = held.record
    entries = await waiting_entries(home, record.namespace, row)
    older = await home.records.older(scope_of(record), record.checkpoint_id)
    stored = without_waiting(record, older)
    near = await home.records.near(stored)
    prepared = await home.contents.prepare(record.namespace, document(entries), parent=near, fence=fence)
    stored = replace(stored, content=prepared.content_id, stored_bytes=prepared.stored_bytes)
    key = names.checkpoint_key(record.namespace, record.checkpoint_id)
    operations: list[Operation] = [
        Put(key=key, value=stored.encode(), expected_version=held.version),
        Remove(key=row.key, expected_version=row.version),
        *prepared.operations,
    ]
    if record.hold:
        operations.append(Remove(key=names.hold_key(record.hold, record.checkpoint_id)))
    return operations


def waiting_of(row: Entry) -> tuple[str, str]:
    """The namespace and the id of a checkpoint that waits."""
    namespace, _, checkpoint = row.key.removeprefix(names.WAITING).partition(names.SEPARATOR)
    return namespace, checkpoint
