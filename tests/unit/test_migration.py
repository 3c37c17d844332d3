"""A migration: what it changes and what not, and that nobody's write is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.core import failpoints, marks
from sidecar.core.errors import FailedPrecondition, InvalidRequest, Passthrough, Unsupported
from sidecar.core.limits import Limits
from sidecar.core.operations import Put, Relocate, Write
from sidecar.core.policy import PolicyTable
from sidecar.core.schema import Schemas, Step
from sidecar.core.store import Store
from sidecar.engine.cleaning.progress import State
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.schemas import migration
from sidecar.engine.schemas.fleet import Fleet
from sidecar.engine.schemas.migration import Migrations, Progress
from sidecar.stores.files import FileBlobs
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.support.switched import SwitchedStore
from tests.unit.schemas_support import SPACE, STEPS, Sidecar

OLD = {"name": "n", "own": [1]}
SECOND = {"full_name": "n", "own": [1], "two": 0}
THIRD = {"person": {"name": "n"}, "own": [1], "two": 0, "three": 0}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return MemoryStore(clock=clock)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "PAGE", 3)
    monkeypatch.setattr(migration, "COUNT_PAGE", 4)


@pytest.fixture
async def three(store: Store, clock: ManualClock) -> Sidecar:
    """A daemon that knows 1 to 3, alone."""
    sidecar = Sidecar(store, clock, 3)
    await sidecar.fleet.look()
    return sidecar


@pytest.fixture(autouse=True)
def reached(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], None]]:
    """What happens at which place; nothing any more after the test."""
    armed: dict[str, Callable[[], None]] = {}
    monkeypatch.setattr(failpoints, "armed", armed)
    return armed


class Killed(BaseException):
    """The daemon's end."""


async def test_every_entry_comes_to_the_floor_under_its_version(three: Sidecar) -> None:
    versions = [await three.put(key, OLD, 1) for key in "ab"]
    versions += [await three.put("c", SECOND, 2), await three.put("d", THIRD, 3)]
    before = (await three.placement.authority.changes(after=None, limit=1)).cursor

    done = await three.migrate()

    assert done == Progress(state=State.DONE, target=3, scanned=4, migrated=3, total=4)
    rows = [await three.row(key) for key in "abcd"]
    assert [row.version for row in rows] == versions
    assert [(row.schema_version, json.loads(row.value)) for row in rows] == [(3, THIRD)] * 4
    changes = await three.placement.authority.changes(after=before, limit=100)
    assert {change.namespace for change in changes.changes} <= {"\x1f"}, "nobody is told"


async def test_again_there_is_nothing_to_do(three: Sidecar) -> None:
    await three.put("a", OLD, 1)
    await three.migrate()

    assert await three.migrate() == Progress(state=State.DONE, target=3, scanned=1, total=1)


async def test_all_but_value_and_schema_stays(three: Sidecar) -> None:
    await three.put("a", OLD, 1, labels={"color": "red"}, content_type="application/json", ttl_ms=60_000)
    before = await three.row("a")

    await three.migrate()

    after = await three.row("a")
    assert after._replace(value=b"", schema_version=0, labels={}) == before._replace(
        value=b"", schema_version=0, labels={}
    )
    assert after.labels["color"] == "red"


async def test_to_the_floor_of_a_mixed_fleet_and_then_to_the_next(
    three: Sidecar, store: Store, clock: ManualClock
) -> None:
    two = Sidecar(store, clock, 2)
    await two.fleet.look()
    await three.fleet.look()
    await three.put("a", OLD, 1)

    assert (await three.migrate()).target == 2
    assert await three.schemas() == [2]
    assert await three.document("a") == THIRD
    assert await two.document("a") == SECOND

    await two.fleet.leave()
    await three.fleet.look()
    assert (await three.migrate(target=9)).target == 3
    assert await three.schemas() == [3]


async def test_down_for_a_way_back_and_up_again_nothing_is_lost(three: Sidecar) -> None:
    full = {**THIRD, "two": 22, "three": 33}
    await three.put("a", full, 3)

    done = await three.migrate(target=1)

    assert (done.target, done.migrated, done.remaining) == (1, 1, 0)
    assert await three.schemas() == [1]
    assert await three.document("a", 1) == OLD
    assert await three.document("a") == full
    assert (await three.migrate()).migrated == 1
    assert json.loads((await three.row("a")).value) == full


async def test_the_way_back_of_a_rollout(three: Sidecar, store: Store, clock: ManualClock) -> None:
    full = {**THIRD, "three": 33}
    await three.put("a", full, 3)
    two = Sidecar(store, clock, 2)
    await two.fleet.look()  # it comes, and nobody is sent to it yet
    await three.fleet.look()

    done = await three.migrate()

    assert (done.target, done.migrated, done.remaining) == (2, 1, 0)
    assert await two.document("a", 2) == SECOND
    await two.fleet.leave()
    await three.fleet.look()
    await three.migrate()
    assert json.loads((await three.row("a")).value) == full


