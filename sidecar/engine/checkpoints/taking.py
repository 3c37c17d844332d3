"""Making a checkpoint that somebody asks for: one moment of a key or prefix, collected and committed."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sidecar.core import ledger as names
from sidecar.core import marks
from sidecar.core.checkpoints import ASKED_FOR, Record, asked_id, document, parent_of
from sidecar.core.entry import SEQUENCE_MASK, Entry
from sidecar.core.errors import FailedPrecondition, SidecarError, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.operations import Put, WriteId
from sidecar.core.store import Page
from sidecar.engine.checkpoints.contents import DOCUMENT_BYTES_MAX, too_large
from sidecar.engine.checkpoints.home import RACES_MAX, Home, contended, is_race, ledger_request, remembered
from sidecar.engine.checkpoints.records import Scope
from sidecar.tiers.placement import Placement

MEMBERS_MAX = 10_000
VALUES_BYTES_MAX = 64 << 20
COLLECTED_MAX = 5
"""How often a prefix is collected where a store can't show one moment, until two in a row are equal."""
_NEWEST = 4
_SOURCES_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody wants kept, and what is to be said with it."""

    scope: Scope
    label: str = ""
    metadata: Mapping[str, str]
    parent_id: str = ""


async def take(home: Home, asked: Asked, *, request: WriteId | None, deadline: float | None) -> Record:
    """Make it. Raises KEY_NOT_FOUND, CheckpointNotFound (the parent's), CHECKPOINT_TOO_LARGE, CHECKPOINT_CONTENDED,
    VersionConflict, ColdUnavailable, and what the Store port raises.
    """
    namespace = asked.scope.namespace
    if (known := await _told(home, namespace, request, deadline)) is not None:
        return known
    if asked.parent_id:
        await home.records.get(namespace, asked.parent_id, deadline=deadline)
    # Before it is collected: what is made of a later state has a later id.
    now = home.ledger.now()
    entries = await _collect(home.placement, asked.scope, deadline)
    made = document(entries)
    if len(made) > DOCUMENT_BYTES_MAX:
        raise too_large(f"{len(made)} bytes of values and what is said about them, {DOCUMENT_BYTES_MAX} are allowed")
    version = max(entry.version for entry in entries)
    taken = ""
    for _ in range(RACES_MAX):
        newest, _more = await home.records.ids(asked.scope, limit=_NEWEST)
        checkpoint = asked_id(now, version, after=max(_floor(newest, version), taken))
        parent = asked.parent_id or await _parent(home, asked.scope, checkpoint, newest, entries)
        record = Record(
            checkpoint_id=checkpoint,
            namespace=namespace,
            key=asked.scope.key,
            key_prefix=asked.scope.key_prefix,
            label=asked.label,
            metadata=asked.metadata,
            parent_id=parent,
            create_time=now,
            entry_count=len(entries),
            value_bytes=sum(len(entry.value) for entry in entries),
        )
        try:
            return await _commit(home, record, made, request, deadline)
        except SidecarError as exc:
            if not is_race(exc):
                raise
            if isinstance(exc, VersionConflict) and exc.key == names.checkpoint_key(namespace, checkpoint):
                taken = checkpoint
        if (known := await _told(home, namespace, request, deadline)) is not None:
            return known
    raise contended()


async def _commit(home: Home, record: Record, made: bytes, request: WriteId | None, deadline: float | None) -> Record:
    namespace = record.namespace
    near = await home.records.near(record, deadline=deadline)
    prepared = await home.contents.prepare(namespace, made, parent=near, deadline=deadline)
    record = replace(record, content=prepared.content_id, stored_bytes=prepared.stored_bytes)
    row = record.encode()
    reach("checkpoint.commit.before")
    outcome = await home.commit(
        [
            Put(key=names.checkpoint_key(namespace, record.checkpoint_id), value=row, expected_version=0),
            Put(key=record.index_key, value=ASKED_FOR),
            *prepared.operations,
            *remembered(namespace, request, {"checkpoint": record.checkpoint_id, "record": b64encode(row).decode()}),
        ],
        request=ledger_request(namespace, request),
        deadline=deadline,
    )
    reach("checkpoint.commit.after")
    if outcome.replayed:
        return await _told(home, namespace, request, deadline) or record
    return record


async def _told(home: Home, namespace: str, request: WriteId | None, deadline: float | None) -> Record | None:
    """The checkpoint that a request id made before, as it was told then."""
    told = await home.recall(namespace, request, deadline=deadline)
    return None if told is None else Record.decode(b64decode(told["record"]), told["checkpoint"])


def _floor(newest: list[str], version: int) -> str:
    """The id that a new one has to be above: the newest, unless that is of a state that ours is older than."""
    if not newest:
        return ""
    sequence = int(newest[0][12:], 16) >> 16
    return newest[0] if sequence <= version & SEQUENCE_MASK else ""


# ---- what it continues


async def _parent(home: Home, scope: Scope, checkpoint: str, newest: list[str], entries: tuple[Entry, ...]) -> str:
    older = next((each for each in newest if each < checkpoint), "") or await home.records.older(scope, checkpoint)
    if scope.key is not None:
        return parent_of(entries[0].labels.get(marks.RESTORED, ""), older)
    sources = {entry.labels[marks.RESTORED] for entry in entries if marks.RESTORED in entry.labels}
    # Its keys may have been restored one by one since: what counts is the last restore of this prefix.
    for restored in sorted(sources, key=lambda text: text.partition(" ")[2], reverse=True)[:_SOURCES_MAX]:
        source = parent_of(restored, older)
        if source == older:
            break
        found = await home.records.find(scope.namespace, source)
        if found is not None and found.record.key_prefix == scope.key_prefix:
            return source
    return older


# ---- what is kept


async def _collect(placement: Placement, scope: Scope, deadline: float | None) -> tuple[Entry, ...]:
    if scope.key is not None:
        [lookup] = (await placement.get_strong(scope.namespace, [scope.key], deadline=deadline)).lookups
        if lookup.entry is None:
            raise FailedPrecondition("there is no entry to keep", reason="KEY_NOT_FOUND")
        return (lookup.entry,)
    before = await _moment(placement, scope, deadline)
    again = before
    for _ in range(COLLECTED_MAX):
        before = again
        entries = tuple(await placement.resolve(scope.namespace, before))
        # A value that was moved or overwritten while it was looked for is that of another moment.
        same = _versions(entries) == _versions(before)
        if same and placement.authority.capabilities.snapshots:
            return entries
        again = await _moment(placement, scope, deadline)
        if same and _versions(again) == _versions(before):
            return entries
    raise _moved(before, again)


async def _moment(placement: Placement, scope: Scope, deadline: float | None) -> tuple[Entry, ...]:
    """All entries under a prefix, values in cold left there."""
    page: Page = await placement.scan(
        scope.namespace,
        scope.key_prefix or "",
        after=None,
        limit=MEMBERS_MAX + 1,
        bytes_max=VALUES_BYTES_MAX,
        keys_only=False,
        deadline=deadline,
    )
    if not page.entries:
        raise FailedPrecondition("there is no entry under the prefix", reason="KEY_NOT_FOUND")
    pointers = [marks.pointer_of(entry) for entry in page.entries]
    size = sum(
        len(entry.value) if pointer is None else pointer.size
        for entry, pointer in zip(page.entries, pointers, strict=True)
    )
    if page.more or len(page.entries) > MEMBERS_MAX or size > VALUES_BYTES_MAX:
        raise too_large(
            f"more than {MEMBERS_MAX} entries or {VALUES_BYTES_MAX} bytes of values are under the prefix; take longer ones"
        )
    return page.entries


def _versions(entries: tuple[Entry, ...]) -> dict[str, int]:
    return {entry.key: entry.version for entry in entries}


def _moved(before: tuple[Entry, ...], after: tuple[Entry, ...]) -> VersionConflict:
    """A key that was written while they were collected."""
    old, new = _versions(before), _versions(after)
    key = next((key for key in {**old, **new} if old.get(key) != new.get(key)), before[0].key)
    return VersionConflict(key=key, expected_version=old.get(key, 0), current_version=new.get(key, 0))
