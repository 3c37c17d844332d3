"""Restoring: a checkpoint's entries as ordinary writes, in one commit, under versions that are new."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.core import marks
from sidecar.core.checkpoints import restore_point, restored_mark
from sidecar.core.entry import Entry
from sidecar.core.errors import CheckpointNotFound, InvalidRequest, SidecarError, Unsupported, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.hlc import HLC_LABEL
from sidecar.core.operations import Operation, Put, Remove, WriteId
from sidecar.engine.checkpoints.contents import too_large
from sidecar.engine.checkpoints.home import RACES_MAX, Home, is_race, ledger_request, remembered
from sidecar.engine.checkpoints.reading import read
from sidecar.engine.checkpoints.records import Scope
from sidecar.engine.checkpoints.replies import Restored, Snapshot
from sidecar.engine.checkpoints.taking import MEMBERS_MAX
from sidecar.engine.namespaces import Namespace
from sidecar.engine.replies import Written
from sidecar.engine.writes import Writes

_PAGE = 1_000
_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which checkpoint: that of an id, or the latest of a scope; and the version that its key must have now."""

    checkpoint_id: str
    scope: Scope | None
    expected_version: int | None


@dataclass(frozen=True, slots=True)
class _Work:
    """A restore that is under way; `schemas`: its namespace has some."""

    home: Home
    writes: Writes
    snapshot: Snapshot
    request: WriteId | None
    deadline: float | None
    schemas: bool

    async def write(self, operations: tuple[Operation, ...], *, tentative: bool) -> Written:
        """Commit, as any write is."""
        reach("restore.commit.before")
        written = await self.writes.write(
            self.snapshot.record.namespace,
            operations,
            request=self.request,
            needs_authority=True,
            deadline=self.deadline,
            tentative=tentative,
        )
        reach("restore.commit.after")
        return written


async def restore(
    home: Home, space: Namespace, writes: Writes, wanted: Wanted, *, request: WriteId | None, deadline: float | None
) -> Restored:
    """Do it. A request id that was used answers what it did, of the same checkpoint."""
    checkpoint = await _chosen(home, space.name, wanted, request, deadline)
    snapshot = await read(home, space.name, checkpoint, deadline=deadline)
    work = _Work(home, writes, snapshot, request, deadline, schemas=space.schemas is not None)
    if snapshot.record.key is not None:
        written = await _restore_key(work, wanted.expected_version)
    elif wanted.expected_version is not None:
        raise InvalidRequest(
            "a checkpoint of a prefix has no one version that could be expected",
            reason="VERSION_INVALID",
            field="expected_version",
        )
    else:
        written = await _restore_prefix(work)
    return Restored(
        record=snapshot.record,
        entries=await _as_written(home, snapshot, written),
        version=written.version,
    )


async def _chosen(home: Home, namespace: str, wanted: Wanted, request: WriteId | None, deadline: float | None) -> str:
    """The id. The latest is chosen once for a request id: a repetition must not restore a later one."""
    if wanted.scope is None:
        return wanted.checkpoint_id
    for _ in range(RACES_MAX):
        if (told := await home.recall(namespace, request, deadline=deadline)) is not None:
            return told["restored"]
        latest, _more = await home.records.ids(wanted.scope, limit=1)
        if not latest:
            raise CheckpointNotFound("there is no checkpoint of it")
        if request is None:
            return latest[0]
        try:
            await home.commit(
                remembered(namespace, request, {"restored": latest[0]}),
                request=ledger_request(namespace, request),
                deadline=deadline,
            )
        except SidecarError as exc:
            if not is_race(exc):
                raise
        else:
            reach("restore.choose.after")
    raise AssertionError("what was committed under a request id is there")


async def _restore_key(work: _Work, expected_version: int | None) -> Written:
    record, [entry] = work.snapshot.record, work.snapshot.entries
    [now] = await work.home.placement.rows(record.namespace, [entry.key])
    point = restore_point(work.home.ledger.now(), 0 if now is None else now.version)
    mark = restored_mark(record.checkpoint_id, point)
    put = _put(entry, mark, schemas=work.schemas, expected_version=expected_version)
    return await work.write((put,), tentative=False)


