"""The repairer over memcached: what a dead writer did not tell is told, in turn, and a server that is away is told later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from servers.memcached import Memcached
from sidecar.core.cache import Cache
from sidecar.core.entry import Entry
from sidecar.core.errors import StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.operations import Put
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.guard import Guard
from sidecar.tiers.placement import Placement
from sidecar.tiers.repair import Repairer
from tests.stores.memcached.conftest import Open, Start
from tests.stores.memcached.waiting import until
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write

KEYS = [f"{n}" for n in range(20)]

Join = Callable[[], "Daemon"]


class Daemon:
    """A placement with its repairer, and a breaker that does not take a busy machine for a cache that is away."""

    def __init__(self, truth: MemoryStore, cache: Cache) -> None:
        ports = SystemPorts()
        guard = Guard(Tier.HOT, ports=ports, probe=cache.identity, slow_s=60.0)
        self.placement = Placement(truth, tier=Tier.WARM, ports=ports, cache=cache, cache_guard=guard)
        self.repairer = Repairer(self.placement, ports)

    async def repair(self) -> None:
        """Rounds until there is nothing more to tell."""
        while await self.repairer.round():
            pass

    async def read(self, *keys: str) -> dict[str, tuple[bytes | None, Tier]]:
        """A CACHED read with its fill."""
        found = await self.placement.get(NAMESPACE, keys, [0] * len(keys), deadline=None)
        if found.fills:
            await self.placement.cache.fill(NAMESPACE, found.fills, now=self.placement.authority.now())
        return {
            key: (answer.copy.value if isinstance(answer.copy, Entry) else None, answer.tier)
            for key, answer in zip(keys, found.lookups, strict=True)
        }

    async def read_all(self, *, times: int = 1) -> dict[str, tuple[bytes | None, Tier]]:
        """What the last read of all found."""
        for _ in range(times - 1):
            await self.read(*KEYS)
        return await self.read(*KEYS)


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
        return Daemon(truth, daemon(*servers).cache)

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
    cache = daemon(*servers).cache
    subject = Daemon(truth, cache)
    await put_untold(truth, b"1")
    await subject.repair()
    await subject.read_all(times=2)
    turn = cache._at(cache._keys.turn(subject.placement.cache.generation or 0)).name  # type: ignore[attr-defined]
    away = servers[0] if turn != servers[0].address else servers[1]

    [connection] = next(one for one in cache._servers if one.name == away.address)._open  # type: ignore[attr-defined]

    away.kill() if harm == "kill" else away.pause()
    await put_untold(truth, b"2")
    repairing = asyncio.ensure_future(subject.repair())
    if harm == "pause":
        while not connection.under_way:  # noqa: ASYNC110  # a call that has no signal
            await asyncio.sleep(0)
        # Its time is up, and no other's: on a busy machine a server that is there may be silent as long.
        connection.close("it does not answer", silent=True)
    with pytest.raises(StoreUnavailable, match="the cache did not hear"):
        await repairing
    during = await subject.read_all(times=2)
    away.restart() if harm == "kill" else away.resume()

    async def told() -> bool:
        """Whether all is hot again, which takes another round when a killed one is found to be another process."""
        await subject.placement.cache.guard.probe()  # as a daemon does: nothing else closes a breaker
        try:
            await subject.repair()
        except StoreUnavailable:
            return False
        found = await subject.read_all(times=2)
        assert {value for value, _ in found.values()} == {b"2"}, "it was told"
        return found == everything(b"2", Tier.HOT)

    assert set(during.values()) == {(b"2", Tier.HOT), (b"2", Tier.WARM)}, "each from where it could be had"
    await until(told, clock)


async def test_keys_of_a_server_that_is_away_do_not_open_the_breaker_before_the_others(
    join: Join, truth: MemoryStore, servers: list[Memcached]
) -> None:
    await put_untold(truth, b"1")
    daemon = join()
    await daemon.repair()
    await daemon.read_all(times=2)

    servers[0].kill()
    found = await daemon.read_all()
    away = [key for key, (_, tier) in found.items() if tier is Tier.WARM]
    for key in away * 20:
        assert await daemon.read(key) == {key: (b"1", Tier.WARM)}

    assert 0 < len(away) < len(KEYS)
    assert await daemon.read_all() == found, "the others are hot"
