"""The one function that decides a write. Every store loads rows, calls `decide`, stores the result.

A store that decides elsewhere (in a script of its backend) is held to the same outcomes by the contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from sidecar.core import checkpoints, marks, merge, outbox, sealing
from sidecar.core.entry import Copy, Entry, Tombstone, epoch_of, live
from sidecar.core.errors import (
    FailedPrecondition,
    InvalidRequest,
    SchemaDiffers,
    SidecarError,
    ValueAway,
    VersionConflict,
)
from sidecar.core.expiry import expire_time, touched_expire_time
from sidecar.core.ledger import LEDGER
from sidecar.core.operations import (
    JSON_CONTENT_TYPE,
    Append,
    Change,
    Check,
    Forget,
    Increment,
    MergePatch,
    Operation,
    OperationResult,
    Put,
    Relocate,
    Remove,
    Write,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a store has to persist, and what the caller hears.

    `quiet` is stored in the same commit and told to nobody: no change row, no cache. So are `messages`, the outbox's rows,
    which need a version drawn, as `copies` do. `forgotten` are keys whose rows go, of the write's namespace.
    """

    copies: tuple[Copy, ...]
    results: tuple[OperationResult, ...]
    quiet: tuple[Entry, ...] = ()
    messages: tuple[Entry, ...] = ()
    forgotten: tuple[str, ...] = ()

    @property
    def stored(self) -> tuple[Copy, ...]:
        """All rows that are to be stored."""
        return (*self.copies, *self.quiet, *self.messages)

    @property
    def draws(self) -> bool:
        """Whether the write takes the version that it was decided with."""
        return bool(self.copies or self.messages)


def decide(write: Write, current: Mapping[str, Copy | None], *, now: int, version: int) -> Decided:
    """The effect of a write on the rows that it names, or the refusal that it meets (raised).

    `version` is the one that all its changes get; it is greater than every version in `current`.
    """
    if write.refusal is not None:
        raise write.refusal
    copies: list[Copy] = []
    quiet: list[Entry] = []
    forgotten: list[str] = []
    results: list[OperationResult] = []
    did: list[bool] = []
    for index, operation in enumerate(write.operations):
        try:
            copy, result = _decide_one(write, operation, current.get(operation.key), now, version)
        except SidecarError as exc:
            write.name_operation(index, exc)
            raise
        if type(operation) is Relocate:
            assert isinstance(copy, Entry), "what is relocated is there"
            quiet.append(copy)
        elif type(operation) is Forget:
            forgotten.append(operation.key)
        elif copy is not None:
            copies.append(copy)
            if write.checkpoint_every and isinstance(copy, Entry):
                quiet += _automatic_checkpoint(write, copy, now, index)
        results.append(result)
        did.append(copy is not None)
    keys = [operation.key for operation in write.operations]
    return Decided(
        copies=tuple(copies),
        results=tuple(results),
        quiet=tuple(quiet),
        messages=outbox.rows(write.outbox, write.namespace, keys, did, now=now, version=version),
        forgotten=tuple(forgotten),
    )


def _decide_one(
    write: Write, operation: Operation, copy: Copy | None, now: int, version: int
) -> tuple[Copy | None, OperationResult]:
    entry = live(copy, now)
    match operation:
        case Put():
            _guard(operation.key, operation.expected_version, entry, version)
            if entry is not None and operation.schema_version == write.schema and marks.SCHEMA not in operation.marks:
                _check_schema(write, entry)
            made = _put(write, operation, entry, now, version)
            return made, OperationResult(
                found=entry is not None, version=version, expire_time=made.expire_time, value=operation.told
            )
        case Remove():
            _guard(operation.key, operation.expected_version, entry, version)
            if entry is None:
                return None, OperationResult(found=False, version=0)
            grave = Tombstone(namespace=write.namespace, key=operation.key, version=version, delete_time=now)
            return grave, OperationResult(found=True, version=version)
        case Change():
            made, value = _change(write, operation, entry, now, version)
            told = _told(write, value) if operation.return_value else None
            return made, OperationResult(
                found=entry is not None, version=version, expire_time=made.expire_time, value=told
            )
        case Check():
            _guard(operation.key, operation.expected_version, entry, version)
            return None, OperationResult(found=entry is not None, version=0)
        case Forget():
            assert write.namespace == LEDGER, "callers' keys leave tombstones"
            _guard(operation.key, operation.expected_version, entry, version)
            return None, OperationResult(found=entry is not None, version=0)
        case Relocate():
            return _relocate(operation, entry, version), OperationResult(found=True, version=0)
        case _:
            assert_never(operation)


