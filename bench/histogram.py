"""Durations with a microsecond's precision: exact up to a millisecond, within 0.2 % above, however many there are.

As HdrHistogram has them: linear buckets within each doubling, so that a quantile far out is as true as the median.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

EXACT_US = 1024
"""Below, a bucket is 1 µs wide; above, it is 2 µs, then 4 µs, ... and starts at a multiple of that."""
_BITS = EXACT_US.bit_length() - 1


class Histogram:
    """Counts of durations by microseconds. One of many can be added to another."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Histogram:
        """Of durations in seconds."""
        histogram = cls()
        histogram._counts.update(_bucket(int(duration * 1e6)) for duration in seconds)
        return histogram

    def add(self, other: Histogram) -> None:
        """Put what another has recorded to ours."""
        self._counts.update(other._counts)

    @property
    def count(self) -> int:
        """How many durations."""
        return self._counts.total()

    def quantile(self, fraction: float) -> float:
        """Microseconds, by nearest rank, the middle of the bucket. 0.0: there are no durations."""
        rank, seen = min(int(self.count * fraction), self.count - 1), 0
        for low, count in self.buckets():
            seen += count
            if seen > rank:
                return low + _width(low) / 2
        return 0.0

    def buckets(self) -> Iterator[tuple[int, int]]:
        """The first microsecond of each bucket that has any, and how many it has; in order."""
        yield from sorted(self._counts.items())

    def text(self) -> str:
        """For a file: `first microsecond:how many`, a space between."""
        return " ".join(f"{low}:{count}" for low, count in self.buckets())


def _width(microseconds: int) -> int:
    return 1 << max(microseconds.bit_length() - _BITS, 0)


def _bucket(microseconds: int) -> int:
    return microseconds & -_width(microseconds)
