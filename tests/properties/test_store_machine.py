"""Any sequence of calls leaves a store and the plain model of one in the same state, with the same answers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar
from unittest import TestCase

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.core.entry import Entry, Tombstone
from sidecar.core.errors import FailedPrecondition, InvalidRequest, VersionConflict
from sidecar.core.operations import Append, Change, Check, Increment, Operation, Put, Remove
from sidecar.core.store import ChangeKind, Outcome
from tests.contract.adapters import STORES
from tests.contract.harnesses import StoreHarness, StoreUnderTest
from tests.properties.model import Done, Grave, Model, Refusal
from tests.properties.plans import KEYS, changes, keys, plans, ttls, values
from tests.support.factories import NAMESPACE, request

TOMBSTONE_RETENTION_MS, REQUEST_RETENTION_MS = 5_000, 20_000


class StoreMachine(RuleBasedStateMachine):
    """Subclasses name the harness."""

    harness: ClassVar[StoreHarness]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.stack = AsyncExitStack()
        opened = self.harness.opened(Path(self.directory.name))
        self.store: StoreUnderTest = self.run(self.stack.enter_async_context(opened))
        self.model = Model()
        self.newest = 0
        self.answers: dict[str, tuple[tuple[Operation, ...], dict[str, Any], Any, int]] = {}
        self.told: list[tuple[int, str, ChangeKind]] = []

    def run(self, call: Awaitable[Any]) -> Any:
        """To its end, on the machine's loop."""

        async def awaited() -> Any:
            return await call

        return self.runner.run(awaited())

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        self.directory.cleanup()

    @initialize()
    def begin(self) -> None:
        self.cursor = self.run(self.store.cursor())

    @rule(milliseconds=st.sampled_from([1, 500, 999, 1000, 1001, 4000, 20_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.run(self.store.advance(milliseconds))

    @rule(
        planned=st.lists(plans, min_size=1, max_size=4, unique_by=lambda plan: plan[1]),
        ttl=ttls,
        sliding=st.booleans(),
        request_id=st.sampled_from([None, None, "r1", "r2", "r3"]),
    )
    def write(self, planned: list[Any], ttl: int | None, sliding: bool, request_id: str | None) -> None:
        operations = tuple(self.operation(*plan) for plan in planned)
        self.commit(operations, {"ttl_default_ms": ttl, "sliding": sliding}, request_id)

    @rule(key=keys, value=values, ttl=ttls)
    def put(self, key: str, value: bytes, ttl: int | None) -> None:
        self.commit((Put(key=key, value=value, ttl_ms=ttl),), {"ttl_default_ms": None, "sliding": False}, None)

    @rule(key=keys, change=changes, ttl=ttls, sliding=st.booleans())
    def update(self, key: str, change: Increment | Append, ttl: int | None, sliding: bool) -> None:
        operation = Change(key=key, change=change, create=True, ttl_ms=ttl, return_value=True)
        self.commit((operation,), {"ttl_default_ms": 1000, "sliding": sliding}, None)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.answers)))
        operations, fields, _, _ = self.answers[request_id]
        self.commit(operations, fields, request_id)

    @rule(key=keys, ttl=ttls, extend_only=st.booleans(), announce=st.booleans())
    def touch(self, key: str, ttl: int | None, extend_only: bool, announce: bool) -> None:
        before = self.model.live(key, self.now)
        answer = self.run(self.store.touch(key, ttl_ms=ttl, extend_only=extend_only, announce=announce))

        assert (answer.found, answer.expire_time) == self.model.touch(key, self.now, ttl, extend_only=extend_only)
        if announce and before is not None and self.model.rows[key] != before:
            self.told.append((before.version, key, ChangeKind.TOUCH))

    @rule()
    def sweep(self) -> None:
        self.follow_changes()  # What a sweep forgets was told before.
        order = self.store.sweep_order(
            tombstone_retention_ms=TOMBSTONE_RETENTION_MS, request_retention_ms=REQUEST_RETENTION_MS
        )
        swept = self.run(self.store.store.sweep(order))

        assert {grave.key for grave in swept.expired} == self.model.ended(self.now)
        for grave in swept.expired:
            assert grave.version > self.newest
            self.model.rows[grave.key] = Grave(grave.version, self.now)
            self.told.append((grave.version, grave.key, ChangeKind.EXPIRE))
        self.newest = max([self.newest, *[grave.version for grave in swept.expired]])
        old = {
            key
            for key, row in self.model.rows.items()
            if isinstance(row, Grave) and row.time + TOMBSTONE_RETENTION_MS <= self.now
        }
        assert swept.tombstones == len(old)
        for key in old:
            del self.model.rows[key]
        late = {id for id, answer in self.answers.items() if answer[3] + REQUEST_RETENTION_MS <= self.now}
        assert swept.requests == len(late)
        for request_id in late:
            del self.answers[request_id]

    @rule(prefix=st.sampled_from(["", "a", "b", "\ud7ff", "\U0001f680"]), limit=st.integers(1, 4))
    def delete_prefix(self, prefix: str, limit: int) -> None:
        doomed = {key for key in KEYS if key.startswith(prefix) and self.model.live(key, self.now)}
        deleted: set[str] = set()
        progress = None
        for _ in range(len(KEYS) + 2):
            progress = self.run(self.store.delete_prefix(prefix, limit=limit, progress=progress))
            assert len(progress.tombstones) <= limit
            for grave in progress.tombstones:
                assert grave.version > self.newest or grave.version in {version for version, _, _ in self.told}
                deleted.add(grave.key)
                self.model.rows[grave.key] = Grave(grave.version, self.now)
                self.model.handed_out.setdefault(grave.key, []).append(grave.version)
                self.told.append((grave.version, grave.key, ChangeKind.DELETE))
            self.newest = max([self.newest, *[grave.version for grave in progress.tombstones]])
            if progress.done:
                break
        assert progress is not None
        assert progress.done
        assert (deleted, progress.deleted_count) == (doomed, len(doomed))

    @rule(
        prefix=st.sampled_from(["", "a", "b", "\ue000", "\U0010ffff"]),
        limit=st.integers(1, 4),
        after=st.sampled_from([None, *KEYS]),
    )
    def scan(self, prefix: str, limit: int, after: str | None) -> None:
        page = self.run(self.store.scan(prefix, limit=limit, after=after))

        expected = [
            key
            for key in sorted(KEYS, key=lambda key: key.encode())
            if key.startswith(prefix) and self.model.live(key, self.now) and (after is None or key > after)
        ]
        assert [entry.key for entry in page.entries] == expected[:limit]
        assert page.more == (len(expected) > limit)

    @rule()
    def follow_changes(self) -> None:
        if not self.harness.changes:
            return
        page = self.run(self.store.store.changes(after=self.cursor, limit=10_000))

        assert not page.gap
        assert sorted((row.version, row.key, row.kind) for row in page.changes) == sorted(self.told)
        for key in KEYS:
            versions = [row.version for row in page.changes if row.key == key]
            assert versions == sorted(versions)
        self.cursor = page.cursor
        self.told.clear()

    @precondition(lambda self: self.harness.durable)
    @rule()
    def reopen(self) -> None:
        self.run(self.store.reopen())

    @invariant()
    def store_and_model_are_the_same(self) -> None:
        copies = self.run(self.store.store.get(NAMESPACE, KEYS))
        for key, copy in zip(KEYS, copies, strict=True):
            row = self.model.live(key, self.now)
            if row is None:
                assert not isinstance(copy, Entry), f"{key!r} is gone"
                grave = self.model.rows.get(key)
                assert isinstance(copy, Tombstone) == isinstance(grave, Grave)
                assert (copy.version if copy else 0) == (grave.version if grave else 0) or not isinstance(grave, Grave)
                continue
            assert isinstance(copy, Entry), f"{key!r} is lost"
            assert (copy.value, copy.version, dict(copy.labels)) == (row.value, row.version, row.labels)
            assert (copy.create_time, copy.update_time) == (row.created, row.updated)
            assert (copy.expire_time, copy.ttl_ms) == (row.end, row.ttl)

    @property
    def now(self) -> int:
        """The authority's clock, which is the model's too."""
        return self.store.clock.now()

    def operation(self, kind: str, key: str, *rest: Any) -> Operation:
        """A planned operation with its guard's version."""
        if kind == "change":
            change, create, ttl = rest
            return Change(key=key, change=change, create=create, ttl_ms=ttl, return_value=True)
        expected = self.guard(key, rest[0])
        if kind == "put":
            return Put(key=key, value=rest[1], ttl_ms=rest[2], expected_version=expected, labels={"of": key})
        if kind == "remove":
            return Remove(key=key, expected_version=expected)
        return Check(key=key, expected_version=expected or 0)

    def guard(self, key: str, kind: str) -> int | None:
        """The version that a guard of a kind names now."""
        match kind:
            case "none":
                return None
            case "zero":
                return 0
            case "current":
                return self.model.version(key, self.now)
            case "stale":
                return next(iter(self.model.handed_out.get(key, [])), 1)
            case "deleted":
                row = self.model.rows.get(key)
                return row.version if row else 1
            case _:
                # Far beyond: an empty store has not told its epoch yet.
                return (self.newest >> 48) + 4096 << 48 | 1

    def commit(self, operations: tuple[Operation, ...], fields: dict[str, Any], request_id: str | None) -> None:
        """The write, and what it has to answer."""
        known = None if request_id is None else self.answers.get(request_id)
        write_id = None if request_id is None else request(request_id, repr((operations, fields)))
        try:
            answer: Any = self.run(self.store.commit(*operations, request=write_id, **fields))
        except (VersionConflict, FailedPrecondition, InvalidRequest) as error:
            answer = error
        if known is not None and (known[0], known[1]) != (operations, fields):
            assert isinstance(answer, InvalidRequest)
            assert answer.reason == "REQUEST_ID_REUSED"
        elif known is not None:
            assert told(answer) == told(known[2])
            assert not isinstance(answer, Outcome) or answer.replayed
        else:
            self.check(operations, fields, answer)
            if request_id is not None:
                self.answers[request_id] = (operations, fields, answer, self.now)

    def check(self, operations: tuple[Operation, ...], fields: dict[str, Any], answer: Any) -> None:
        """A write's first answer is the model's."""
        version = answer.version if isinstance(answer, Outcome) and answer.version else self.newest + 1
        refusal, done = self.model_write(operations, version, fields)
        if refusal is not None:
            assert not isinstance(answer, Outcome), f"it has to be refused: {refusal.reason}"
            assert answer.reason == refusal.reason
            if refusal.found is not None:
                assert answer.current_version == refusal.found
            if len(operations) > 1:
                assert answer.metadata["operation"] == str(refusal.operation)
            return
        assert isinstance(answer, Outcome), f"refused: {answer!r}"
        assert not answer.replayed
        assert (answer.version > 0) == any(each.changed for each in done)
        if answer.version:
            assert answer.version > self.newest
            self.newest = answer.version
        for operation, each, result in zip(operations, done, answer.results, strict=True):
            value = each.value if isinstance(operation, Change) else None
            assert Done(result.found, result.version > 0, result.expire_time, result.value) == Done(
                each.found, each.changed, each.end, value
            )
            if each.changed:
                kind = ChangeKind.DELETE if isinstance(operation, Remove) else ChangeKind.PUT
                self.told.append((answer.version, operation.key, kind))

    def model_write(
        self, operations: tuple[Operation, ...], version: int, fields: dict[str, Any]
    ) -> tuple[Refusal | None, list[Done]]:
        """What the model says to a write."""
        ttl, sliding = fields["ttl_default_ms"], fields["sliding"]
        try:
            return None, self.model.write(operations, version, self.now, ttl=ttl, sliding=sliding)
        except Refusal as refusal:
            return refusal, []


def told(answer: Any) -> Any:
    """What of an answer a caller hears."""
    if isinstance(answer, Outcome):
        return answer.version, answer.results
    return type(answer), answer.reason, answer.metadata


EMBEDDED = frozenset({"memory", "sqlite"})


def machine(harness: StoreHarness) -> type[TestCase]:
    """A test of the machine on a harness. An example is dozens of calls: half as many as of the plain properties, and of
    those that go to a server a twelfth.
    """
    kind = type(f"{harness.name.title()}Machine", (StoreMachine,), {"harness": harness})
    case: type[TestCase] = kind.TestCase  # type: ignore[attr-defined]  # made by hypothesis
    case.settings = settings(max_examples=settings().max_examples // (2 if harness.name in EMBEDDED else 12))  # type: ignore[attr-defined]
    case.pytestmark = [pytest.mark.timeout(3_600)]  # type: ignore[attr-defined]  # for the long profile
    return case


for _harness in STORES:
    globals()[f"Test{_harness.name.title()}Machine"] = machine(_harness)
