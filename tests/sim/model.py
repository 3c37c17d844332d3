"""What operations do to a key, told once more and without any of the production code: the simulation's own model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.core.entry import Entry
from sidecar.core.operations import Append, Change, Increment, MergePatch, Operation, Put, Write


class Moment(NamedTuple):
    """An instant: its place in the order of steps, and the authority's clock."""

    tick: int
    ms: int


@dataclass(slots=True)
class State:
    """What a key was from `begin` to `end` (None: still). `value` None: absent."""

    version: int
    value: bytes | None
    expire_time: int | None
    ttl_ms: int | None
    begin: Moment
    end: Moment | None = None

    def over(self, ms: int) -> bool:
        """Whether it is an entry that has ended."""
        return self.value is not None and self.expire_time is not None and self.expire_time <= ms

    def until(self, moment: Moment) -> Moment:
        """Its end, or `moment` if that is earlier."""
        return moment if self.end is None or self.end.tick > moment.tick else self.end

    def matches(self, entry: Entry) -> bool:
        """Whether this is the state that an answer shows."""
        return (self.version, self.value, self.expire_time) == (entry.version, entry.value, entry.expire_time)


def value_after(operation: Operation, before: State | None) -> bytes:
    """What an operation makes of a value."""
    if isinstance(operation, Put):
        return operation.value
    assert isinstance(operation, Change)
    text = None if before is None else before.value
    match operation.change:
        case Increment(delta=delta):
            return b"%d" % (int(text or b"0") + delta)
        case Append(items=items, max_items=most):
            array = [*json.loads(text or b"[]"), *items]
            return json.dumps(array[-most:] if most else array, separators=(",", ":")).encode()
        case MergePatch(patch=patch):
            document = {**json.loads(text or b"{}"), **patch}
            kept = {name: value for name, value in document.items() if value is not None}
            return json.dumps(kept, separators=(",", ":")).encode()
    raise AssertionError(f"the model does not know {operation}")


def end_after(write: Write, operation: Operation, before: State | None, now: int) -> int | None:
    """The end that an operation gives its key."""
    assert isinstance(operation, Put | Change)
    if isinstance(operation, Put) or before is None:
        ttl = write.ttl_default_ms if operation.ttl_ms is None else operation.ttl_ms
    elif operation.ttl_ms is not None or write.sliding:
        ttl = before.ttl_ms if operation.ttl_ms is None else operation.ttl_ms
    else:
        return before.expire_time
    return None if ttl is None else now + ttl


def extends(before: State, end: int | None, ttl_ms: int | None) -> bool:
    """Whether an end moves by more than the slack of a sliding ttl, a tenth of it."""
    if before.expire_time is None:
        return False
    return end is None or ttl_ms is None or 10 * (end - before.expire_time) > ttl_ms