async def test_a_target_below_the_base_is_the_base(store: Store, clock: ManualClock) -> None:
    three = Sidecar(store, clock, 3, base=2)
    await three.fleet.look()

    assert (await three.migrate(target=1)).target == 2


async def test_a_dry_run_counts_and_tries_and_changes_nothing(three: Sidecar) -> None:
    await three.put("a", OLD, 1)
    await three.put("b", b"no JSON", 1)
    await three.put("c", THIRD, 3)
    before = (await three.placement.authority.changes(after=None, limit=1)).cursor

    done = await three.migrate(dry_run=True)

    assert (done.state, done.scanned, done.migrated, done.failed, done.remaining) == (State.DONE, 3, 1, 1, 2)
    assert (await three.placement.authority.changes(after=None, limit=1)).cursor == before
    assert await three.schemas() == [1, 1, 3]


async def test_what_fails_stays_and_is_told_with_its_reason(three: Sidecar) -> None:
    await three.put("a", OLD, 1)
    for number in range(12):
        await three.put(f"b{number:02}", b"no JSON", 1)
    await three.put("c", OLD, 9)
    await three.put("d", b"no JSON", 1, content_type="text/plain")

    done = await three.migrate()

    assert (done.migrated, done.failed, done.remaining) == (2, 13, 13)
    assert [failure.key for failure in done.failures] == [f"b{number:02}" for number in range(10)]
    assert "not JSON" in done.failures[0].message
    assert (await three.row("b00")).value == b"no JSON"


async def test_a_schema_that_no_step_leads_from_is_a_failure(store: Store, clock: ManualClock) -> None:
    three = Sidecar(store, clock, 3, base=2)
    await three.fleet.look()
    await three.put("newer", OLD, 4)
    await three.put("older", OLD, 1)

    done = await three.migrate()

    assert [failure.key for failure in done.failures] == ["newer", "older"]
    assert done.failures[0].message.startswith("the value has schema 4, at most 3")


async def test_values_that_nobody_said_a_schema_of_are_not_ours_unless_the_steps_begin_with_them(
    store: Store, clock: ManualClock
) -> None:
    three = Sidecar(store, clock, 3)
    await three.fleet.look()
    await three.put("a", OLD, 0)
    assert await three.migrate() == Progress(state=State.DONE, target=3, scanned=1, total=1)
    await three.fleet.leave()

    from_nothing = Sidecar(store, clock, 3, base=0, steps=(Step(lambda document: document), *STEPS))
    await from_nothing.fleet.look()
    assert (await from_nothing.migrate()).migrated == 1
    assert json.loads((await three.row("a")).value) == THIRD


# ---- others write meanwhile


async def test_a_write_between_look_and_commit_wins_and_is_migrated_itself(
    store: Store, clock: ManualClock, reached: dict[str, Any]
) -> None:
    switched: Any = SwitchedStore(store)
    three = Sidecar(switched, clock, 3)
    await three.fleet.look()
    await three.put("a", OLD, 1)
    written: list[int] = []

    async def commit(write: Write) -> Any:
        if not written and type(write.operations[0]) is Relocate:
            value = json.dumps({"name": "newer"}).encode()
            put = Put(key="a", value=value, schema_version=1, expected_version=write.operations[0].expected_version)
            rival = Write(namespace=SPACE, operations=(put,), value_bytes_max=100)
            written.append((await store.commit(rival)).version)
        return await store.commit(write)

    switched.commit = commit
    done = await three.migrate()

    row = await three.row("a")
    assert (done.migrated, done.failed, row.version) == (1, 0, written[0])
    assert json.loads(row.value) == {"person": {"name": "newer"}, "two": 0, "three": 0}


