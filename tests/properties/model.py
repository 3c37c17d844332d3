"""What a store should be, in the plainest form: a dict and a clock. Written from the contract, without the core's decisions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.core.operations import Append, Change, Check, Increment, Operation, Put, Remove

EPOCH_BITS = 48


@dataclass(frozen=True, kw_only=True)
class Row:
    """An entry, ended or not."""

    value: bytes
    version: int
    created: int
    updated: int
    end: int | None
    ttl: int | None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Grave:
    """A deletion."""

    version: int
    time: int


@dataclass(frozen=True)
class Done:
    """What one operation did: found, changed, end, value."""

    found: bool
    changed: bool
    end: int | None = None
    value: bytes | None = None


class Refusal(Exception):
    """Why nothing was done: the reason, the version that was found, the operation's number."""

    def __init__(self, reason: str, found: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.found = found
        self.operation = 0


class Model:
    """One namespace."""

    def __init__(self) -> None:
        self.rows: dict[str, Row | Grave] = {}
        self.handed_out: dict[str, list[int]] = {}

    def live(self, key: str, now: int) -> Row | None:
        """The entry that a reader sees."""
        row = self.rows.get(key)
        if isinstance(row, Row) and (row.end is None or now < row.end):
            return row
        return None

    def version(self, key: str, now: int) -> int:
        """0: there is none."""
        row = self.live(key, now)
        return row.version if row else 0

    def write(
        self, operations: Sequence[Operation], version: int, now: int, *, ttl: int | None, sliding: bool
    ) -> list[Done]:
        """All or nothing."""
        rows = dict(self.rows)
        done = []
        for number, operation in enumerate(operations):
            try:
                done.append(self._one(rows, operation, version, now, ttl, sliding))
            except Refusal as refusal:
                refusal.operation = number
                raise
        self.rows = rows
        for operation, each in zip(operations, done, strict=True):
            if each.changed:
                self.handed_out.setdefault(operation.key, []).append(version)
        return done

    def _one(
        self,
        rows: dict[str, Row | Grave],
        operation: Operation,
        version: int,
        now: int,
        ttl: int | None,
        sliding: bool,
    ) -> Done:
        key, row = operation.key, self.live(operation.key, now)
        guard = None if isinstance(operation, Change) else operation.expected_version
        if guard is not None:
            if guard >> EPOCH_BITS > version >> EPOCH_BITS:
                raise Refusal("EPOCH_CHANGED")
            if guard != (row.version if row else 0):
                raise Refusal("VERSION_MISMATCH", row.version if row else 0)
        if isinstance(operation, Check):
            return Done(row is not None, False)
        if isinstance(operation, Remove):
            if row:
                rows[key] = Grave(version, now)
            return Done(row is not None, row is not None)
        if isinstance(operation, Put):
            lifetime = operation.ttl_ms if operation.ttl_ms is not None else ttl
            end = None if lifetime is None else now + lifetime
            created = row.created if row else now
            rows[key] = Row(
                value=operation.value,
                version=version,
                created=created,
                updated=now,
                end=end,
                ttl=lifetime,
                labels=dict(operation.labels),
            )
            return Done(row is not None, True, end)
        assert isinstance(operation, Change), "no caller relocates"
        return self._change(rows, operation, version, now, ttl, sliding)

    def _change(
        self,
        rows: dict[str, Row | Grave],
        operation: Change,
        version: int,
        now: int,
        ttl: int | None,
        sliding: bool,
    ) -> Done:
        row = self.live(operation.key, now)
        if row is None and not operation.create:
            raise Refusal("KEY_NOT_FOUND")
        value = changed(operation.change, row.value if row else None)
        if row is None:
            lifetime = operation.ttl_ms if operation.ttl_ms is not None else ttl
            row = Row(value=b"", version=0, created=now, updated=now, end=None, ttl=lifetime)
            after = replace(row, end=None if lifetime is None else now + lifetime)
        elif operation.ttl_ms is not None:
            after = replace(row, end=now + operation.ttl_ms, ttl=operation.ttl_ms)
        elif sliding and row.ttl is not None:
            after = replace(row, end=now + row.ttl)
        else:
            after = row
        after = replace(after, value=value, version=version, updated=now)
        found = self.live(operation.key, now) is not None
        rows[operation.key] = after
        return Done(found, True, after.end, value)

    def touch(self, key: str, now: int, ttl: int | None, *, extend_only: bool) -> tuple[bool, int | None]:
        """Whether it was there, and its end."""
        row = self.live(key, now)
        if row is None:
            return False, None
        lifetime = row.ttl if ttl is None else ttl
        end = None if lifetime is None else now + lifetime
        if extend_only and row.end is None:
            return True, None
        # A gain of a tenth of the ttl or less is not worth a write.
        if extend_only and end is not None and row.end is not None and 10 * (end - row.end) <= (lifetime or 0):
            return True, row.end
        self.rows[key] = replace(row, end=end, ttl=lifetime)
        return True, end

    def ended(self, now: int) -> set[str]:
        """Keys that a sweep has to end."""
        return {
            key for key, row in self.rows.items() if isinstance(row, Row) and row.end is not None and row.end <= now
        }


def changed(change: Any, value: bytes | None) -> bytes:
    """A counter, or a list of small integers: the only updates that the machine makes."""
    if isinstance(change, Increment):
        if value is not None and not value.lstrip(b"-").isdigit():
            raise Refusal("NOT_A_COUNTER")
        total = int(value or b"0") + change.delta
        if abs(total) >= 1 << 63:
            raise Refusal("INCREMENT_OVERFLOW")
        if change.maximum is not None and total > change.maximum:
            raise Refusal("COUNTER_OUT_OF_BOUNDS")
        return str(total).encode()
    assert isinstance(change, Append)
    try:
        items = [] if value is None else json.loads(value)
    except ValueError:
        items = None
    if not isinstance(items, list):
        raise Refusal("NOT_A_JSON_ARRAY")
    items = [*items, *change.items]
    items = items[len(items) - change.max_items :] if 0 < change.max_items < len(items) else items
    return ("[" + ",".join(str(item) for item in items) + "]").encode()