def _automatic_checkpoint(write: Write, entry: Entry, now: int, place: int) -> tuple[Entry, ...]:
    if marks.updates_of(entry) % write.checkpoint_every:
        return ()
    size = len(entry.value)
    if write.codec is not None and size:
        size = write.codec.plain_size(entry.value)
    return checkpoints.automatic(entry, now=now, place=place, value_bytes=size)


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
    end = expire_time(now, ttl)
    if operation.keeps_end and entry is not None:
        end, ttl = _changed_end(write, operation, entry, now)
    return Entry(
        namespace=write.namespace,
        key=operation.key,
        value=operation.value,
        version=version,
        create_time=now if entry is None else entry.create_time,
        update_time=now,
        expire_time=end,
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
    merged = {**labels, **inherited, **counted, **given}
    return merged if merged.get(marks.SCHEMA) != "" else marks.without(merged, marks.SCHEMA)


def _relocate(operation: Relocate, entry: Entry | None, version: int) -> Entry:
    _guard(operation.key, operation.expected_version, entry, version)
    if entry is None:
        raise VersionConflict(key=operation.key, expected_version=operation.expected_version, current_version=0)
    schema, dropped = entry.schema_version, {marks.BLOB, marks.WOKEN}
    if operation.expected_schema not in (None, schema):
        raise VersionConflict(
            key=operation.key, expected_version=operation.expected_version, current_version=entry.version
        )
    if operation.schema_version is not None:
        schema, dropped = operation.schema_version, {*dropped, marks.SCHEMA}
    kept = {name: text for name, text in entry.labels.items() if name not in dropped}
    return entry._replace(value=operation.value, schema_version=schema, labels={**kept, **operation.marks})


def _change(write: Write, operation: Change, entry: Entry | None, now: int, version: int) -> tuple[Entry, bytes]:
    """The entry, and its value as the caller knows it."""
    if entry is None and not operation.create:
        raise FailedPrecondition("there is no entry to update; set `create` to begin one", reason="KEY_NOT_FOUND")
    if entry is not None and marks.BLOB in entry.labels:
        raise ValueAway(operation.key)
    if entry is not None:
        _check_schema(write, entry)
    value = _changed_value(operation.change, None if entry is None else _value_of(write, entry))
    if len(value) > write.value_bytes_max:
        raise InvalidRequest(
            f"the update makes a value of {len(value)} bytes, at most {write.value_bytes_max} are allowed",
            reason="VALUE_TOO_LARGE",
            field="operation",
        )
    schema = (write.schema or 0) if entry is None else entry.schema_version
    stored = value
    if write.codec is not None:
        stored = write.codec.seal(value, sealing.value_place(write.namespace, operation.key, schema))
    if entry is None:
        put = Put(
            key=operation.key,
            value=stored,
            content_type=JSON_CONTENT_TYPE,
            schema_version=schema,
            ttl_ms=operation.ttl_ms,
        )
        return _put(write, put, None, now, version), value
    end, ttl = _changed_end(write, operation, entry, now)
    labels = entry.labels
    if write.checkpoint_every:
        labels = {**labels, marks.UPDATES: str(marks.updates_of(entry) + 1)}
    made = entry._replace(value=stored, version=version, update_time=now, expire_time=end, ttl_ms=ttl, labels=labels)
    return made, value


def _value_of(write: Write, entry: Entry) -> bytes:
    if write.codec is None:
        return entry.value
    return write.codec.open(entry.value, sealing.place_of(entry), namespace=entry.namespace, key=entry.key)


def _told(write: Write, value: bytes) -> bytes:
    return value if write.codec is None else write.codec.seal(value, write.told_place)


def _check_schema(write: Write, entry: Entry) -> None:
    if write.schema is not None and not marks.is_plain(entry, write.schema):
        raise SchemaDiffers(entry.key)


def _changed_end(write: Write, operation: Put | Change, entry: Entry, now: int) -> tuple[int | None, int | None]:
    """When an entry ends that was changed, and the ttl that it has."""
    if operation.ttl_ms is not None or write.sliding:
        return touched_expire_time(entry, now, ttl_ms=operation.ttl_ms, extend_only=False)
    return entry.expire_time, entry.ttl_ms


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
