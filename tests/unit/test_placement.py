"""The order of cache and authority, at each step where another actor can come between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sidecar.core.cache import CacheUnavailable, Fill, Hit, Miss
from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import DeadlineExceeded, OutcomeUnknown, StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.operations import Put
from sidecar.core.store import Touch
from sidecar.runtime import ports
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryCache, MemoryStore
from sidecar.tiers.placement import Placement
from sidecar.tiers.reading import Found
from sidecar.tiers.repair import Repairer
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write
from tests.support.switched import SwitchedStore

KEY = "key"


class Deployment:
    """A placement whose store and cache a test can reach around."""

    def __init__(self) -> None:
        system = SystemPorts()
        self.truth = MemoryStore(clock=system.clock)
        self.store = SwitchedStore(self.truth)
        self.cache = MemoryCache(bytes_max=1 << 20, identity="a", shared=True)
        self.placement = Placement(self.store, tier=Tier.WARM, ports=system, cache=self.cache)
        self.repairer = Repairer(self.placement, system)

    async def repair(self) -> None:
        """Rounds until there is nothing more to tell."""
        while await self.repairer.round():
            pass

    async def put(self, value: bytes) -> int:
        return (await self.placement.commit(write(Put(key=KEY, value=value)))).version

    async def put_behind(self, value: bytes) -> int:
        """As another daemon's writer does that dies before it tells the cache."""
        return (await self.truth.commit(write(Put(key=KEY, value=value)))).version

    async def get(self, floor: int = 0) -> Found:
        return await self.placement.get(NAMESPACE, [KEY], [floor], deadline=None)

    async def read(self) -> bytes | None:
        """A read with its followups done."""
        found = await self.get()
        await self.placement.cache.fill(NAMESPACE, found.fills, now=self.store.now())
        copy = found.lookups[0].copy
        return copy.value if isinstance(copy, Entry) else None

    async def cached(self) -> Hit | Miss:
        generation = self.placement.cache.generation or 0
        [found] = await self.cache.get(NAMESPACE, [KEY], generation=generation, now=self.store.now())
        return found


class _Deaf(MemoryCache):
    """A cache that hears nothing."""

    def __init__(self, cache: MemoryCache) -> None:
        super().__init__(bytes_max=0, identity="a")
        self._turns = cache._turns

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        raise CacheUnavailable("away")


@pytest.fixture
async def deployment() -> Deployment:
    deployment = Deployment()
    await deployment.repair()
    return deployment


async def test_what_was_written_stays_hot(deployment: Deployment) -> None:
    await deployment.put(b"1")

    found = await deployment.get()

    assert found.lookups[0].tier is Tier.HOT


async def test_a_writer_whose_lease_went_to_a_reader_applies(deployment: Deployment) -> None:
    await deployment.put_behind(b"old")
    await deployment.cache.invalidate(NAMESPACE, [KEY])
    hold = deployment.store.hold("commit")
    writing = asyncio.create_task(deployment.put(b"new"))
    await hold.reached.wait()
    deployment.cache.clear()
    reading = await deployment.get()  # it read "old" and holds the lease now
    hold.release()
    await writing

    await deployment.placement.cache.fill(NAMESPACE, reading.fills, now=deployment.store.now())

    assert await deployment.read() == b"new"


async def test_concurrent_misses_share_one_read(deployment: Deployment) -> None:
    await deployment.put_behind(b"1")
    hold = deployment.store.hold("get")
    reads = [asyncio.create_task(deployment.get()) for _ in range(10)]
    await hold.reached.wait()
    hold.release()

    answers = [(await read).lookups[0].copy for read in reads]

    assert {answer.value for answer in answers if isinstance(answer, Entry)} == {b"1"}
    assert deployment.store.calls["get"] == 1


