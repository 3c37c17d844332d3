"""What a write asks for, and the one function that decides it. Every store loads rows, calls `decide`, stores the result.

A store that decides elsewhere (in a script of its backend) is held to the same outcomes by the contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from sidecar.core import checkpoints, marks, merge
from sidecar.core.entry import Copy, Entry, Tombstone, epoch_of, live
from sidecar.core.errors import FailedPrecondition, InvalidRequest, SidecarError, ValueAway, VersionConflict
from sidecar.core.expiry import expire_time, touched_expire_time
from sidecar.core.ledger import LEDGER

JSON_CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Write a value. `expected_version` None: whatever is there; 0: only if absent. `marks`: see `core/marks.py`."""

    key: str
    value: bytes
    content_type: str = ""
    schema_version: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    ttl_ms: int | None = None
    expected_version: int | None = None
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete an entry. `expected_version` as in Put."""

    key: str
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MergePatch:
    """An RFC 7396 patch, parsed."""

    patch: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Items for the end of a JSON array, parsed; its last `max_items` are kept (0: all)."""

    items: tuple[Any, ...]
    max_items: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment:
    """A number for a counter, refused beyond its bounds."""

    delta: int
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Change a value where it is; `create` begins with an empty one where the key is absent."""

    key: str
    change: MergePatch | Append | Increment
    create: bool = False
    ttl_ms: int | None = None
    return_value: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Only a condition: the key has this version (0: it is absent). `ledger`: a key of the daemon's own rows."""

    key: str
    expected_version: int
    ledger: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocate:
    """Keep a value elsewhere, under the same version: nothing has changed for anybody, so nobody is told.

    `value` is what the row holds from now on; of the marks BLOB and WOKEN, it has those in `marks`.
    """

    key: str
    expected_version: int
    value: bytes
    marks: Mapping[str, str] = field(default_factory=dict)


