"""Wrong decisions about messages and forgotten rows: told to somebody, of nothing, under wrong names, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sidecar.core import outbox
from sidecar.core.decide import Decided, decide
from sidecar.core.entry import Copy, Entry, Tombstone, live
from sidecar.core.errors import VersionConflict
from sidecar.core.operations import Forget, Operation, Write
from sidecar.core.outbox import Pending

Rows = Mapping[str, Copy | None]


def _with_messages(decided: Decided, bend: Callable[[Pending], Pending]) -> Decided:
    """The rows of messages that were bent."""

    def row(entry: Entry) -> Entry:
        bent = bend(Pending.decode(entry))
        return entry._replace(key=bent.row, value=bent.encode())

    return replace(decided, messages=tuple(row(entry) for entry in decided.messages))


def _with_forgets(write: Write, bend: Callable[[Forget], Forget]) -> Write:
    operations: list[Operation] = [bend(one) if isinstance(one, Forget) else one for one in write.operations]
    return replace(write, operations=tuple(operations))


def messages_are_announced(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    return replace(decided, copies=decided.copies + decided.messages, messages=())


def messages_of_what_did_nothing(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    keys = [operation.key for operation in write.operations]
    did = [True] * len(keys)
    return replace(decided, messages=outbox.rows(write.outbox, write.namespace, keys, did, now=now, version=version))


def message_ids_without_the_version(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    return _with_messages(decided, lambda one: replace(one, id=outbox.message_id(0, int(one.id[16:], 16))))


def message_ids_count_those_that_go_out(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    ids = {Pending.decode(row).id: outbox.message_id(version, n) for n, row in enumerate(decided.messages)}
    return _with_messages(decided, lambda one: replace(one, id=ids[one.id]))


def messages_ordered_by_the_first_key(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    return _with_messages(decided, lambda one: replace(one, order=outbox.order_of(write.operations[0].key)))


def messages_of_a_whole_write_have_a_key(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    return _with_messages(decided, lambda one: replace(one, key=one.key or write.operations[0].key))


def messages_without_their_time(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    return _with_messages(decided, lambda one: replace(one, commit_time=0))


def messages_lost_under_a_request_id(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    bent = write if write.request is None else replace(write, outbox=())
    return decide(bent, current, now=now, version=version)


def messages_only_with_a_change(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    return decided if decided.copies else replace(decided, messages=())


def payloads_as_text(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    decided = decide(write, current, now=now, version=version)
    return _with_messages(
        decided, lambda one: replace(one, payload=one.payload.decode(errors="replace").encode(errors="replace"))
    )


def nothing_is_forgotten(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    return replace(decide(write, current, now=now, version=version), forgotten=())


def forgetting_is_a_deletion(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    """A tombstone, a change row and a version."""
    decided = decide(write, current, now=now, version=version)
    graves = tuple(
        Tombstone(namespace=write.namespace, key=key, version=version, delete_time=now) for key in decided.forgotten
    )
    return replace(decided, copies=decided.copies + graves, forgotten=())


def forgetting_leaves_a_tombstone(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    """In silence, but what would be swept is there."""
    decided = decide(write, current, now=now, version=version)
    graves: list[Any] = [
        Tombstone(namespace=write.namespace, key=key, version=copy.version, delete_time=now)
        for key in decided.forgotten
        if (copy := current.get(key)) is not None
    ]
    return replace(decided, quiet=(*decided.quiet, *graves), forgotten=())


def forgetting_is_unguarded(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    return decide(
        _with_forgets(write, lambda one: replace(one, expected_version=None)), current, now=now, version=version
    )


def forgetting_needs_a_row(write: Write, current: Rows, *, now: int, version: int) -> Decided:
    for operation in write.operations:
        if isinstance(operation, Forget) and live(current.get(operation.key), now) is None:
            raise VersionConflict(key=operation.key, expected_version=1, current_version=0)
    return decide(write, current, now=now, version=version)