async def _restore_prefix(work: _Work) -> Written:
    """The entries, and the end of each other key that is there now; as often as one of those changes meanwhile."""
    home, snapshot, record = work.home, work.snapshot, work.snapshot.record
    await work.writes.drain(record.namespace, key=None, prefix=record.key_prefix or "")
    kept = {entry.key for entry in snapshot.entries}
    for attempt in range(RACES_MAX):
        present = await _present(home, record.namespace, record.key_prefix or "", work.deadline)
        point = restore_point(home.ledger.now(), max(present.values(), default=0))
        mark = restored_mark(record.checkpoint_id, point)
        operations: list[Operation] = [_put(entry, mark, schemas=work.schemas) for entry in snapshot.entries]
        operations += [Remove(key=key, expected_version=version) for key, version in present.items() if key not in kept]
        _check_count(home, operations)
        try:
            return await work.write(tuple(operations), tentative=True)
        except VersionConflict:
            if attempt == RACES_MAX - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _put(entry: Entry, mark: str, *, schemas: bool, expected_version: int | None = None) -> Put:
    # A label that tells when a buffered write was made would make the restored value look as old as that.
    labels = {name: text for name, text in marks.callers_labels(entry.labels).items() if name != HLC_LABEL}
    beyond = entry.labels.get(marks.SCHEMA, "")
    return Put(
        key=entry.key,
        value=entry.value,
        content_type=entry.content_type,
        schema_version=entry.schema_version,
        labels=labels,
        ttl_ms=entry.ttl_ms,
        expected_version=expected_version,
        # Given, the mark SCHEMA says that this is a row as it was stored, and not what somebody writes in a schema.
        marks={marks.RESTORED: mark} | ({marks.SCHEMA: beyond} if schemas or beyond else {}),
    )


async def _present(home: Home, namespace: str, prefix: str, deadline: float | None) -> dict[str, int]:
    """The versions of all keys under a prefix now. Not of one moment: each that matters is guarded."""
    found: dict[str, int] = {}
    after, more = None, True
    while more:
        page = await home.placement.scan(
            namespace, prefix, after=after, limit=_PAGE, bytes_max=_BYTES_MAX, keys_only=True, deadline=deadline
        )
        found |= {entry.key: entry.version for entry in page.entries}
        after, more = (page.entries[-1].key if page.entries else None), page.more
        if len(found) > 2 * MEMBERS_MAX:
            raise too_large(
                f"more than {2 * MEMBERS_MAX} keys are under the prefix now; delete those that are not needed"
            )
    return found


def _check_count(home: Home, operations: list[Operation]) -> None:
    most = home.placement.authority.capabilities.operations_max
    if most is not None and len(operations) > most:
        raise Unsupported(
            f"the restore takes {len(operations)} operations, and the authority commits at most {most} at once",
            metadata={"operation": "Restore", "operations": str(len(operations)), "operations_max": str(most)},
        )


async def _as_written(home: Home, snapshot: Snapshot, written: Written) -> tuple[Entry, ...]:
    """The entries as the commit left them. Of a repeated one, those that were changed since have the times of now."""
    left = {copy.key: copy for copy in written.copies if isinstance(copy, Entry)}
    unknown = [entry.key for entry in snapshot.entries if entry.key not in left]
    if unknown:
        for copy in await home.placement.rows(snapshot.record.namespace, unknown):
            if isinstance(copy, Entry):
                left[copy.key] = copy
    now = home.ledger.now()
    answered: list[Entry] = []
    for entry, result in zip(snapshot.entries, written.results, strict=False):
        copy = left.get(entry.key)
        answered.append(
            entry._replace(
                version=result.version,
                create_time=now if copy is None else copy.create_time,
                update_time=now if copy is None else copy.update_time,
                expire_time=result.expire_time,
                ttl_ms=entry.ttl_ms if copy is None else copy.ttl_ms,
                labels={name: text for name, text in entry.labels.items() if name != HLC_LABEL},
            )
        )
    return tuple(answered)