async def test_a_read_under_way_is_not_joined_by_who_needs_newer(deployment: Deployment) -> None:
    await deployment.put_behind(b"old")
    hold = deployment.store.hold("get", after=True)
    early = asyncio.create_task(deployment.get())
    await hold.reached.wait()
    version = await deployment.put_behind(b"new")
    late = asyncio.create_task(deployment.get(floor=version))
    await asyncio.sleep(0)
    hold.release()

    copy = (await late).lookups[0].copy

    assert isinstance(copy, Entry)
    assert copy.value == b"new"
    await early


async def test_the_leaders_deadline_is_not_the_joiners(deployment: Deployment) -> None:
    await deployment.put_behind(b"1")
    hold = deployment.store.hold("get")
    leader, joiner = (asyncio.create_task(deployment.get()) for _ in range(2))
    await hold.reached.wait()
    deployment.store.fail_next("get", DeadlineExceeded("its own"))
    hold.release()

    with pytest.raises(DeadlineExceeded):
        await leader
    assert isinstance((await joiner).lookups[0].copy, Entry)


async def test_a_joined_read_answers_no_entry_that_has_ended_since(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    monkeypatch.setattr(ports, "SystemClock", lambda: clock)
    deployment = Deployment()
    await deployment.truth.commit(write(Put(key=KEY, value=b"1", ttl_ms=10)))
    hold = deployment.store.hold("get", after=True)
    early = asyncio.create_task(deployment.get())
    await hold.reached.wait()
    clock.advance(10)
    late = asyncio.create_task(deployment.get())
    await asyncio.sleep(0)
    hold.release()

    assert (await late).lookups[0].copy is None
    await early


async def test_an_unknown_outcome_leaves_nothing_cached(deployment: Deployment) -> None:
    await deployment.put(b"old")
    deployment.store.error = OutcomeUnknown("reply lost")

    with pytest.raises(OutcomeUnknown):
        await deployment.put(b"new")

    assert isinstance(await deployment.cached(), Miss)


async def test_a_touch_forgets_the_copy_that_knows_the_old_end(deployment: Deployment) -> None:
    await deployment.put(b"1")

    await deployment.placement.touch(NAMESPACE, [Touch(key=KEY, ttl_ms=1000)], announce=True)

    assert isinstance(await deployment.cached(), Miss)


async def test_a_failed_read_gives_its_lease_back(deployment: Deployment) -> None:
    deployment.store.error = StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await deployment.get()

    found = await deployment.cached()
    assert isinstance(found, Miss)
    assert found.lease is not None


async def test_the_repairer_tells_what_a_dead_writer_could_not(deployment: Deployment) -> None:
    await deployment.put(b"old")
    await deployment.put_behind(b"new")
    assert await deployment.read() == b"old"

    await deployment.repair()

    assert await deployment.read() == b"new"


async def test_the_repairer_tells_again_what_the_cache_did_not_hear(deployment: Deployment) -> None:
    await deployment.put(b"old")
    await deployment.put_behind(b"new")
    deployment.placement.cache.backend = _Deaf(deployment.cache)
    with pytest.raises(StoreUnavailable):
        await deployment.repair()
    deployment.placement.cache.backend = deployment.cache

    await deployment.repair()

    assert await deployment.read() == b"new"


async def test_the_repairer_leaves_current_copies(deployment: Deployment) -> None:
    await deployment.put(b"1")

    await deployment.repair()

    assert isinstance(await deployment.cached(), Hit)


async def test_another_cache_identity_makes_every_copy_a_miss(deployment: Deployment) -> None:
    await deployment.put(b"old")
    deployment.cache._identity = "b"

    await deployment.repair()

    assert (await deployment.get()).lookups[0].tier is Tier.WARM


async def test_a_late_fill_of_an_older_generation_is_a_miss(deployment: Deployment) -> None:
    version = await deployment.put_behind(b"1")
    found = await deployment.get()
    await deployment.placement.cache.fill(NAMESPACE, found.fills, now=deployment.store.now())
    assert deployment.placement.cache.generation is not None
    deployment.placement.cache.generation += 1

    answer = (await deployment.get(floor=version)).lookups[0]

    assert answer.tier is Tier.WARM
    assert all(isinstance(fill, Fill) for fill in found.fills)
