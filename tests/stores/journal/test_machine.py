"""Any sequence of calls, restarts and kills leaves a journal and the plain model of one in the same state."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar
from unittest import TestCase

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.core.errors import LimitExceeded
from sidecar.core.journal import Base, Buffered, DeadWrite, Settlement
from sidecar.core.operations import Append, Change, Increment, MergePatch, Put
from tests.stores.journal.subjects import BYTES_MAX, SUBJECTS, Subject, buffering, opened

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
int64s = st.integers(-(2**63), 2**63 - 1)
names = st.sampled_from(["a", "b", "c/\u00e9"])
values = st.binary(max_size=40) | st.sampled_from([900, 1200, BYTES_MAX // 5]).map(bytes)
ttls = st.none() | st.integers(1, 2**40)
puts = st.builds(
    Put,
    key=names,
    value=values,
    content_type=st.text(max_size=3),
    schema_version=st.integers(0, 2**32 - 1),
    labels=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    ttl_ms=ttls,
    expected_version=st.none() | int64s,
)
changes = st.builds(
    Change,
    key=names,
    change=st.builds(MergePatch, patch=json_values)
    | st.builds(Append, items=st.lists(json_values, max_size=3).map(tuple), max_items=st.integers(0, 9))
    | st.builds(Increment, delta=int64s, minimum=st.none() | int64s, maximum=st.none() | int64s),
    create=st.booleans(),
    ttl_ms=ttls,
    return_value=st.booleans(),
)
bases = st.none() | st.builds(Base, version=st.integers(0, 2**63 - 1), value=st.none() | st.binary(max_size=9))
writes = st.builds(lambda operation, base, hlc: buffering(operation, base=base, hlc=hlc), puts | changes, bases, int64s)


class JournalMachine(RuleBasedStateMachine):
    """Subclasses name the subject."""

    make: ClassVar[Callable[[Path], Subject]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.stack = AsyncExitStack()
        self.pending: list[Buffered] = []
        self.dead: list[DeadWrite] = []
        self.forgettable: list[Buffered] = []
        """Settled since the last call that made all durable."""
        self.newest = 0

    def run(self, call: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await call

        return self.runner.run(awaited())

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        self.directory.cleanup()

    @initialize()
    def begin(self) -> None:
        subject = opened(type(self).make, Path(self.directory.name))
        self.subject: Subject = self.run(self.stack.enter_async_context(subject))

    @rule(write=writes)
    def append(self, write: Any) -> None:
        self.append_all([write])

    @rule(group=st.lists(writes, min_size=2, max_size=6))
    def append_all(self, group: list[Any]) -> None:
        async def gathered() -> list[Any]:
            calls = [self.subject.journal.append(write) for write in group]
            return await asyncio.gather(*calls, return_exceptions=True)

        held = self.subject.journal.bytes_held
        for write, answer in zip(group, self.run(gathered()), strict=True):
            if isinstance(answer, LimitExceeded):
                assert held + sum(len(getattr(each.operation, "value", b"")) for each in group) > BYTES_MAX // 2
                continue
            assert answer.write == write
            assert answer.sequence > self.newest
            self.newest = answer.sequence
            self.pending.append(answer)
            self.forgettable.clear()

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), settlement=st.sampled_from([Settlement.APPLIED, Settlement.MERGED]))
    def settle(self, data: st.DataObject, settlement: Settlement) -> None:
        buffered = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        self.run(self.subject.journal.settle(buffered.sequence, settlement))
        self.forgettable.append(buffered)

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), message=st.text(max_size=20), now=int64s)
    def bury(self, data: st.DataObject, message: str, now: int) -> None:
        buffered = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        self.run(self.subject.journal.bury(buffered.sequence, reason="R", message=message, now=now))
        self.dead.append(DeadWrite(buffered=buffered, reason="R", message=message, dead_time=now))
        self.forgettable.clear()

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        dead = self.dead.pop(data.draw(st.integers(0, len(self.dead) - 1)))
        self.run(self.subject.journal.remove(dead.buffered.sequence))
        self.forgettable.clear()

    @rule()
    def reopen(self) -> None:
        held = self.subject.journal.bytes_held
        self.run(self.subject.reopen())
        self.forgettable.clear()

        assert self.subject.journal.bytes_held == held

    @rule()
    def crash(self) -> None:
        self.run(self.subject.crash())

        # What a crash forgot, or not, is settled again: what comes next must not depend on it.
        for buffered in [each for each in self.subject.journal.pending() if each in self.forgettable]:
            self.run(self.subject.journal.settle(buffered.sequence, Settlement.APPLIED))

    @invariant()
    def is_as_the_model(self) -> None:
        assert list(self.subject.journal.pending()) == self.pending
        assert list(self.subject.journal.dead()) == self.dead
        assert bool(self.subject.journal.bytes_held) == bool(self.pending or self.dead)
        assert self.subject.journal.bytes_held < BYTES_MAX + 10_000


def machine(name: str, share: int) -> type[TestCase]:
    """A test of the machine on a subject, with a part of the examples of a plain property: an example is dozens of calls."""
    kind = type(f"{name.title()}Machine", (JournalMachine,), {"make": staticmethod(SUBJECTS[name])})
    case: type[TestCase] = kind.TestCase  # type: ignore[attr-defined]  # made by hypothesis
    case.settings = settings(max_examples=settings().max_examples // share)  # type: ignore[attr-defined]
    case.pytestmark = [pytest.mark.timeout(3_600)]  # type: ignore[attr-defined]  # for the long profile
    return case


TestFilesMachine = machine("files", 8)
TestMemoryMachine = machine("memory", 4)