Operation = Put | Remove | Change | Check | Relocate


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteId:
    """A request id, and a digest of what was asked for under it."""

    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Operations on distinct keys of a namespace, all or nothing, with what its policy says about values and expiry.

    `deadline` is a monotonic instant in seconds: a store that has not begun by then refuses (DeadlineExceeded).
    `transaction`: the caller thinks of operations, however few, so a refusal names the one that met it.
    `tentative`: a refusal is not kept under the request id, because the caller will try another way under it.
    `checkpoint_every`: each that many changes of a key make a checkpoint of it in the same commit; 0: none.
    """

    namespace: str
    operations: tuple[Operation, ...]
    transaction: bool = False
    ttl_default_ms: int | None = None
    sliding: bool = False
    value_bytes_max: int
    request: WriteId | None = None
    deadline: float | None = None
    tentative: bool = False
    checkpoint_every: int = 0

    def scope(self, operation: Operation) -> str:
        """The namespace of an operation's key."""
        return LEDGER if type(operation) is Check and operation.ledger else self.namespace

    def name_operation(self, index: int, error: SidecarError) -> None:
        """Put the index of the operation that was refused into the error's metadata, where a caller can use it."""
        if self.transaction or len(self.operations) > 1:
            error.metadata["operation"] = str(index)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationResult:
    """What one operation did. `version` 0: it changed nothing. `value` only where it was asked for."""

    found: bool
    version: int
    expire_time: int | None = None
    value: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a store has to persist, and what the caller hears.

    `quiet` is stored in the same commit and told to nobody: no change row, no cache. None of it needs a version drawn.
    """

    copies: tuple[Copy, ...]
    results: tuple[OperationResult, ...]
    quiet: tuple[Entry, ...] = ()


def decide(write: Write, current: Mapping[str, Copy | None], *, now: int, version: int) -> Decided:
    """The effect of a write on the rows that it names, or the refusal that it meets (raised).

    `version` is the one that all its changes get; it is greater than every version in `current`.
    """
    copies: list[Copy] = []
    quiet: list[Entry] = []
    results: list[OperationResult] = []
    for index, operation in enumerate(write.operations):
        try:
            copy, result = _decide_one(write, operation, current.get(operation.key), now, version)
        except SidecarError as exc:
            write.name_operation(index, exc)
            raise
        if type(operation) is Relocate:
            assert isinstance(copy, Entry), "what is relocated is there"
            quiet.append(copy)
        elif copy is not None:
            copies.append(copy)
            if write.checkpoint_every and isinstance(copy, Entry):
                quiet += _automatic_checkpoint(copy, write.checkpoint_every, now, index)
        results.append(result)
    return Decided(copies=tuple(copies), results=tuple(results), quiet=tuple(quiet))


def _decide_one(
    write: Write, operation: Operation, copy: Copy | None, now: int, version: int
) -> tuple[Copy | None, OperationResult]:
    entry = live(copy, now)
    match operation:
        case Put():
            _guard(operation.key, operation.expected_version, entry, version)
            made = _put(write, operation, entry, now, version)
            return made, OperationResult(found=entry is not None, version=version, expire_time=made.expire_time)
        case Remove():
            _guard(operation.key, operation.expected_version, entry, version)
            if entry is None:
                return None, OperationResult(found=False, version=0)
            grave = Tombstone(namespace=write.namespace, key=operation.key, version=version, delete_time=now)
            return grave, OperationResult(found=True, version=version)
        case Change():
            made = _change(write, operation, entry, now, version)
            value = made.value if operation.return_value else None
            return made, OperationResult(
                found=entry is not None, version=version, expire_time=made.expire_time, value=value
            )
        case Check():
            _guard(operation.key, operation.expected_version, entry, version)
            return None, OperationResult(found=entry is not None, version=0)
        case Relocate():
            return _relocate(operation, entry, version), OperationResult(found=True, version=0)
        case _:
            assert_never(operation)


def _automatic_checkpoint(entry: Entry, every: int, now: int, place: int) -> tuple[Entry, ...]:
    return checkpoints.automatic(entry, now=now, place=place) if marks.updates_of(entry) % every == 0 else ()


def _guard(key: str, expected: int | None, entry: Entry | None, version: int) -> None:
    """A guard names one committed state; an absent, deleted or expired key matches only 0."""
    if expected is None:
        return
    if epoch_of(expected) > epoch_of(version):
        raise FailedPrecondition(
            "the expected version is of a newer epoch: the store has gone back in time, read the key again",
            reason="EPOCH_CHANGED",
            metadata={"expected_version": str(expected)},
        )
    found = 0 if entry is None else entry.version
    if expected != found:
        raise VersionConflict(key=key, expected_version=expected, current_version=found)


def _put(write: Write, operation: Put, entry: Entry | None, now: int, version: int) -> Entry:
    ttl = write.ttl_default_ms if operation.ttl_ms is None else operation.ttl_ms
    return Entry(
        namespace=write.namespace,
        key=operation.key,
        value=operation.value,
        version=version,
        create_time=now if entry is None else entry.create_time,
        update_time=now,
        expire_time=expire_time(now, ttl),
        ttl_ms=ttl,
        content_type=operation.content_type,
        schema_version=operation.schema_version,
        labels=_labels(write, entry, operation.labels, operation.marks),
    )


def _labels(
    write: Write, before: Entry | None, labels: Mapping[str, str], given: Mapping[str, str]
) -> Mapping[str, str]:
    """The labels of a new value, with the marks that it inherits and those that it is given."""
    inherited = marks.carried(before)
    if not (inherited or given or write.checkpoint_every):
        return labels
    counted = {marks.UPDATES: str(marks.updates_of(before) + 1)} if write.checkpoint_every else {}
    return {**labels, **inherited, **counted, **given}


def _relocate(operation: Relocate, entry: Entry | None, version: int) -> Entry:
    _guard(operation.key, operation.expected_version, entry, version)
    if entry is None:
        raise VersionConflict(key=operation.key, expected_version=operation.expected_version, current_version=0)
    kept = {name: text for name, text in entry.labels.items() if name not in (marks.BLOB, marks.WOKEN)}
    return entry._replace(value=operation.value, labels={**kept, **operation.marks})


def _change(write: Write, operation: Change, entry: Entry | None, now: int, version: int) -> Entry:
    if entry is None and not operation.create:
        raise FailedPrecondition("there is no entry to update; set `create` to begin one", reason="KEY_NOT_FOUND")
    if entry is not None and marks.BLOB in entry.labels:
        raise ValueAway(operation.key)
    value = _changed_value(operation.change, None if entry is None else entry.value)
    if len(value) > write.value_bytes_max:
        raise InvalidRequest(
            f"the update makes a value of {len(value)} bytes, at most {write.value_bytes_max} are allowed",
            reason="VALUE_TOO_LARGE",
            field="operation",
        )
    if entry is None:
        put = Put(key=operation.key, value=value, content_type=JSON_CONTENT_TYPE, ttl_ms=operation.ttl_ms)
        return _put(write, put, None, now, version)
    end, ttl = entry.expire_time, entry.ttl_ms
    if operation.ttl_ms is not None or write.sliding:
        end, ttl = touched_expire_time(entry, now, ttl_ms=operation.ttl_ms, extend_only=False)
    labels = entry.labels
    if write.checkpoint_every:
        labels = {**labels, marks.UPDATES: str(marks.updates_of(entry) + 1)}
    return entry._replace(value=value, version=version, update_time=now, expire_time=end, ttl_ms=ttl, labels=labels)


def _changed_value(change: MergePatch | Append | Increment, value: bytes | None) -> bytes:
    match change:
        case MergePatch():
            return merge.merge_patch(value, change.patch)
        case Append():
            return merge.append(value, change.items, change.max_items)
        case Increment():
            return merge.increment(value, change.delta, change.minimum, change.maximum)
        case _:
            assert_never(change)
