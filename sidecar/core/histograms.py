"""Distributions, cheap enough to be recorded at every call, true enough for quantiles.

Buckets grow by 2^(1/8): those of an OpenTelemetry exponential histogram of scale 3, whose bucket `i` is
(2^(i/8), 2^((i+1)/8)], so that any quantile is known within 4.5 %.
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, log2

SCALE = 3
PER_DOUBLING = 1 << SCALE
INDEX_MIN = -20 * PER_DOUBLING
"""The first bucket's: a microsecond; what is smaller is in it, too."""
INDEX_MAX = 14 * PER_DOUBLING - 1
"""The last one's: up to 16,384, seconds or things; what is larger is in it, too."""
SIZE = INDEX_MAX - INDEX_MIN + 1


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A sampled request among those of a bucket. `time` is in seconds since 1970."""

    value: float
    time: float
    trace_id: str
    span_id: str

    @property
    def place(self) -> int:
        """Of its bucket, in the list."""
        return _place(self.value)


@dataclass(frozen=True, slots=True)
class Distribution:
    """What was recorded up to a moment, or between two. `counts` is by bucket, from INDEX_MIN on."""

    counts: Sequence[int]
    sum: float
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    def since(self, earlier: Distribution) -> Distribution:
        """What came after `earlier`, of the same histogram."""
        counts = [now - then for now, then in zip(self.counts, earlier.counts, strict=True)]
        return Distribution(counts, max(self.sum - earlier.sum, 0.0))

    def plus(self, other: Distribution) -> Distribution:
        """Both."""
        return Distribution([a + b for a, b in zip(self.counts, other.counts, strict=True)], self.sum + other.sum)

    def quantile(self, q: float) -> float:
        """The value that a share `q` of all are at most, interpolated within its bucket. Of none: 0."""
        rank, below = q * self.count, 0
        for place, count in enumerate(self.counts):
            if count and below + count >= rank:
                share = (rank - below) / count
                return float(2 ** ((INDEX_MIN + place + share) / PER_DOUBLING))
            below += count
        return 0.0

    def quantiles(self) -> tuple[float, float, float] | None:
        """p50, p95, p99; None: there is nothing."""
        return (self.quantile(0.5), self.quantile(0.95), self.quantile(0.99)) if any(self.counts) else None


NOTHING = Distribution((0,) * SIZE, 0.0)


class Histogram:
    """Values recorded since the start. Written by one thread; any thread may take its distribution."""

    __slots__ = ("_counts", "_exemplars", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * SIZE
        self._sum = 0.0
        self._exemplars: dict[int, Exemplar] = {}

    def record(self, value: float, count: int = 1) -> None:
        """A value above 0, so many times."""
        self._counts[_place(value)] += count
        self._sum += value * count

    def keep(self, exemplar: Exemplar) -> None:
        """One for each doubling, the latest: of a value that is recorded besides."""
        self._exemplars[exemplar.place // PER_DOUBLING] = exemplar

    def distribution(self) -> Distribution:
        """Up to now."""
        return Distribution(self._counts.copy(), self._sum, self._exemplars.copy())


def _place(value: float) -> int:
    """Of the bucket, in the list."""
    if value <= 0.0:
        return 0
    place = ceil(log2(value) * PER_DOUBLING) - 1 - INDEX_MIN
    return 0 if place < 0 else place if place < SIZE else SIZE - 1


def upper_bound(place: int) -> float:
    """The largest value that belongs into a bucket, by its place in the list."""
    return float(2 ** ((INDEX_MIN + place + 1) / PER_DOUBLING))
