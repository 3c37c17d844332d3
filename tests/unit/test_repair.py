"""Who tells a shared cache what its authority changed: in turn, from the cursor that the cache keeps, and never unnoticed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sidecar.core.cache import REPAIR_TURN_MS, CacheUnavailable, Miss
from sidecar.core.entry import Copy
from sidecar.core.errors import StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.operations import Put
from sidecar.stores.memory import MemoryCache, MemoryStore
from sidecar.tiers.placement import Placement
from sidecar.tiers.repair import Repairer
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write
from tests.support.ports import ManualPorts

KEY = "key"


class Fleet:
    """Daemons that share an authority and a cache."""

    def __init__(self, *, changes_max: int = 1_000) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(clock=self.clock, changes_max=changes_max)
        self.cache = MemoryCache(bytes_max=1 << 20, identity="a", shared=True)

    def daemon(self) -> Repairer:
        ports = ManualPorts(self.clock)
        placement = Placement(self.store, tier=Tier.WARM, ports=ports, cache=self.cache)
        return Repairer(placement, ports)

    async def put_untold(self, value: bytes) -> None:
        """A writer that dies before it tells the cache."""
        await self.store.commit(write(Put(key=KEY, value=value)))


async def settle(*repairers: Repairer) -> None:
    for repairer in repairers:
        while await repairer.round():
            pass


async def read(repairer: Repairer) -> tuple[bytes | None, Tier]:
    """A CACHED read and its fill, through a daemon."""
    placement = repairer._placement
    found = await placement.get(NAMESPACE, [KEY], [0], deadline=None)
    await placement.cache.fill(NAMESPACE, found.fills, now=placement.authority.now())
    [answer] = found.lookups
    return getattr(answer.copy, "value", None), answer.tier


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


async def test_nothing_is_believed_or_held_before_the_generation_is_known(fleet: Fleet) -> None:
    await fleet.put_untold(b"1")
    daemon = fleet.daemon()

    assert await read(daemon) == (b"1", Tier.WARM)
    assert await read(daemon) == (b"1", Tier.WARM)

    await settle(daemon)
    assert await read(daemon) == (b"1", Tier.WARM)
    assert await read(daemon) == (b"1", Tier.HOT)


async def test_a_write_before_the_generation_is_known_leaves_no_older_copy(fleet: Fleet) -> None:
    old, new = fleet.daemon(), fleet.daemon()
    await settle(old)
    await fleet.put_untold(b"1")
    await read(old)
    assert await read(old) == (b"1", Tier.HOT)

    await new._placement.commit(write(Put(key=KEY, value=b"2")))

    assert await read(old) == (b"2", Tier.WARM)


async def test_one_daemon_at_a_time_tells_the_changes(fleet: Fleet) -> None:
    first, second = fleet.daemon(), fleet.daemon()
    await settle(first, second)
    await fleet.put_untold(b"1")
    await read(second)
    await fleet.put_untold(b"2")

    await settle(second)
    assert await read(second) == (b"1", Tier.HOT)

    await settle(first)
    assert await read(second) == (b"2", Tier.WARM)


async def test_a_turn_whose_owner_died_goes_on_where_it_was(fleet: Fleet) -> None:
    dead, heir = fleet.daemon(), fleet.daemon()
    await settle(dead, heir)
    await fleet.put_untold(b"1")
    await read(heir)
    await fleet.put_untold(b"2")

    fleet.clock.advance(REPAIR_TURN_MS)
    await settle(heir)

    assert await read(heir) == (b"2", Tier.WARM)


async def test_a_newcomer_goes_on_where_others_were(fleet: Fleet) -> None:
    dead = fleet.daemon()
    await settle(dead)
    await fleet.put_untold(b"1")
    await read(dead)
    await fleet.put_untold(b"2")
    generation = dead._placement.cache.generation

    fleet.clock.advance(REPAIR_TURN_MS)
    newcomer = fleet.daemon()
    await settle(newcomer)

    assert newcomer._placement.cache.generation == generation
    assert await read(newcomer) == (b"2", Tier.WARM)


async def test_a_cache_that_forgot_its_cursor_is_believed_no_more(fleet: Fleet) -> None:
    daemon = fleet.daemon()
    await settle(daemon)
    await fleet.put_untold(b"1")
    await read(daemon)
    await fleet.put_untold(b"2")
    fleet.cache._turns.clear()

    newcomer = fleet.daemon()
    await settle(newcomer)

    assert await read(newcomer) == (b"2", Tier.WARM)
    await settle(daemon)
    assert daemon._placement.cache.generation == newcomer._placement.cache.generation


async def test_changes_that_were_swept_before_they_were_told_make_a_new_generation() -> None:
    fleet = Fleet(changes_max=3)
    daemon = fleet.daemon()
    await settle(daemon)
    await fleet.put_untold(b"1")
    await read(daemon)
    for n in range(5):
        await fleet.put_untold(b"%d" % n)

    await settle(daemon)

    assert await read(daemon) == (b"4", Tier.WARM)


async def test_another_identity_is_another_generation_for_all(fleet: Fleet) -> None:
    first, second = fleet.daemon(), fleet.daemon()
    await settle(first, second)
    before = first._placement.cache.generation
    fleet.cache._identity = "b"

    await settle(first, second)

    assert before is not None
    assert first._placement.cache.generation == second._placement.cache.generation
    assert (first._placement.cache.generation or 0) > before


async def test_a_cache_that_is_away_costs_the_round_and_no_change(fleet: Fleet) -> None:
    daemon = fleet.daemon()
    await settle(daemon)
    await fleet.put_untold(b"1")
    await read(daemon)
    await fleet.put_untold(b"2")
    apply = fleet.cache.apply

    async def away(*_: object, **__: object) -> None:
        raise CacheUnavailable("away")

    fleet.cache.apply = away  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await settle(daemon)
    fleet.cache.apply = apply  # type: ignore[method-assign]
    await settle(daemon)

    assert await read(daemon) == (b"2", Tier.WARM)


async def test_a_repair_drops_an_older_copy_and_creates_none(fleet: Fleet) -> None:
    daemon = fleet.daemon()
    await settle(daemon)
    await fleet.put_untold(b"1")

    await settle(daemon)

    [found] = await fleet.cache.get(
        NAMESPACE, [KEY], generation=daemon._placement.cache.generation or 0, now=fleet.clock.now()
    )
    assert isinstance(found, Miss)


async def test_a_namespace_that_is_not_heard_keeps_no_other_waiting(fleet: Fleet) -> None:
    daemon = fleet.daemon()
    await settle(daemon)
    await fleet.put_untold(b"1")
    await read(daemon)
    await fleet.store.commit(write(Put(key=KEY, value=b""), namespace="deaf"))
    await fleet.put_untold(b"2")
    apply = fleet.cache.apply

    async def deaf_to_one(namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        if namespace == "deaf":
            raise CacheUnavailable("away")
        await apply(namespace, copies, generation=generation)

    fleet.cache.apply = deaf_to_one  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await settle(daemon)

    assert await read(daemon) == (b"2", Tier.WARM)
