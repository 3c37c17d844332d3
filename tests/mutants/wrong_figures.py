"""Histograms and last minutes that are wrong as real ones were, and what tells them from true ones."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from sidecar.core.histograms import PER_DOUBLING, Distribution, Histogram, upper_bound
from sidecar.core.windows import SLOTS, LastMinute

Make = Callable[[], Histogram]


class UpperBoundIsOut(Histogram):
    """A value on a bound belongs to the bucket above, as in a histogram of half-open intervals."""

    def record(self, value: float, count: int = 1) -> None:
        super().record(math.nextafter(value, math.inf) * (1 + 1e-9), count)


class BeginsAtAMillisecond(Histogram):
    """As the default buckets of OpenTelemetry: what is quicker is all the same."""

    def record(self, value: float, count: int = 1) -> None:
        super().record(max(value, 0.001), count)


class CoarseAsPowersOfTwo(Histogram):
    """One bucket a doubling."""

    def record(self, value: float, count: int = 1) -> None:
        super().record(2.0 ** math.ceil(math.log2(value)), count)


class SumsWhatItRounded(Histogram):
    """The sum is that of the buckets' bounds: an average that is 4 % too large."""

    def record(self, value: float, count: int = 1) -> None:
        super().record(2.0 ** (math.ceil(math.log2(value) * PER_DOUBLING) / PER_DOUBLING), count)


class Sampled(Histogram):
    """Every other value only."""

    def __init__(self) -> None:
        super().__init__()
        self._odd = False

    def record(self, value: float, count: int = 1) -> None:
        self._odd = not self._odd
        if self._odd:
            super().record(value, count)


class Live(Histogram):
    """Its distributions go on changing: what was seen a minute ago is as it is now."""

    def distribution(self) -> Distribution:
        return Distribution(self._counts, self._sum, self._exemplars)


HISTOGRAMS: list[Make] = [UpperBoundIsOut, BeginsAtAMillisecond, CoarseAsPowersOfTwo, SumsWhatItRounded, Sampled, Live]


class NeverForgets(LastMinute[str]):
    """Its minute is the whole past."""

    def tick(self) -> None:
        pass


class ForgetsAtEachTick(LastMinute[str]):
    """Its minute is five seconds."""

    def tick(self) -> None:
        self._earlier.clear()
        super().tick()


class ForgetsWhatIsNew(LastMinute[str]):
    """A series that it has not seen at the beginning of its minute is none."""

    def distributions(self) -> dict[str, Distribution]:
        return {key: recent for key, recent in super().distributions().items() if key in self._earlier[0][1]}


MINUTES: list[type[LastMinute[str]]] = [NeverForgets, ForgetsAtEachTick, ForgetsWhatIsNew]


def check_histogram(make: Make) -> None:
    """Every value in its bucket, none lost, quantiles and sum true, and the past stays as it was."""
    for power in range(-19, 14):
        histogram = make()
        histogram.record(2.0**power)
        [place] = [place for place, count in enumerate(histogram.distribution().counts) if count]
        assert upper_bound(place) == 2.0**power
    chance, histogram = random.Random(7), make()
    empty = histogram.distribution()
    values = sorted(chance.lognormvariate(-7.5, 1.0) for _ in range(4_000))
    for value in values:
        histogram.record(value)
    found = histogram.distribution()
    assert (empty.count, found.count) == (0, len(values))
    assert found.sum == pytest.approx(sum(values))
    for q in (0.5, 0.95, 0.99):
        assert found.quantile(q) == pytest.approx(values[math.ceil(q * len(values)) - 1], rel=0.05)


def check_minute(make: type[LastMinute[str]]) -> None:
    """What was recorded is seen for a minute, to a tick, and no longer."""
    series = {"old": Histogram()}
    minute = make(series, lambda: 0.0)
    minute.tick()
    series["old"].record(1.0)
    series["new"] = Histogram()
    series["new"].record(1.0)
    for _ in range(SLOTS - 1):
        assert {key: recent.count for key, recent in minute.distributions().items()} == {"old": 1, "new": 1}
        minute.tick()
    minute.tick()
    minute.tick()
    assert minute.distributions() == {}
