"""How a migration ends before its end, and goes on there: nothing is lost, and nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from sidecar.core import failpoints
from sidecar.core.errors import StoreUnavailable
from sidecar.core.operations import Relocate, Write
from sidecar.core.store import Store
from sidecar.engine.cleaning import asked
from sidecar.engine.cleaning.asked import LEASE_MS
from sidecar.engine.cleaning.owners import look
from sidecar.engine.cleaning.progress import State
from sidecar.engine.schemas import migration
from sidecar.engine.schemas.migration import Progress
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.support.switched import SwitchedStore
from tests.unit.schemas_support import SPACE, Sidecar

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


async def test_it_is_killed_at_every_place_and_goes_on_and_nothing_is_done_twice(
    store: Store, clock: ManualClock, small_pages: None, reached: dict[str, Any]
) -> None:
    writer = Sidecar(store, clock, 3)
    versions = [await writer.put(f"{number:02}", OLD, 1) for number in range(11)]
    relocated = await _counting(store)
    left = 0

    def kill() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    for place in ("claim.after", "relocate.before", "relocate.after", "page.after", "finish.after"):
        reached[f"migrate.{place}"] = kill
    kills = 0
    done: Progress | None = None
    for nth in range(1, 100):
        sidecar, left = Sidecar(store, clock, 3), nth % 5 + 1
        await sidecar.fleet.look()
        try:
            done = await sidecar.migrate()
        except Killed:
            kills += 1
            clock.advance(LEASE_MS + 1)
        else:
            break

    assert kills >= 8
    assert done is not None
    assert (done.remaining, await writer.schemas()) == (0, [3] * 11)
    assert [(await writer.row(f"{number:02}")).version for number in range(11)] == versions
    assert relocated == {f"{number:02}": 1 for number in range(11)}


async def _counting(store: Any) -> dict[str, int]:
    """How often each row was relocated; a store's own commit, watched."""
    counts: dict[str, int] = {}
    commit = store.commit

    async def counted(write: Write) -> Any:
        outcome = await commit(write)
        for operation in write.operations:
            if type(operation) is Relocate:
                counts[operation.key] = counts.get(operation.key, 0) + 1
        return outcome

    store.commit = counted
    return counts


async def test_who_gives_it_up_leaves_it_to_others_who_go_on_there(
    three: Sidecar, store: Store, clock: ManualClock, small_pages: None
) -> None:
    for number in range(9):
        await three.put(f"{number}", OLD, 1)
    async with aclosing(three.migrations.of(SPACE, target=0, dry_run=False).run()) as telling:
        first = await anext(telling)
    other = Sidecar(store, clock, 3)
    await other.fleet.look()

    told = [progress async for progress in other.migrations.of(SPACE, target=0, dry_run=False).run()]

    done = told[-1]
    assert State.WAITING not in [progress.state for progress in told], "at once"
    assert (first.scanned, first.total) == (3, 9)
    assert (done.scanned, done.migrated, done.total, done.remaining) == (6, 6, 6, 0)


async def test_going_on_it_finds_what_was_written_before_that_place(three: Sidecar, small_pages: None) -> None:
    for number in range(9):
        await three.put(f"{number}", OLD, 1)
    async with aclosing(three.migrations.of(SPACE, target=0, dry_run=False).run()) as telling:
        await anext(telling)
    await three.put("0", OLD, 1)

    done = await three.migrate()

    assert (done.migrated, done.remaining, await three.schemas()) == (7, 0, [3] * 9)


async def test_to_another_target_it_begins_at_the_beginning(three: Sidecar, small_pages: None) -> None:
    for number in range(6):
        await three.put(f"{number}", OLD, 1)
    async with aclosing(three.migrations.of(SPACE, target=2, dry_run=False).run()) as telling:
        await anext(telling)

    done = await three.migrate()

    assert (done.scanned, await three.schemas()) == (6, [3] * 6)


async def test_while_another_is_at_it_it_waits_and_then_says_busy(
    three: Sidecar, store: Store, clock: ManualClock, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        await three.put(f"{number:02}", OLD, 1)
    other = Sidecar(store, clock, 3)
    await other.fleet.look()
    async with aclosing(three.migrations.of(SPACE, target=0, dry_run=False).run()) as owning:
        await anext(owning)

        async def sleep(seconds: float) -> None:
            clock.advance(int(seconds * 1000))
            await anext(owning, None)

        monkeypatch.setattr(asked, "WAIT_S", 1.0)
        other.ports.sleep = sleep  # type: ignore[method-assign]  # the owner goes on meanwhile
        states = [progress.state async for progress in other.migrations.of(SPACE, target=0, dry_run=False).run()]

    assert states == [State.WAITING, State.WAITING, State.BUSY]


async def test_a_daemon_that_was_stopped_for_too_long_changes_nothing_more(
    store: Store, clock: ManualClock, small_pages: None, reached: dict[str, Any]
) -> None:
    switched: Any = SwitchedStore(store)
    stopped, other = Sidecar(switched, clock, 3), Sidecar(store, clock, 3)
    await stopped.fleet.look()
    await other.fleet.look()
    for number in range(9):
        await stopped.put(f"{number}", OLD, 1)
    relocated = await _counting(store)
    async with aclosing(stopped.migrations.of(SPACE, target=0, dry_run=False).run()) as telling:
        await anext(telling)
        clock.advance(LEASE_MS + 1)
        done = await other.migrate()
        await other.put("9", OLD, 1)
        late = [progress.state async for progress in telling]

    assert (done.migrated, late) == (6, [State.BUSY])
    assert await other.schemas() == [3] * 9 + [1]
    assert set(relocated.values()) == {1}


async def test_a_daemon_that_was_stopped_in_the_middle_of_an_entry_has_lost_it(
    three: Sidecar, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three.put("a", OLD, 1)
    relocate = three.placement.relocate

    async def later(write: Write) -> Any:
        clock.advance(LEASE_MS + 1)
        claim = await look(three.placement.ledger, f"migrate/{SPACE}")
        assert await claim.take("another") is not None
        return await relocate(write)

    monkeypatch.setattr(three.placement, "relocate", later)
    done = await three.migrate()

    assert (done.state, done.migrated, await three.schemas()) == (State.BUSY, 0, [1])


async def test_an_outage_is_told_and_the_next_call_goes_on(store: Store, clock: ManualClock, small_pages: None) -> None:
    switched: Any = SwitchedStore(store)
    three = Sidecar(switched, clock, 3)
    await three.fleet.look()
    for number in range(9):
        await three.put(f"{number}", OLD, 1)
    running = three.migrations.of(SPACE, target=0, dry_run=False).run()
    await anext(running)
    switched.fail_next("scan", StoreUnavailable("gone"))
    switched.fail_next("commit", StoreUnavailable("gone"))

    with pytest.raises(StoreUnavailable):
        async for _ in running:
            pass
    clock.advance(LEASE_MS + 1)

    assert (await three.migrate()).remaining == 0
