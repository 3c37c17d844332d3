"""How much the tiers hold and how that grows: counted now and then, each tier for itself, never at a cost that others feel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.core.errors import StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.observed import Counting, Held, Holding, Size
from sidecar.core.ports import Clock
from sidecar.engine.engine import Engine
from sidecar.runtime.adapters import Backends
from sidecar.runtime.growth import Sample, Series
from sidecar.runtime.tasks import Rounds

DUTY = 0.01
"""The share of the time that counting may take."""
COUNT_S_MAX = 300.0
DELAY_S = 1.0
"""Before the first count: a start has more to do."""
NAMESPACES_MAX = 100
"""Of a tier; the smaller ones are added up."""
OTHER = "other"
"""What they are told as. A namespace of this name is among them."""
ALL = ""
"""What a tier is told as that does not tell namespaces apart; no namespace is called so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What was found. `estimated`: in a sample."""

    held: Mapping[Tier, Mapping[str, Held]]
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that can be counted."""

    name: str
    count: Callable[[], Awaitable[Counted]]


class Sizes:
    """What the sources held when they were counted last. Counts from `start` to `stop`."""

    def __init__(self, sources: Sequence[Source], clock: Clock, *, interval_s: float) -> None:
        self.counters = [Counter(source, clock) for source in sources]
        self._rounds = [
            Rounds(f"the count of {each.name}", each.round, interval_s=interval_s, delay_s=DELAY_S)
            for each in self.counters
        ]

    def start(self) -> None:
        """Begin."""
        for rounds in self._rounds:
            rounds.start()

    async def stop(self) -> None:
        """Idempotent."""
        for counter, rounds in zip(self.counters, self._rounds, strict=True):
            counter.give_up()
            await rounds.stop()

    def latest(self) -> Sequence[Size]:
        """Any thread may ask."""
        return [size for counter in self.counters for size in counter.sizes]


class Counter:
    """Counts one source, and remembers for an hour what it found."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self.name = source.name
        self.sizes: Sequence[Size] = ()
        """Replaced as a whole: it may be read from another thread."""
        self._source = source
        self._clock = clock
        self._tiers: dict[Tier, _Tier] = {}
        self._due_s = 0.0
        self._under_way: asyncio.Timeout | None = None

    def give_up(self) -> None:
        """End a count that is under way."""
        if self._under_way is not None:
            self._under_way.reschedule(asyncio.get_running_loop().time())

    async def round(self) -> bool:
        """Count, unless the last time took so long that it isn't time yet. Raises SidecarError; the sizes stay then."""
        begin_s = self._clock.monotonic()
        if begin_s < self._due_s:
            return False
        try:
            async with asyncio.timeout(COUNT_S_MAX) as self._under_way:
                counted = await self._source.count()
        except TimeoutError:
            raise StoreUnavailable("the count was given up") from None
        finally:
            self._under_way = None
            end_s = self._clock.monotonic()
            self._due_s = begin_s + (end_s - begin_s) / DUTY
        sizes: list[Size] = []
        for tier, held in counted.held.items():
            series = self._tiers.setdefault(tier, _Tier()).add(end_s, held)
            sizes += [self._size(tier, name, one, estimated=counted.estimated) for name, one in series.items()]
        self.sizes = sizes
        return False

    def _size(self, tier: Tier, namespace: str, series: Series, *, estimated: bool) -> Size:
        growth = series.growth()
        return Size(
            tier=tier,
            namespace=namespace,
            entries=series.latest.held.entries,
            bytes=series.latest.held.bytes,
            time=self._clock.now(),
            entries_per_s=None if growth is None else growth[0],
            bytes_per_s=None if growth is None else growth[1],
            estimated=estimated,
        )


@dataclass(slots=True)
class _Tier:
    """The namespaces of a tier by what was found before. `whole`: none of them is part of OTHER."""

    series: dict[str, Series] = field(default_factory=dict)
    time_s: float | None = None
    whole: bool = True

    def add(self, time_s: float, held: Mapping[str, Held]) -> Mapping[str, Series]:
        """Go on with what was found now."""
        before, was_whole = self.series, self.whole
        found = _largest(held)
        self.whole = len(found) == len(held)
        if self.whole:
            # One that is gone is told as empty, so that it is seen to shrink, until that is an hour ago.
            gone = [name for name, each in before.items() if name not in found and not each.is_empty]
            found |= dict.fromkeys(gone[: NAMESPACES_MAX - len(found)], Held(0, 0))
        self.series = {}
        for name, one in found.items():
            series = before.get(name) or Series()
            if name not in before and was_whole and self.time_s is not None and name != OTHER:
                series.add(Sample(self.time_s, Held(0, 0)))
            series.add(Sample(time_s, one))
            self.series[name] = series
        self.time_s = time_s
        return self.series


def _largest(held: Mapping[str, Held]) -> dict[str, Held]:
    if len(held) <= NAMESPACES_MAX:
        return dict(held)
    ordered = sorted(held.items(), key=lambda each: (each[0] != OTHER, each[1].bytes, each[1].entries), reverse=True)
    rest = [one for _, one in ordered[NAMESPACES_MAX - 1 :]]
    other = Held(sum(one.entries for one in rest), sum(one.bytes for one in rest))
    return dict(ordered[: NAMESPACES_MAX - 1]) | {OTHER: other}


def sources(backends: Backends, engine: Engine) -> list[Source]:
    """What can be counted of a daemon's tiers."""
    found: list[Source] = []
    warm = engine.namespaces.warm
    if warm is not None and warm.near is not None:
        found.append(_holding("near", Tier.NEAR, warm.near))
    if isinstance(backends.cache, Holding):
        found.append(_holding("the cache", Tier.HOT, backends.cache))
    if isinstance(backends.hot_store, Counting):
        found.append(_counting("hot", Tier.HOT, backends.hot_store, cold=False))
    if isinstance(backends.warm, Counting):
        found.append(_counting("warm", Tier.WARM, backends.warm, cold=backends.cold is not None))
    return found


def _holding(name: str, tier: Tier, holder: Holding) -> Source:
    async def count() -> Counted:
        return Counted(held={tier: {ALL: Held(len(holder), holder.bytes_held)}})

    return Source(name=name, count=count)


def _counting(name: str, tier: Tier, store: Counting, *, cold: bool) -> Source:
    async def count() -> Counted:
        census = await store.census()
        held: dict[Tier, Mapping[str, Held]] = {tier: census.held}
        if cold:
            held[Tier.COLD] = census.away
        return Counted(held=held, estimated=census.estimated)

    return Source(name=name, count=count)
