"""Wrong decisions about what is stored in silence: relocations, checks of the ledger, checkpoints made by a commit.

Messages and forgotten rows: `outbox_decisions.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sidecar.core import marks
from sidecar.core.decide import Decided, decide
from sidecar.core.entry import Copy, Entry, live
from sidecar.core.errors import FailedPrecondition, SchemaDiffers
from sidecar.core.operations import Check, Operation, Relocate, Write

Rows = Mapping[str, Copy | None]


def _bent(write: Write, current: Rows, now: int, *kinds: type[Operation]) -> Write:
    """The write without the guards of operations of these kinds."""

    def bend(operation: Operation) -> Operation:
        found = live(current.get(operation.key), now)
        meant = isinstance(operation, kinds) and not (isinstance(operation, Check) and not operation.ledger)
        return replace(operation, expected_version=found.version if found else 0) if meant else operation  # type: ignore[arg-type]  # all have one

    return replace(write, operations=tuple(bend(operation) for operation in write.operations))


def relocation_of_any_schema(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    def bend(operation: Operation) -> Operation:
        return replace(operation, expected_schema=None) if isinstance(operation, Relocate) else operation

    bent = replace(write, operations=tuple(bend(operation) for operation in write.operations))
    return decide(bent, current, now=now, version=version)


def relocation_always_drops_the_rest(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    meant = {
        operation.key
        for operation in write.operations
        if isinstance(operation, Relocate) and operation.schema_version is None
    }
    quiet = tuple(
        entry._replace(labels=marks.without(entry.labels, marks.SCHEMA)) if entry.key in meant else entry
        for entry in decided.quiet
    )
    return replace(decided, quiet=quiet)


def relocation_keeps_the_rest_before(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)

    def kept(entry: Entry) -> Entry:
        before = current.get(entry.key)
        rest = before.labels.get(marks.SCHEMA) if isinstance(before, Entry) else None
        return entry if rest is None else entry._replace(labels={marks.SCHEMA: rest, **entry.labels})

    return replace(decided, quiet=tuple(kept(entry) for entry in decided.quiet))


def changes_of_any_schema(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    return decide(replace(write, schema=None), current, now=now, version=version)


def changes_where_more_is_kept(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    bare = {
        key: copy._replace(labels=marks.without(copy.labels, marks.SCHEMA)) if isinstance(copy, Entry) else copy
        for key, copy in current.items()
    }
    return decide(write, bare if write.schema is not None else current, now=now, version=version)


def another_schema_is_a_refusal(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    try:
        return decide(write, current, now=now, version=version)
    except SchemaDiffers as exc:
        raise FailedPrecondition(exc.message, reason="SCHEMA_CONTENDED") from exc


def created_in_no_schema(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    copies = tuple(
        copy._replace(schema_version=0) if isinstance(copy, Entry) and current.get(copy.key) is None else copy
        for copy in decided.copies
    )
    return replace(decided, copies=copies) if write.schema is not None else decided


def relocation_unguarded(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    return decide(_bent(write, current, now, Relocate), current, now=now, version=version)


def ledger_check_ignored(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    return decide(_bent(write, current, now, Check), current, now=now, version=version)


def relocation_is_a_change(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    moved = {operation.key for operation in write.operations if isinstance(operation, Relocate)}
    told = tuple(entry._replace(version=version) for entry in decided.quiet if entry.key in moved)
    quiet = tuple(entry for entry in decided.quiet if entry.key not in moved)
    return replace(decided, copies=decided.copies + told, quiet=quiet)


def relocation_takes_the_callers_labels(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    moved = {operation.key: operation.marks for operation in write.operations if isinstance(operation, Relocate)}
    quiet = tuple(entry._replace(labels=moved[entry.key]) if entry.key in moved else entry for entry in decided.quiet)
    return replace(decided, quiet=quiet)


def value_away_is_an_empty_one(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    def there(copy: Copy | None) -> Copy | None:
        return copy._replace(labels=marks.without(copy.labels, marks.BLOB)) if isinstance(copy, Entry) else copy

    if any(isinstance(operation, Relocate) for operation in write.operations):
        return decide(write, current, now=now, version=version)
    return decide(write, {key: there(copy) for key, copy in current.items()}, now=now, version=version)


def checkpoints_are_announced(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    if not write.checkpoint_every:
        return decided
    return replace(decided, copies=decided.copies + decided.quiet, quiet=())


def checkpoints_of_what_was_before(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    """One is made for the change after the one that it is due at."""
    decided = decide(write, current, now=now, version=version)
    counts = [marks.updates_of(copy) for copy in decided.copies if isinstance(copy, Entry)]
    return replace(decided, quiet=()) if write.checkpoint_every and 1 not in counts else decided


def updates_are_counted_once(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    copies = tuple(
        copy._replace(labels=marks.without(copy.labels, marks.UPDATES)) if isinstance(copy, Entry) else copy
        for copy in decided.copies
    )
    return replace(decided, copies=copies)
