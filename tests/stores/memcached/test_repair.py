"""The repairer over memcached: what a dead writer did not tell is told, in turn, and a server that is away is told later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from servers.memcached import Memcached
from sidecar.core.entry import Entry
from sidecar.core.errors import StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.operations import Put
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.placement import Placement
from sidecar.tiers.repair import Repairer
from tests.stores.memcached.conftest import Open, Start
from tests.stores.memcached.waiting import until
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write

KEYS = [f"{n}" for n in range(20)]

Join = Callable[[], "Daemon"]


class Daemon:
    """A placement with its repairer."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.repairer = Repairer(placement, SystemPorts())

    async def repair(self) -> None:
        """Rounds until there is nothing more to tell."""
        while await self.repairer.round():
            pass

    async def read(self, key: str) -> tuple[bytes | None, Tier]:
        """A CACHED read with its fill."""
        found = await self.placement.get(NAMESPACE, [key], [0], deadline=None)
        await self.placement.cache.fill(NAMESPACE, found.fills, now=self.placement.authority.now())
        (answer,) = found.lookups
        return (answer.copy.value if isinstance(answer.copy, Entry) else None), answer.tier

    async def read_all(self, *, times: int = 1) -> dict[str, tuple[bytes | None, Tier]]:
        for _ in range(times - 1):
            await self.read_all()
        return {key: await self.read(key) for key in KEYS}


@pytest.fixture
def truth() -> MemoryStore:
    return MemoryStore(clock=SystemPorts().clock)


@pytest.fixture
def servers(start: Start) -> list[Memcached]:
    return [start(), start()]


@pytest.fixture
def join(daemon: Open, servers: list[Memcached], truth: MemoryStore) -> Join:
    """Another daemon at the same servers and authority."""

    def joined() -> Daemon:
        cache = daemon(*servers).cache
        return Daemon(Placement(truth, tier=Tier.WARM, ports=SystemPorts(), cache=cache))

    return joined


async def put_untold(truth: MemoryStore, value: bytes) -> None:
    """Writers that die before they tell the cache."""
    for key in KEYS:
        await truth.commit(write(Put(key=key, value=value)))


def everything(value: bytes, tier: Tier) -> dict[str, tuple[bytes | None, Tier]]:
    return dict.fromkeys(KEYS, (value, tier))


async def test_what_writers_did_not_tell_is_told_by_whoever_has_the_turn(join: Join, truth: MemoryStore) -> None:
    await put_untold(truth, b"1")
    daemons = [join(), join()]
    for daemon in daemons:
        await daemon.repair()
    assert await daemons[0].read_all(times=2) == everything(b"1", Tier.HOT)
    await put_untold(truth, b"2")
    assert await daemons[1].read_all() == everything(b"1", Tier.HOT), "nobody has told it yet"

    for daemon in daemons:
        await daemon.repair()

    assert await daemons[1].read_all(times=2) == everything(b"2", Tier.HOT)


@pytest.mark.parametrize("harmed", [0, 1])
async def test_a_flush_begins_a_new_generation(
    join: Join, truth: MemoryStore, servers: list[Memcached], harmed: int
) -> None:
    """Also of the server that kept the cursor: what was told after it is not known any more."""
    await put_untold(truth, b"1")
    daemon = join()
    await daemon.repair()
    before = daemon.placement.cache.generation
    await daemon.read_all(times=2)
    await put_untold(truth, b"2")

    servers[harmed].flush()
    await daemon.repair()

    assert daemon.placement.cache.generation != before
    assert await daemon.read_all(times=2) == everything(b"2", Tier.HOT)


@pytest.mark.parametrize("harm", ["kill", "pause"])
async def test_what_a_server_that_was_away_did_not_hear_is_told_when_it_is_back(
    daemon: Open, start: Start, truth: MemoryStore, clock: ManualClock, harm: str
) -> None:
    servers = [start(), start()]
    cache = daemon(*servers, timeout_s=0.8).cache
    subject = Daemon(Placement(truth, tier=Tier.WARM, ports=SystemPorts(), cache=cache))
    await put_untold(truth, b"1")
    await subject.repair()
    await subject.read_all(times=2)
    turn = cache._at(cache._keys.turn(subject.placement.cache.generation or 0)).name  # type: ignore[attr-defined]
    away = servers[0] if turn != servers[0].address else servers[1]

    away.kill() if harm == "kill" else away.pause()
    await put_untold(truth, b"2")
    with pytest.raises(StoreUnavailable, match="the cache did not hear"):
        await subject.repair()
    during = await subject.read_all(times=2)
    away.restart() if harm == "kill" else away.resume()

    async def repaired() -> bool:
        try:
            await subject.repair()
        except StoreUnavailable:
            return False
        return True

    await until(repaired, clock)
    await subject.repair()  # a killed one is another process: the round after it was found to be there notices that
    assert set(during.values()) == {(b"2", Tier.HOT), (b"2", Tier.WARM)}, "each from where it could be had"
    assert await subject.read_all(times=2) == everything(b"2", Tier.HOT)
