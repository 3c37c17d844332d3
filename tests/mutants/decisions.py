"""Wrong decisions: `decide` with its inputs or its answer bent, as real systems have bent them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sidecar.core.decide import Decided, decide
from sidecar.core.entry import Copy, Entry, Tombstone, live
from sidecar.core.errors import FailedPrecondition, SidecarError, VersionConflict
from sidecar.core.operations import Append, Change, Check, Increment, MergePatch, Operation, Put, Remove, Write
from tests.support.factories import entry

Decide = Callable[..., Decided]
Rows = Mapping[str, Copy | None]


def cas_on_absent_succeeds(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    def unguarded(operation: Operation) -> Operation:
        absent = live(current.get(operation.key), now) is None
        return replace(operation, expected_version=None) if isinstance(operation, Put) and absent else operation

    bent = replace(write, operations=tuple(unguarded(operation) for operation in write.operations))
    return decide(bent, current, now=now, version=version)


def delete_guard_ignored_on_absent(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    def unguarded(operation: Operation) -> Operation:
        absent = live(current.get(operation.key), now) is None
        return replace(operation, expected_version=None) if isinstance(operation, Remove) and absent else operation

    bent = replace(write, operations=tuple(unguarded(operation) for operation in write.operations))
    return decide(bent, current, now=now, version=version)


def check_ignored(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    def passing(operation: Operation) -> Operation:
        if not isinstance(operation, Check):
            return operation
        found = live(current.get(operation.key), now)
        return Check(key=operation.key, expected_version=found.version if found else 0)

    bent = replace(write, operations=tuple(passing(operation) for operation in write.operations))
    return decide(bent, current, now=now, version=version)


def zero_means_no_guard(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    def bend(operation: Operation) -> Operation:
        if isinstance(operation, Put | Remove) and operation.expected_version == 0:
            return replace(operation, expected_version=None)
        return operation

    bent = replace(write, operations=tuple(bend(operation) for operation in write.operations))
    return decide(bent, current, now=now, version=version)


def expired_matches_guard(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    rows = {
        key: copy._replace(expire_time=None) if isinstance(copy, Entry) and copy.expired(now) else copy
        for key, copy in current.items()
    }
    return decide(write, rows, now=now, version=version)


def gone_one_millisecond_late(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    rows = {
        key: copy._replace(expire_time=None) if isinstance(copy, Entry) and copy.expire_time == now else copy
        for key, copy in current.items()
    }
    return decide(write, rows, now=now, version=version)


def tombstone_matches_guard(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    def revived(copy: Copy | None) -> Copy | None:
        if not isinstance(copy, Tombstone):
            return copy
        return entry(namespace=copy.namespace, key=copy.key, version=copy.version)

    return decide(write, {key: revived(copy) for key, copy in current.items()}, now=now, version=version)


def epoch_ignored(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    try:
        return decide(write, current, now=now, version=version)
    except FailedPrecondition as exc:
        if exc.reason != "EPOCH_CHANGED":
            raise
        expected = int(exc.metadata["expected_version"])
        raise VersionConflict(key=write.operations[0].key, expected_version=expected, current_version=0) from exc


def conflict_without_current_version(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    try:
        return decide(write, current, now=now, version=version)
    except VersionConflict as exc:
        raise VersionConflict(key=exc.key, expected_version=exc.expected_version, current_version=0) from exc


def failing_operation_not_named(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    try:
        return decide(write, current, now=now, version=version)
    except SidecarError as exc:
        exc.metadata.pop("operation", None)
        raise


def update_resets_fixed_ttl(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    return decide(replace(write, sliding=True), current, now=now, version=version)


def update_does_not_slide(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    return decide(replace(write, sliding=False), current, now=now, version=version)


def namespace_ttl_ignored(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    return decide(replace(write, ttl_default_ms=None), current, now=now, version=version)


def update_loses_labels(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    changed = {operation.key for operation in write.operations if isinstance(operation, Change)}
    copies = tuple(
        copy._replace(labels={}) if isinstance(copy, Entry) and copy.key in changed else copy for copy in decided.copies
    )
    return replace(decided, copies=copies)


def put_keeps_the_old_end(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)

    def kept(copy: Copy) -> Copy:
        before = live(current.get(copy.key), now)
        if before is None or not isinstance(copy, Entry) or copy.expire_time is not None:
            return copy
        return copy._replace(expire_time=before.expire_time, ttl_ms=before.ttl_ms)

    return replace(decided, copies=tuple(kept(copy) for copy in decided.copies))


def create_time_moves(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    copies = tuple(copy._replace(create_time=now) if isinstance(copy, Entry) else copy for copy in decided.copies)
    return replace(decided, copies=copies)


def same_value_is_no_change(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)

    def changed(copy: Copy) -> bool:
        before = live(current.get(copy.key), now)
        return before is None or not isinstance(copy, Entry) or before.value != copy.value

    return replace(decided, copies=tuple(copy for copy in decided.copies if changed(copy)))


def value_trimmed_at_zero_byte(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    copies = tuple(
        copy._replace(value=copy.value.split(b"\0")[0]) if isinstance(copy, Entry) else copy for copy in decided.copies
    )
    return replace(decided, copies=copies)


def _with_changes(
    write: Write, bend: Callable[[MergePatch | Append | Increment], MergePatch | Append | Increment]
) -> Write:
    operations = tuple(
        replace(operation, change=bend(operation.change)) if isinstance(operation, Change) else operation
        for operation in write.operations
    )
    return replace(write, operations=operations)


def append_unbounded(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    bent = _with_changes(write, lambda change: replace(change, max_items=0) if isinstance(change, Append) else change)
    return decide(bent, current, now=now, version=version)


def increment_without_bounds(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    bent = _with_changes(
        write, lambda change: Increment(delta=change.delta) if isinstance(change, Increment) else change
    )
    return decide(bent, current, now=now, version=version)


def patch_keeps_nulls(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    def bend(change: MergePatch | Append | Increment) -> MergePatch | Append | Increment:
        if isinstance(change, MergePatch) and isinstance(change.patch, dict):
            return MergePatch(patch={name: 0 if value is None else value for name, value in change.patch.items()})
        return change

    return decide(_with_changes(write, bend), current, now=now, version=version)


def update_creates_uncalled(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    operations = tuple(
        replace(operation, create=True) if isinstance(operation, Change) else operation
        for operation in write.operations
    )
    return decide(replace(write, operations=operations), current, now=now, version=version)


def update_may_grow_without_bound(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    return decide(replace(write, value_bytes_max=1 << 40), current, now=now, version=version)
