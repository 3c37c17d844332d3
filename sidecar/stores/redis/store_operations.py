"""Operations of a write as the arguments of `store_commit.lua`, which describes them letter by letter."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from sidecar.core.decide import decide
from sidecar.core.entry import SEQUENCE_MASK, Entry, live
from sidecar.core.errors import Decision, Unsupported
from sidecar.core.operations import (
    JSON_CONTENT_TYPE,
    Change,
    Check,
    Forget,
    Increment,
    Operation,
    Put,
    Relocate,
    Remove,
    Write,
)
from sidecar.stores.redis.script import Argument
from sidecar.stores.redis.store_outcomes import encode_refusal
from sidecar.stores.redis.store_rows import NONE, Shard, details, digest, field_of, verified

EXACT_MAX = 10**15
"""Numbers up to here, and sums of two, are exact in a script."""
_YES = b"1"
_BEGUN_DETAILS = details(JSON_CONTENT_TYPE, 0, {})

Encoded = list[Argument]


def encode(write: Write, operation: Operation, shard: Shard) -> Encoded:
    """An operation that the script decides; X: one that it can't."""
    field = field_of(write.namespace, operation.key)
    match operation:
        case Put():
            ttl = write.ttl_default_ms if operation.ttl_ms is None else operation.ttl_ms
            told = details(operation.content_type, operation.schema_version, {**operation.labels, **operation.marks})
            guard = shard.guard(operation.expected_version)
            return [b"P", field, guard, _optional(ttl), told, operation.value, digest(operation.value)]
        case Remove():
            return [b"R", field, shard.guard(operation.expected_version)]
        case Check():
            return [b"C", field, shard.guard(operation.expected_version)]
        case Change():
            change = operation.change
            if write.schema is not None or write.codec is not None or not isinstance(change, Increment):
                return [b"X", field]
            if not _exact(change.delta, change.minimum, change.maximum):
                return [b"X", field]
            bounds = [_optional(change.minimum), _optional(change.maximum)]
            how = _how(write, operation)
            return [b"I", field, *how, _flag(operation.create), change.delta, *bounds, write.value_bytes_max]
        case Relocate() | Forget():
            raise Unsupported("the hot tier keeps no rows in silence", metadata={"operation": type(operation).__name__})
        case _:
            assert_never(operation)


def loaded(write: Write, operation: Change, shard: Shard, *, now: int, raw: bytes, value: bytes) -> Entry | None:
    """The entry that a change finds in the head and value that were loaded at `now`. Raises DataLoss."""
    if not raw or live(verified(write.namespace, operation.key, raw, None, shard), now) is None:
        return None
    copy = verified(write.namespace, operation.key, raw, value, shard)
    assert isinstance(copy, Entry), "a tombstone is not live"
    return copy


def computed(write: Write, operation: Change, entry: Entry | None, *, now: int) -> tuple[bytes, bytes | None]:
    """The value that a change makes of an entry's, and what its result tells. Raises its refusal."""
    one = replace(write, operations=(operation,))
    decided = decide(one, {operation.key: entry}, now=now, version=SEQUENCE_MASK)
    (made,), (result,) = decided.copies, decided.results
    assert isinstance(made, Entry), "a change leaves an entry"
    return made.value, result.value


def changed(write: Write, operation: Change, value: bytes, told: bytes | None, *, found: bool, raw: bytes) -> Encoded:
    """A change with the value that was computed for a raw head, or for its absence, and what its result tells."""
    field = field_of(write.namespace, operation.key)
    other = NONE if told is None or told == value else told
    return [b"V", field, *_how(write, operation), _flag(found), raw, value, digest(value), other]


def refused(write: Write, operation: Change, refusal: Decision, *, found: bool, raw: bytes) -> Encoded:
    """A change with the refusal that it met there."""
    field = field_of(write.namespace, operation.key)
    return [b"F", field, _flag(found), raw, encode_refusal(refusal)]


def _how(write: Write, operation: Change) -> Encoded:
    ttl_new = write.ttl_default_ms if operation.ttl_ms is None else operation.ttl_ms
    moves = write.sliding or operation.ttl_ms is not None
    wants = _flag(operation.return_value)
    begun = _BEGUN_DETAILS if not write.schema else details(JSON_CONTENT_TYPE, write.schema, {})
    return [_optional(ttl_new), _flag(moves), _optional(operation.ttl_ms), wants, begun]


def _exact(*numbers: int | None) -> bool:
    return all(number is None or -EXACT_MAX <= number <= EXACT_MAX for number in numbers)


def _optional(number: int | None) -> Argument:
    return NONE if number is None else number


def _flag(value: bool) -> bytes:
    return _YES if value else NONE
