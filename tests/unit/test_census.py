"""Counting what tiers hold: how it grows, what it may cost, and what is told when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import pytest

from sidecar.core.errors import StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.observed import Held, Size
from sidecar.core.operations import Put
from sidecar.runtime.census import DUTY, NAMESPACES_MAX, OTHER, Counted, Counter, Sizes, Source
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.support.factories import write

MINUTE_MS = 60_000


class Subject:
    """A source whose contents a test sets; a count takes as long as it says, and fails with what it is given."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.held: Mapping[Tier, Mapping[str, Held]] = {}
        self.estimated = False
        self.took_ms = 0
        self.error: Exception | None = None
        self.counts = 0
        self.counter = Counter(self.source, self.clock)

    @property
    def source(self) -> Source:
        return Source(name="warm", count=self._count)

    async def _count(self) -> Counted:
        self.counts += 1
        self.clock.advance(self.took_ms)
        if self.error is not None:
            raise self.error
        return Counted(held=self.held, estimated=self.estimated)

    async def count(self, held: Mapping[str, Held], *, after_ms: int = MINUTE_MS) -> dict[str, Size]:
        """Let time pass, and count what is there then."""
        self.clock.advance(after_ms)
        self.held = {Tier.WARM: held}
        assert not await self.counter.round()
        return self.sizes

    @property
    def sizes(self) -> dict[str, Size]:
        assert all(size.tier is Tier.WARM for size in self.counter.sizes)
        return {size.namespace: size for size in self.counter.sizes}


@pytest.fixture
def subject() -> Subject:
    return Subject()


# ---- what is told


async def test_before_the_first_count_nothing_is_told(subject: Subject) -> None:
    assert subject.counter.sizes == ()


async def test_a_count_is_told_with_its_time(subject: Subject) -> None:
    sizes = await subject.count({"a": Held(3, 300), "b": Held(0, 0)})

    assert sizes["a"] == Size(tier=Tier.WARM, namespace="a", entries=3, bytes=300, time=subject.clock.now())
    assert sizes["b"].entries == 0


async def test_a_sample_is_told_as_one(subject: Subject) -> None:
    subject.estimated = True

    assert (await subject.count({"a": Held(3, 300)}))["a"].estimated


async def test_tiers_are_told_apart(subject: Subject) -> None:
    subject.held = {Tier.WARM: {"a": Held(3, 300)}, Tier.COLD: {"a": Held(1, 1 << 30)}}
    await subject.counter.round()

    assert [(size.tier, size.entries, size.bytes) for size in subject.counter.sizes] == [
        (Tier.WARM, 3, 300),
        (Tier.COLD, 1, 1 << 30),
    ]


# ---- growth


async def test_one_count_says_nothing_of_growth(subject: Subject) -> None:
    size = (await subject.count({"a": Held(3, 300)}))["a"]

    assert (size.entries_per_s, size.bytes_per_s) == (None, None)