async def test_somebody_who_migrates_the_entry_meanwhile_is_no_error(
    three: Sidecar, reached: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await three.put("a", OLD, 1)
    row = await three.row("a")
    calls: list[Write] = []
    relocate = three.placement.relocate

    async def after_another(write: Write) -> Any:
        calls.append(write)
        value = json.dumps(THIRD).encode()
        first = Relocate(key="a", expected_version=row.version, value=value, schema_version=3, expected_schema=1)
        if len(calls) == 1:
            await relocate(Write(namespace=SPACE, operations=(first,), value_bytes_max=1 << 20))
        return await relocate(write)

    monkeypatch.setattr(three.placement, "relocate", after_another)
    done = await three.migrate()

    assert (done.migrated, done.failed, done.remaining, len(calls)) == (0, 0, 0, 1)
    assert json.loads((await three.row("a")).value) == THIRD


async def test_an_entry_that_is_gone_meanwhile_is_no_error(three: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    await three.put("a", OLD, 1, ttl_ms=1_000)
    resolve = three.placement.resolve

    async def late(*given: Any) -> Any:
        three.ports.clock.advance(2_000)
        return await resolve(*given)

    monkeypatch.setattr(three.placement, "resolve", late)
    done = await three.migrate()

    assert (done.state, done.migrated, done.failed, done.remaining) == (State.DONE, 0, 0, 0)


async def test_what_is_written_behind_it_in_an_older_schema_is_counted_in_the_end(
    three: Sidecar, small_pages: None
) -> None:
    for number in range(6):
        await three.put(f"{number}", OLD, 1)
    running = three.migrations.of(SPACE, target=0, dry_run=False).run()
    async with aclosing(running) as telling:
        await anext(telling)
        await three.put("0", OLD, 1)
        *_, progress = [told async for told in telling]

    assert (progress.migrated, progress.remaining) == (6, 1)


async def test_a_floor_that_falls_meanwhile_is_followed(
    three: Sidecar, store: Store, clock: ManualClock, small_pages: None
) -> None:
    for number in range(6):
        await three.put(f"{number}", OLD, 1)
    async with aclosing(three.migrations.of(SPACE, target=0, dry_run=False).run()) as telling:
        await anext(telling)
        await Sidecar(store, clock, 2).fleet.look()
        await three.fleet.look()
        *_, progress = [told async for told in telling]

    assert await three.schemas() == [3, 3, 3, 2, 2, 2]
    assert (progress.target, progress.remaining) == (2, 3)


# ---- values in the cold tier


@pytest.mark.parametrize("archived", [False, True])
async def test_a_value_in_cold_stays_there_in_its_new_schema(
    store: Store, clock: ManualClock, tmp_path: Path, archived: bool
) -> None:
    three = Sidecar(store, clock, 3, cold=FileBlobs(tmp_path / "cold"), large_bytes=lambda _: 500)
    await three.fleet.look()
    cold = three.placement.cold
    assert cold is not None
    large = {**OLD, "text": "x" * 400 if archived else "x" * 600}
    await three.put("a", large, 1)
    if archived:
        row = await three.row("a")
        pointer, check = await cold.put(SPACE, "a", row.value, schema=row.schema_version, archived=True)
        away = Relocate(key="a", expected_version=row.version, value=b"", marks={marks.BLOB: pointer.text})
        await three.placement.relocate(Write(namespace=SPACE, operations=(away, check), value_bytes_max=1 << 20))
    before = await three.row("a")

    done = await three.migrate()

    after = await three.row("a")
    assert (done.migrated, after.value, after.schema_version, after.version) == (1, b"", 3, before.version)
    moved = marks.pointer_of(after)
    assert moved is not None
    assert (moved.archived, moved != marks.pointer_of(before)) == (archived, True)
    assert await three.document("a") == {**THIRD, "text": large["text"]}


async def test_a_value_that_comes_back_from_cold_meanwhile_is_never_under_the_wrong_schema(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    three = Sidecar(store, clock, 3, cold=FileBlobs(tmp_path / "cold"), large_bytes=lambda _: 10)
    await three.fleet.look()
    await three.put("a", OLD, 1)
    [found] = await three.placement.resolve(SPACE, [await three.row("a")])
    await three.migrate()

    await three.placement.wake(found)  # by a reader who read it before

    assert await three.document("a") == THIRD


async def test_a_value_that_is_lost_is_a_failure_of_that_entry_only(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    three = Sidecar(store, clock, 3, cold=FileBlobs(tmp_path / "cold"), large_bytes=lambda _: 10)
    await three.fleet.look()
    await three.put("a", OLD, 1)
    for path in (tmp_path / "cold").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    await three.put("b", OLD, 1)

    done = await three.migrate()

    assert (done.migrated, done.failed, [failure.key for failure in done.failures]) == (1, 1, ["a"])


async def test_a_key_that_is_called_like_the_job_s_own_row(three: Sidecar) -> None:
    await three.put(f"o/migrate/{SPACE}", OLD, 1)

    assert (await three.migrate()).migrated == 1


# ---- what can't be migrated


async def test_a_namespace_without_schemas_or_authority_or_quiet_rows_is_refused(
    three: Sidecar, store: Store, clock: ManualClock
) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        three.migrations.of("other", target=0, dry_run=False)
    assert refused.value.reason == "SCHEMA_NOT_CONFIGURED"
    with pytest.raises(InvalidRequest):
        three.migrations.of("", target=0, dry_run=False)

    nowhere = Namespaces(PolicyTable(), Limits(), hot=None, warm=None)
    known = {SPACE: Schemas(1, STEPS)}
    with pytest.raises(Passthrough):
        Migrations(nowhere, known, Fleet(known, nowhere)).of(SPACE, target=0, dry_run=False)

    loud: Any = SwitchedStore(store)
    loud.capabilities = replace(store.capabilities, quiet=False)
    with pytest.raises(Unsupported):
        Sidecar(loud, clock, 3).migrations.of(SPACE, target=0, dry_run=False)
