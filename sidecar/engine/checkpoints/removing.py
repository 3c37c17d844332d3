"""Removing checkpoints and contents. A content goes when nothing refers to it, by its counter, which every commit keeps exact."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core import ledger as names
from sidecar.core.checkpoints import AUTOMATIC
from sidecar.core.contents import Content, content_key, references_key
from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss, SidecarError, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.operations import Change, Check, Increment, Operation, Remove
from sidecar.engine.checkpoints.home import RACES_MAX, Home, contended, is_race
from sidecar.engine.checkpoints.records import Held, Scope

_INDEX_PAGE = 200

Fence = Sequence[Check]


def is_lost(error: SidecarError, fence: Fence) -> bool:
    """Whether a job's write was refused because another daemon has the job now."""
    return isinstance(error, VersionConflict) and any(error.key == check.key for check in fence)


async def remove(
    home: Home, namespace: str, checkpoint: str, *, fence: Fence = (), deadline: float | None = None
) -> bool:
    """Remove a checkpoint; whether there was one. Its content stays while others need it.

    Raises what the Store port raises, VersionConflict if the fence is lost, and CHECKPOINT_CONTENDED.
    """
    for _ in range(RACES_MAX):
        held = await home.records.find(namespace, checkpoint, deadline=deadline)
        if held is None:
            return False
        try:
            reach("checkpoint.remove.before")
            await home.commit([*await _removal(home, held), *fence], deadline=deadline)
        except SidecarError as exc:
            if is_lost(exc, fence) or not is_race(exc):
                raise
        else:
            reach("checkpoint.remove.after")
            return True
    raise contended()


async def _removal(home: Home, held: Held) -> list[Operation]:
    record = held.record
    row = names.checkpoint_key(record.namespace, record.checkpoint_id)
    removal: list[Operation] = [Remove(key=row, expected_version=held.version), Remove(key=record.index_key)]
    if held.waits:
        removal.append(Remove(key=names.waiting_key(record.namespace, record.checkpoint_id)))
        if record.hold:
            removal.append(Remove(key=names.hold_key(record.hold, record.checkpoint_id)))
        return removal
    counter = references_key(record.content)
    [count] = await home.ledger.get([counter])
    if count is not None:  # else it is corrupt already
        removal.append(Change(key=counter, change=Increment(delta=-1, minimum=0)))
    return removal


async def remove_content(home: Home, count: Entry, *, fence: Fence, limit: int) -> int:
    """Remove a content whose counter is 0, and its bases down the chain as their counters become 0: at most `limit`.

    How many were removed; the blob of one is collected with all that nobody names. Raises VersionConflict if the fence is lost.
    """
    removed = 0
    following: Entry | None = count
    while following is not None and removed < limit:
        count, following = following, None
        content_id = count.key.removeprefix(names.REFERENCES)
        [row] = await home.ledger.get([content_key(content_id)])
        base = _base_of(row, content_id)
        [base_count] = await home.ledger.get([references_key(base)]) if base else [None]
        operations: list[Operation] = [
            Remove(key=count.key, expected_version=count.version),
            Remove(key=content_key(content_id)),
        ]
        if base_count is not None:
            operations.append(Change(key=base_count.key, change=Increment(delta=-1, minimum=0), return_value=True))
        try:
            reach("content.remove.before")
            outcome = await home.commit([*operations, *fence])
        except SidecarError as exc:
            if is_lost(exc, fence) or not is_race(exc):
                raise
            return removed  # somebody needs it again
        reach("content.remove.after")
        removed += 1
        if base_count is not None and outcome.results[2].value == b"0":
            [following] = await home.ledger.get([base_count.key])
            if following is not None and following.value != b"0":
                following = None
    return removed


def _base_of(row: Entry | None, content_id: str) -> str:
    """What a content is stored against. A row that doesn't verify is removed too; its base stays."""
    try:
        return "" if row is None else Content.decode(row.value, content_id).base_id
    except DataLoss:
        return ""


async def beyond(home: Home, scope: Scope, *, keep: int) -> list[str]:
    """The ids of automatic checkpoints of a key that are older than its newest `keep`."""
    found: list[str] = []
    seen, after, more = 0, None, True
    while more:
        page = await home.ledger.scan(scope.index, after=after, limit=_INDEX_PAGE)
        for row in page.entries:
            if row.value == AUTOMATIC:
                seen += 1
                if seen > keep:
                    found.append(names.inverted(row.key.removeprefix(scope.index)))
        after, more = (page.entries[-1].key if page.entries else None), page.more
    return found