@pytest.mark.parametrize("interval_ms", [1_000, 29_000, MINUTE_MS, 400_000])
async def test_a_known_rate_is_found(subject: Subject, interval_ms: int) -> None:
    """Two entries of 50 bytes a second, for two hours."""
    for n in range(7_200_000 // interval_ms):
        entries = 1000 + 2 * n * interval_ms // 1000
        await subject.count({"a": Held(entries, entries * 50)}, after_ms=interval_ms)

    assert subject.sizes["a"].entries_per_s == pytest.approx(2)
    assert subject.sizes["a"].bytes_per_s == pytest.approx(100)


async def test_a_known_rate_of_real_writes_is_found() -> None:
    clock = ManualClock()
    store = MemoryStore(clock=clock)

    async def count() -> Counted:
        return Counted(held={Tier.WARM: (await store.census()).held})

    counter = Counter(Source(name="warm", count=count), clock)
    for minute in range(10):
        for n in range(30):
            await store.commit(write(Put(key=f"{minute:03}/{n:03}", value=b"x" * 93), namespace="a"))
            clock.advance(2_000)
        await counter.round()

    [size] = counter.sizes
    assert (size.entries, size.bytes) == (300, 30_000)
    assert size.entries_per_s == pytest.approx(0.5)
    assert size.bytes_per_s == pytest.approx(50)


async def test_noise_around_a_rate_is_evened_out(subject: Subject) -> None:
    for n in range(60):
        await subject.count({"a": Held(10_000 + 60 * n + (500 if n % 2 else -500), 0)})

    assert subject.sizes["a"].entries_per_s == pytest.approx(1, rel=0.1)


async def test_what_is_older_than_an_hour_is_forgotten(subject: Subject) -> None:
    for n in range(60):
        await subject.count({"a": Held(600 * n, 0)})
    for _ in range(62):
        await subject.count({"a": Held(36_000, 0)})

    assert subject.sizes["a"].entries_per_s == 0


async def test_what_shrinks_grows_by_less_than_nothing(subject: Subject) -> None:
    await subject.count({"a": Held(600, 60_000)})
    size = (await subject.count({"a": Held(0, 0)}))["a"]

    assert (size.entries_per_s, size.bytes_per_s) == (-10, -1000)


async def test_a_new_namespace_has_grown_from_nothing(subject: Subject) -> None:
    await subject.count({"a": Held(1, 1)})
    sizes = await subject.count({"a": Held(1, 1), "b": Held(60, 6_000)})

    assert (sizes["b"].entries_per_s, sizes["b"].bytes_per_s) == (1, 100)


async def test_a_namespace_that_is_gone_is_told_as_empty_for_an_hour(subject: Subject) -> None:
    await subject.count({"a": Held(60, 6_000), "b": Held(1, 1)})
    size = (await subject.count({"b": Held(1, 1)}))["a"]
    assert (size.entries, size.entries_per_s) == (0, -1)

    for _ in range(62):
        await subject.count({"b": Held(1, 1)})

    assert set(subject.sizes) == {"b"}


# ---- many namespaces


async def test_the_smallest_of_many_namespaces_are_added_up(subject: Subject) -> None:
    many = {f"n{n:05}": Held(1, n) for n in range(10_000)}

    sizes = await subject.count(many)

    assert len(sizes) == NAMESPACES_MAX
    assert sum(size.entries for size in sizes.values()) == 10_000
    assert sum(size.bytes for size in sizes.values()) == sum(range(10_000))
    assert set(sizes) == {f"n{n:05}" for n in range(10_000 - NAMESPACES_MAX + 1, 10_000)} | {OTHER}


async def test_a_namespace_of_that_name_is_among_them(subject: Subject) -> None:
    few = {OTHER: Held(5, 1_000_000), "a": Held(1, 1)}
    assert (await subject.count(few))[OTHER].entries == 5

    sizes = await subject.count(few | {f"n{n:05}": Held(1, n) for n in range(200)})

    assert len(sizes) == NAMESPACES_MAX
    assert sizes[OTHER].bytes > 1_000_000
    assert sum(size.entries for size in sizes.values()) == 206


async def test_a_namespace_that_was_among_the_others_is_not_taken_for_new(subject: Subject) -> None:
    many = {f"n{n:05}": Held(10, n + 1) for n in range(200)}
    await subject.count(many)
    sizes = await subject.count(many | {"n00000": Held(10, 10_000)})

    assert sizes["n00000"].entries_per_s is None


# ---- cost and failures


@pytest.mark.parametrize("took_ms", [100, 1_000, 30_000])
async def test_counting_takes_its_share_of_the_time_and_no_more(subject: Subject, took_ms: int) -> None:
    subject.took_ms = took_ms
    begin = subject.clock.now()
    while subject.clock.now() < begin + 24 * 3_600_000:
        subject.clock.advance(1_000)
        await subject.counter.round()

    spent = subject.counts * took_ms / (subject.clock.now() - begin)
    assert 0.9 * DUTY < spent < 1.1 * DUTY


async def test_a_failure_leaves_the_last_sizes(subject: Subject) -> None:
    told = await subject.count({"a": Held(60, 6_000)})
    subject.error = StoreUnavailable("away")
    subject.clock.advance(MINUTE_MS)
    with pytest.raises(StoreUnavailable):
        await subject.counter.round()
    assert subject.sizes == told

    subject.error = None
    size = (await subject.count({"a": Held(180, 18_000)}))["a"]
    assert size.entries_per_s == pytest.approx(1)


async def test_a_failing_source_is_logged_once_and_keeps_no_other_from_counting(
    subject: Subject, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.runtime.census.DELAY_S", 0.0)
    other = Subject()
    subject.error = StoreUnavailable("away")
    other.held = {Tier.HOT: {"a": Held(1, 1)}}
    sizes = Sizes([subject.source, other.source], subject.clock, interval_s=0.001)
    with caplog.at_level(logging.INFO):
        sizes.start()
        async with asyncio.timeout(5):
            while min(subject.counts, other.counts) < 5:  # noqa: ASYNC110  # a count that has no signal
                await asyncio.sleep(0)
        await sizes.stop()

    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the count of warm failed: away"
    ]
    assert [size.tier for size in sizes.latest()] == [Tier.HOT]


async def test_a_stop_does_not_wait_for_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.runtime.census.DELAY_S", 0.0)
    counting = asyncio.Event()

    async def count() -> Counted:
        counting.set()
        await asyncio.Event().wait()
        raise AssertionError

    sizes = Sizes([Source(name="warm", count=count)], ManualClock(), interval_s=60)
    sizes.start()
    await counting.wait()

    async with asyncio.timeout(5):
        await sizes.stop()
