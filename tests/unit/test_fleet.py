"""The floor: the newest schema that every living daemon knows, as each of them sees it."""

from __future__ import annotations

import json

import pytest

from sidecar.core import ledger
from sidecar.core.errors import SidecarError
from sidecar.core.limits import Limits
from sidecar.core.operations import Put, Remove
from sidecar.core.policy import PolicyTable
from sidecar.core.schema import Schemas
from sidecar.core.store import Store
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.schemas.fleet import RENEW_S, TTL_S, Fleet
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.support.switched import SwitchedStore
from tests.unit.schemas_support import SPACE, Sidecar

TTL_MS, RENEW_MS = int(TTL_S * 1000), int(RENEW_S * 1000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return MemoryStore(clock=clock)


async def look(*sidecars: Sidecar) -> list[int]:
    """A round of each; their floors."""
    for sidecar in sidecars:
        await sidecar.fleet.look()
    return [sidecar.floor for sidecar in sidecars]


async def rows(sidecar: Sidecar) -> int:
    return len((await sidecar.placement.ledger.scan(ledger.SCHEMAS, limit=100)).entries)


async def test_before_the_first_look_it_is_the_base(store: Store, clock: ManualClock) -> None:
    assert Sidecar(store, clock, 3).floor == 1


async def test_a_daemon_alone_is_its_own_floor(store: Store, clock: ManualClock) -> None:
    assert await look(Sidecar(store, clock, 3)) == [3]


async def test_it_rises_with_the_last_daemon_that_knows_less(store: Store, clock: ManualClock) -> None:
    one, two, three = (Sidecar(store, clock, version) for version in (1, 2, 3))
    await look(one, two, three)
    assert await look(one, two, three) == [1, 1, 1]

    await one.fleet.leave()
    assert await look(two, three) == [2, 2]

    await two.fleet.leave()
    assert await look(three) == [3]
    assert await rows(three) == 1


async def test_it_falls_when_a_daemon_that_knows_less_comes(store: Store, clock: ManualClock) -> None:
    three = Sidecar(store, clock, 3)
    await look(three)

    await look(Sidecar(store, clock, 2))

    assert await look(three) == [2]


async def test_it_is_never_below_the_base(store: Store, clock: ManualClock) -> None:
    one, three = Sidecar(store, clock, 1), Sidecar(store, clock, 3, base=2)

    assert await look(one, three) == [1, 2]


async def test_a_daemon_that_died_counts_until_its_row_ends(store: Store, clock: ManualClock) -> None:
    one, two = Sidecar(store, clock, 1), Sidecar(store, clock, 2)
    await look(one)
    floors = []
    for _ in range(4):
        floors += await look(two)
        clock.advance(RENEW_MS)

    assert floors == [1, 1, 1, 2]


async def test_a_living_one_counts_for_as_long_as_it_looks(store: Store, clock: ManualClock) -> None:
    one, two = Sidecar(store, clock, 1), Sidecar(store, clock, 2)
    for _ in range(60):
        assert (await look(one, two))[1] == 1
        clock.advance(2_000)


async def test_a_look_writes_only_when_the_row_is_due(store: Store, clock: ManualClock) -> None:
    one = Sidecar(store, clock, 1)
    await look(one)
    before = (await store.changes(after=None, limit=1)).cursor

    clock.advance(RENEW_MS - 1)
    await look(one)
    assert (await store.changes(after=None, limit=1)).cursor == before

    clock.advance(1)
    await look(one)
    assert (await store.changes(after=None, limit=1)).cursor > before


async def test_an_authority_that_is_away_leaves_the_floor_as_it_was(store: Store, clock: ManualClock) -> None:
    one, two = Sidecar(store, clock, 1), Sidecar(store, clock, 2)
    await look(one, two)
    switched = SwitchedStore(store)
    two.placement.authority = two.placement.ledger.authority = switched
    switched.away()
    clock.advance(10 * TTL_MS)

    with pytest.raises(SidecarError):
        await two.fleet.look()

    assert two.floor == 1


async def test_after_an_outage_the_others_get_time_to_come_back(store: Store, clock: ManualClock) -> None:
    one, two = Sidecar(store, clock, 1), Sidecar(store, clock, 2)
    await look(one, two)
    clock.advance(2 * TTL_MS)  # all rows have ended, and nobody has left

    assert await look(two) == [1]
    clock.advance(RENEW_MS)
    assert await look(two, one) == [1, 1]
    for _ in range(10):
        clock.advance(RENEW_MS)
        assert await look(two, one) == [1, 1]


async def test_after_an_outage_who_does_not_come_back_counts_no_more(store: Store, clock: ManualClock) -> None:
    one, two = Sidecar(store, clock, 1), Sidecar(store, clock, 2)
    await look(one, two)
    clock.advance(2 * TTL_MS)
    await look(two)

    floors = []
    for _ in range(4):
        clock.advance(RENEW_MS)
        floors += await look(two)

    assert floors == [1, 1, 2, 2]


async def test_a_row_that_vanished_is_written_again_and_nothing_rises(store: Store, clock: ManualClock) -> None:
    one, two = Sidecar(store, clock, 1), Sidecar(store, clock, 2)
    await look(one, two)
    page = await two.placement.ledger.scan(ledger.SCHEMAS, limit=10)
    for row in page.entries:
        await two.placement.ledger.commit([Remove(key=row.key)])

    assert await look(two) == [1]
    assert await look(two) == [1]
    assert await rows(two) == 1


async def test_a_row_that_nobody_can_read_is_a_daemon_that_knows_nothing(store: Store, clock: ManualClock) -> None:
    two = Sidecar(store, clock, 2)
    for value in (b"?", b"[]", b'{"chat": "2"}', b'{"chat": true}'):
        await two.placement.ledger.commit([Put(key=f"{ledger.SCHEMAS}x", value=value)])
        assert await look(two) == [1]
    await two.placement.ledger.commit([Put(key=f"{ledger.SCHEMAS}x", value=json.dumps({"other": 1}).encode())])

    assert await look(two) == [2]


async def test_a_fleet_of_many_pages_is_seen_whole(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.engine.schemas.fleet.PAGE", 2)
    sidecars = [Sidecar(store, clock, 3) for _ in range(9)]
    await look(*sidecars)
    assert set(await look(*sidecars)) == {3}

    await Sidecar(store, clock, 1).fleet.look()
    assert set(await look(*sidecars)) == {1}


async def test_without_an_authority_that_is_shared_there_is_nothing_to_look_at(clock: ManualClock) -> None:
    fleet = Fleet({SPACE: Schemas(2)}, Namespaces(PolicyTable(), Limits(), hot=None, warm=None))

    await fleet.look()
    await fleet.leave()

    assert (fleet.alone, fleet.floor(SPACE)) == (True, 2)
