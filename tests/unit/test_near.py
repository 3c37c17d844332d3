"""The near tier: what it may answer, what makes it forget, and when it answers nothing at all."""

from __future__ import annotations

import asyncio
import json

import pytest

from sidecar.core.entry import Entry
from sidecar.core.modes import Tier
from sidecar.core.operations import Put, Remove
from sidecar.core.store import Touch
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryCache, MemoryStore
from sidecar.stores.memory.tinylfu import TinyLfuMap
from sidecar.tiers.announcements import MESSAGE_KEYS_MAX, PENDING_MAX, Announcements, heartbeat, parse
from sidecar.tiers.near import SUSPECT_S, Near
from sidecar.tiers.placement import Placement
from sidecar.tiers.repair import Repairer
from tests.sim.channel import SimHolder
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, entry, write
from tests.support.switched import SwitchedStore

MAX_AGE_MS = 5_000
KEY = "key"


class NearUnderTest:
    """A near tier whose channel was just heard."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.near = Near(
            SimHolder(), clock=self.clock, max_age_ms=lambda namespace: MAX_AGE_MS if namespace == NAMESPACE else None
        )
        self.hear()

    def hear(self) -> None:
        self.near.heard(parse(heartbeat("me", self.clock.monotonic())), "me")

    def pass_time(self, milliseconds: int) -> None:
        """With the channel heard all the time."""
        for _ in range(milliseconds // 500):
            self.clock.advance(500)
            self.hear()
        self.clock.advance(milliseconds % 500)

    def keep(self, **fields: object) -> None:
        copy = entry(**fields)
        self.near.keep(self.near.reading(NAMESPACE, [copy.key]), [copy])

    def look_up(self, *, floor: int = 0, now: int = 0) -> Entry | None:
        [found] = self.near.look_up(NAMESPACE, [KEY], [floor], now=now)
        return found if self.near.trusted else None


@pytest.fixture
def near() -> NearUnderTest:
    return NearUnderTest()


def test_what_was_kept_is_found_until_it_is_too_old(near: NearUnderTest) -> None:
    near.keep()
    near.pass_time(MAX_AGE_MS - 1)
    assert near.look_up() == entry()

    near.pass_time(1)

    assert near.look_up() is None


def test_age_counts_from_before_the_copy_was_read(near: NearUnderTest) -> None:
    reading = near.near.reading(NAMESPACE, [KEY])
    near.pass_time(3_000)
    near.near.keep(reading, [entry()])
    near.pass_time(2_000)

    assert near.look_up() is None


def test_a_copy_below_the_floor_is_passed_over(near: NearUnderTest) -> None:
    near.keep(version=5)

    assert near.look_up(floor=5) is not None
    assert near.look_up(floor=6) is None


def test_an_entry_that_has_ended_is_passed_over(near: NearUnderTest) -> None:
    near.keep(expire_time=100)

    assert near.look_up(now=99) is not None
    assert near.look_up(now=100) is None


def test_an_announcement_makes_it_forget(near: NearUnderTest) -> None:
    near.keep()
    near.near.heard(parse(json.dumps({"changed": [[NAMESPACE, KEY]]}).encode()), "me")

    assert near.look_up() is None


def test_what_was_announced_while_it_was_read_is_not_kept(near: NearUnderTest) -> None:
    reading = near.near.reading(NAMESPACE, [KEY])
    near.near.forget(NAMESPACE, [KEY])
    near.near.keep(reading, [entry()])

    assert near.look_up() is None
    assert near.near.stats.report().fills_refused == 1


def test_what_was_read_before_all_was_forgotten_is_counted_as_refused(near: NearUnderTest) -> None:
    reading = near.near.reading(NAMESPACE, [KEY, "other"])
    near.near.forget_all()
    near.near.keep(reading, [entry(), entry(key="other"), None])

    assert near.look_up() is None
    assert near.near.stats.report().fills_refused == 2


def test_what_is_kept_was_not_refused(near: NearUnderTest) -> None:
    near.keep()

    assert near.look_up() is not None
    assert near.near.stats.report().fills_refused == 0
    assert (len(near.near), near.near.bytes_held) == (1, 0), "the holder of tests weighs nothing"


@pytest.mark.parametrize("payload", [b'{"everything": true}', b"\xff\xfe", b"[]", b'{"changed": 7}', b"null"])
def test_what_may_announce_anything_makes_it_forget_all(near: NearUnderTest, payload: bytes) -> None:
    near.keep()
    reading = near.near.reading(NAMESPACE, [KEY])
    near.near.heard(parse(payload), "me")
    near.near.keep(reading, [entry()])

    assert near.look_up() is None


def test_a_channel_that_was_not_heard_in_time_is_not_trusted(near: NearUnderTest) -> None:
    near.keep()
    near.clock.advance(int(SUSPECT_S * 1000))
    assert not near.near.trusted

    near.hear()

    assert near.near.trusted
    assert near.look_up() is None


def test_a_heartbeat_counts_from_when_it_was_sent(near: NearUnderTest) -> None:
    sent = near.clock.monotonic()
    near.clock.advance(900)
    near.near.heard(parse(heartbeat("me", sent)), "me")
    near.clock.advance(100)

    assert not near.near.trusted


def test_another_daemons_heartbeat_says_nothing_of_our_subscription(near: NearUnderTest) -> None:
    near.clock.advance(2_000)
    near.near.heard(parse(heartbeat("another", near.clock.monotonic())), "me")

    assert not near.near.trusted


def test_a_subscription_that_broke_is_not_trusted_before_the_next_heartbeat(near: NearUnderTest) -> None:
    near.keep()
    near.near.broke()
    assert not near.near.trusted
    near.keep()
    near.hear()

    assert near.look_up() is None


def test_announcements_are_bounded_and_say_everything_when_they_overflow() -> None:
    announcements = Announcements()
    announcements.add(NAMESPACE, [f"{n}" for n in range(PENDING_MAX)])
    messages = announcements.take()
    assert sum(len(parse(message).changed) for message in messages) == PENDING_MAX
    assert len(messages) == PENDING_MAX // MESSAGE_KEYS_MAX

    announcements.add(NAMESPACE, [f"{n}" for n in range(PENDING_MAX)])
    announcements.add(NAMESPACE, ["one more"])

    assert [parse(message).everything for message in announcements.take()] == [True]
    assert not announcements.take()


class Deployment:
    """A placement with a near tier, over stores that a test can reach around."""

    def __init__(self) -> None:
        self.ports = SystemPorts()
        self.store = SwitchedStore(MemoryStore(clock=self.ports.clock))
        self.cache = MemoryCache(bytes_max=1 << 20, identity="a", shared=True)
        self.near = Near(SimHolder(), clock=self.ports.clock, max_age_ms=lambda _: 60_000)
        self.placement = Placement(self.store, tier=Tier.WARM, ports=self.ports, cache=self.cache, near=self.near)
        self.repairer = Repairer(self.placement, self.ports)

    async def prepare(self) -> None:
        await self.repairer.round()
        self.near.heartbeat(self.ports.clock.monotonic())

    async def read(self, floor: int = 0) -> tuple[bytes | None, Tier]:
        [answer] = (await self.placement.get(NAMESPACE, [KEY], [floor], deadline=None)).lookups
        return (answer.copy.value if isinstance(answer.copy, Entry) else None), answer.tier

    def announced(self) -> list[tuple[str, str]]:
        return [pair for message in self.near.announcements.take() for pair in parse(message).changed]


@pytest.fixture
async def deployment() -> Deployment:
    deployment = Deployment()
    await deployment.prepare()
    await deployment.placement.commit(write(Put(key=KEY, value=b"1")))
    deployment.announced()
    return deployment


async def test_the_second_read_is_near(deployment: Deployment) -> None:
    assert await deployment.read() == (b"1", Tier.HOT)
    assert await deployment.read() == (b"1", Tier.NEAR)


async def test_a_batch_is_answered_in_order_from_wherever_its_keys_are(deployment: Deployment) -> None:
    await deployment.read()
    await deployment.placement.commit(write(Put(key="other", value=b"2")))

    found = await deployment.placement.get(NAMESPACE, ["other", KEY, "none"], [0, 0, 0], deadline=None)

    values = [copy.value if isinstance(copy := answer.copy, Entry) else None for answer in found.lookups]
    assert values == [b"2", b"1", None]
    assert [answer.tier for answer in found.lookups] == [Tier.HOT, Tier.NEAR, Tier.WARM]


@pytest.mark.parametrize("change", ["put", "remove", "touch"])
async def test_a_change_is_forgotten_here_and_announced(deployment: Deployment, change: str) -> None:
    await deployment.read()
    if change == "touch":
        await deployment.placement.touch(NAMESPACE, [Touch(key=KEY, ttl_ms=60_000)], announce=True)
    else:
        operation = Put(key=KEY, value=b"2") if change == "put" else Remove(key=KEY)
        await deployment.placement.commit(write(operation))

    assert (await deployment.read())[1] is not Tier.NEAR
    assert deployment.announced() == [(NAMESPACE, KEY)]


async def test_what_a_dead_writer_did_not_announce_the_repairer_does(deployment: Deployment) -> None:
    await deployment.read()
    await deployment.repairer.round()
    deployment.announced()
    await deployment.store.commit(write(Put(key=KEY, value=b"2")))

    await deployment.repairer.round()

    assert await deployment.read() == (b"2", Tier.WARM)
    assert deployment.announced() == [(NAMESPACE, KEY)]


async def test_a_read_that_was_under_way_at_a_write_keeps_nothing_near(deployment: Deployment) -> None:
    await deployment.cache.invalidate(NAMESPACE, [KEY])
    hold = deployment.store.hold("get", after=True)
    reading = asyncio.create_task(deployment.read())
    await hold.reached.wait()
    await deployment.placement.commit(write(Put(key=KEY, value=b"2")))
    hold.release()

    assert await reading == (b"1", Tier.WARM)
    assert await deployment.read() == (b"2", Tier.WARM)


async def test_another_generation_of_the_cache_is_another_of_near(deployment: Deployment) -> None:
    await deployment.read()
    assert (await deployment.read())[1] is Tier.NEAR
    deployment.cache._identity = "b"

    await deployment.repairer.round()

    assert (await deployment.read())[1] is Tier.WARM


async def test_while_all_is_away_a_copy_that_is_not_too_old_answers(deployment: Deployment) -> None:
    await deployment.read()
    deployment.cache.clear()
    deployment.near._heard_s = None

    [answer] = (await deployment.placement.get_cached(NAMESPACE, [KEY], [0])).lookups

    assert answer.tier is Tier.NEAR
    assert answer.stale_possible


def test_the_map_stays_within_its_bytes_and_keeps_what_is_asked_for() -> None:
    held: TinyLfuMap[str, bytes] = TinyLfuMap(100_000, lambda key, value: len(key) + len(value))
    held.put("favourite", b"x" * 100)
    for n in range(5_000):
        held.put(f"{n}", b"x" * 1_000)
        held.get("favourite")

    assert held.bytes_held <= 100_000
    assert held.get("favourite") == b"x" * 100
    held.drop("favourite")
    assert held.get("favourite") is None
    held.clear()
    assert held.bytes_held == 0
