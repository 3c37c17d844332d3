"""Writes: one script each. What only the daemon can compute (merge patch, append, an increment that is out of the
ordinary) is computed here for the state that the script answers, and committed if that is still there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from sidecar.core.entry import Copy
from sidecar.core.errors import DECISIONS, DeadlineExceeded, LimitExceeded
from sidecar.core.operations import Change, Put, Write
from sidecar.core.ports import Clock
from sidecar.core.store import Outcome
from sidecar.stores.redis import store_outcomes
from sidecar.stores.redis.script import Argument
from sidecar.stores.redis.store_operations import Encoded, changed, computed, encode, loaded, refused
from sidecar.stores.redis.store_rows import NONE, Shard, copy_of, entry_corrupt, field_of, names_of
from sidecar.stores.redis.store_turns import Turns

ATTEMPTS_MAX = 100
"""A computed write gives up when others were faster this often in a row."""

Run = Callable[[Shard, Sequence[Argument]], Awaitable[list[Any]]]
"""Runs `store_commit.lua` with a request, its fingerprint, and the operations; its reply."""


class Commits:
    """Commits writes through `run`; `now` is the authority's clock as far as it is known here."""

    def __init__(self, run: Run, *, now: Callable[[], int], clock: Clock) -> None:
        self._run = run
        self._now = now
        self._clock = clock
        self._turns = Turns()

    async def commit(self, shard: Shard, write: Write) -> Outcome:
        """Apply a write. Raises a Decision, or an error that says whether anything was written."""
        work = _Work(shard, write)
        if not work.computes:
            outcome = await self._attempt(work)
            if outcome is not None:
                return outcome
        async with self._turns.take(work.changes) as turns:
            for field, turn in turns.items():
                if turn.left is not None:
                    work.begin_with(field, *turn.left, now=self._now())
            for _ in range(ATTEMPTS_MAX):
                outcome = await self._attempt(work)
                if outcome is not None:
                    for field, left in work.left.items():
                        turns[field].left = left
                    return outcome
        raise LimitExceeded(f"other writers of the key were faster {ATTEMPTS_MAX} times in a row; nothing was written")

    async def _attempt(self, work: _Work) -> Outcome | None:
        """None: something was loaded, and the next attempt is for that."""
        deadline = work.write.deadline
        if deadline is not None and self._clock.monotonic() >= deadline:
            raise DeadlineExceeded("the deadline passed before the write began; nothing was written")
        now, what, *rest = await self._run(work.shard, work.arguments())
        if what == b"load":
            work.load(*rest, now=now)
            return None
        return work.outcome(what, *rest)


class _Work:
    """A write on its way. `left`: the heads and values that it left where it computed them."""

    def __init__(self, shard: Shard, write: Write) -> None:
        self.shard = shard
        self.write = write
        self.left: dict[bytes, tuple[bytes, bytes]] = {}
        self._encoded: list[Encoded] = [encode(write, operation, shard) for operation in write.operations]
        self._values: dict[int, bytes] = {}
        self._changes = {
            field_of(write.namespace, operation.key): (index, operation)
            for index, operation in enumerate(write.operations)
            if type(operation) is Change
        }

    @property
    def computes(self) -> bool:
        """Whether the script can't decide it alone."""
        return any(encoded[0] == b"X" for encoded in self._encoded)

    @property
    def changes(self) -> Sequence[bytes]:
        """The fields that are changed in place."""
        return list(self._changes)

    def arguments(self) -> list[Argument]:
        """What the script takes after the clock and the bounds."""
        request = self.write.request
        arguments: list[Argument] = [NONE, NONE, NONE]
        if request is not None:
            tentative = b"1" if self.write.tentative else NONE
            arguments = [field_of(self.write.namespace, request.request_id), request.fingerprint, tentative]
        for encoded in self._encoded:
            arguments += encoded
        return arguments

    def begin_with(self, field: bytes, raw: bytes, value: bytes, *, now: int) -> None:
        """Compute for what the last one on turn left, which saves loading it. Raises DataLoss."""
        index, _ = self._changes[field]
        if self._encoded[index][0] == b"X":
            self._compute(field, raw, value, now, certain=False)

    def load(self, rows: Sequence[Any], *, now: int) -> None:
        """Compute for what is stored. Raises DataLoss, or a refusal that is certain and needs not be remembered."""
        for position in range(0, len(rows), 3):
            field, raw, value = rows[position : position + 3]
            # What comes before the first of them is not refused: the script has looked, at the same time.
            self._compute(field, raw, value, now, certain=position == 0 and self.write.request is None)

    def _compute(self, field: bytes, raw: bytes, value: bytes, now: int, *, certain: bool) -> None:
        write = self.write
        index, operation = self._changes[field]
        entry = loaded(write, operation, self.shard, now=now, raw=raw, value=value)
        found = entry is not None
        try:
            value, told = computed(write, operation, entry, now=now)
        except DECISIONS as refusal:
            write.name_operation(index, refusal)
            if certain:
                raise
            self._encoded[index] = refused(write, operation, refusal, found=found, raw=raw)
        else:
            self._values[index] = value
            self._encoded[index] = changed(write, operation, value, told, found=found, raw=raw)

    def outcome(self, what: bytes, told: bytes, made: Sequence[bytes] = ()) -> Outcome:
        """What the write did. Raises the Decision that it met, or DataLoss."""
        write = self.write
        if what == b"known":
            assert write.request is not None, "only a request id is known"
            known = store_outcomes.recorded(write.namespace, write.request, told)
            return store_outcomes.decode(write, known, self.shard, replayed=True)
        if what == b"corrupt":
            raise entry_corrupt(*names_of(told))
        outcome = store_outcomes.decode(write, told, self.shard, replayed=False)
        indexes = [index for index, result in enumerate(outcome.results) if result.version]
        pairs = zip(indexes, made[::2], made[1::2], strict=True)
        return replace(outcome, copies=tuple([self._copy(index, raw, value) for index, raw, value in pairs]))

    def _copy(self, index: int, raw: bytes, value: bytes) -> Copy:
        """The state that an operation left; `value` is what the script made, if it made one."""
        operation = self.write.operations[index]
        if type(operation) is Put:
            value = operation.value
        elif index in self._values:
            value = self._values[index]
            self.left[field_of(self.write.namespace, operation.key)] = (raw, value)
        return copy_of(self.write.namespace, operation.key, raw, value, self.shard)
