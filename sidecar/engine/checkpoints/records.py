"""Records of checkpoints in a ledger: found by id, and in the order of a key or prefix, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sidecar.core import ledger as names
from sidecar.core.checkpoints import Record, corrupt, parent_of
from sidecar.core.entry import Entry
from sidecar.core.errors import CheckpointNotFound, DataLoss, StoreCorrupt
from sidecar.tiers.ledger import Ledger

_NEAR = 8


@dataclass(frozen=True, slots=True)
class Scope:
    """What checkpoints are of: exactly one of a key and a prefix."""

    namespace: str
    key: str | None = None
    key_prefix: str | None = None

    @property
    def index(self) -> str:
        """The prefix of its index."""
        return names.index_of(self.namespace, self.key, self.key_prefix)


@dataclass(frozen=True, slots=True)
class Held:
    """A record, and the version of its row. The row changes once: when what waits is stored."""

    record: Record
    version: int
    size: int

    @property
    def waits(self) -> bool:
        """Whether its document waits to be stored by what changed."""
        return not self.record.content


class Records:
    """The records of one ledger. Errors are those of the Store port, and DataLoss (CHECKPOINT_CORRUPT)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def find(self, namespace: str, checkpoint: str, *, deadline: float | None = None) -> Held | None:
        """A record, if there is one."""
        if not names.is_checkpoint_id(checkpoint):
            return None
        [held] = await self.many(namespace, [checkpoint], deadline=deadline)
        return held

    async def get(self, namespace: str, checkpoint: str, *, deadline: float | None = None) -> Held:
        """A record. Raises CheckpointNotFound."""
        held = await self.find(namespace, checkpoint, deadline=deadline)
        if held is None:
            raise not_found(checkpoint)
        return held

    async def many(
        self, namespace: str, checkpoints: Sequence[str], *, deadline: float | None = None
    ) -> list[Held | None]:
        """Records in the order of their ids; None: there is none any more."""
        keys = [names.checkpoint_key(namespace, checkpoint) for checkpoint in checkpoints]
        rows = await rows_of(self._ledger, keys, deadline=deadline)
        return [
            None if row is None else held(row, namespace, checkpoint)
            for row, checkpoint in zip(rows, checkpoints, strict=True)
        ]

    async def ids(self, scope: Scope, *, before: str = "", limit: int) -> tuple[list[str], bool]:
        """Ids newest first, beginning below `before`, and whether more follow."""
        after = scope.index + names.inverted(before) if before else None
        page = await self._ledger.scan(scope.index, after=after, limit=limit, keys_only=True)
        return [names.inverted(row.key.removeprefix(scope.index)) for row in page.entries], page.more

    async def older(self, scope: Scope, checkpoint: str) -> str:
        """The newest id that is older than one; empty: none is."""
        found, _ = await self.ids(scope, before=checkpoint, limit=1)
        return found[0] if found else ""

    async def near(self, record: Record, *, deadline: float | None = None) -> str:
        """A content that a checkpoint's own may be stored against: its parent's, or else the newest before it; or none."""
        parent = await self.find(record.namespace, record.parent_id, deadline=deadline)
        if parent is not None and not parent.waits:
            return parent.record.content
        ids, _ = await self.ids(scope_of(record), before=record.checkpoint_id, limit=_NEAR)
        found = await self.many(record.namespace, ids, deadline=deadline) if ids else []
        return next((each.record.content for each in found if each is not None and not each.waits), "")

    async def shown(self, record: Record) -> Record:
        """A record as callers see it: one that waits has the parent that it will be stored with."""
        if record.content:
            return record
        return without_waiting(record, await self.older(scope_of(record), record.checkpoint_id))


async def rows_of(ledger: Ledger, keys: Sequence[str], *, deadline: float | None = None) -> list[Entry | None]:
    """Rows of a checkpoint. One that the authority finds spoilt is a checkpoint's loss: CHECKPOINT_CORRUPT."""
    try:
        return await ledger.get(keys, deadline=deadline)
    except StoreCorrupt:
        raise
    except DataLoss as exc:
        raise corrupt("the authority can't read a row of it") from exc


def without_waiting(record: Record, older: str) -> Record:
    """A record with its parent, and without what it has only while it waits."""
    return replace(record, parent_id=parent_of(record.restored, older), restored="", hold="")


def held(row: Entry, namespace: str, checkpoint: str) -> Held:
    """A row as a record. Raises DataLoss."""
    record = Record.decode(row.value, checkpoint)
    if (record.namespace, record.checkpoint_id) != (namespace, checkpoint):
        raise corrupt("its record is that of another one")
    return Held(record, row.version, len(row.value))


def scope_of(record: Record) -> Scope:
    """What a checkpoint is of."""
    return Scope(record.namespace, record.key, record.key_prefix)


def not_found(checkpoint: str) -> CheckpointNotFound:
    """There is no checkpoint of that id."""
    return CheckpointNotFound("there is no such checkpoint in this namespace", metadata={"checkpoint_id": checkpoint})
