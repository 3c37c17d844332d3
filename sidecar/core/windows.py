"""The last minute of what is counted for ever."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from sidecar.core.histograms import NOTHING, Distribution, Histogram

TICK_S = 5.0
SLOTS = 12
"""Ticks of a minute."""

K = TypeVar("K", bound=Hashable)


class LastMinute(Generic[K]):
    """Of histograms, by differences: costs nothing where they are recorded. Call `tick` every TICK_S.

    `monotonic` answers seconds since some instant.
    """

    def __init__(self, series: Mapping[K, Histogram], monotonic: Callable[[], float]) -> None:
        self._series = series
        self._monotonic = monotonic
        self._earlier: deque[tuple[float, Mapping[K, Distribution]]] = deque([(monotonic(), {})], maxlen=SLOTS)

    def tick(self) -> None:
        """Remember how it is now."""
        seen = {key: histogram.distribution() for key, histogram in list(self._series.items())}
        self._earlier.append((self._monotonic(), seen))

    @property
    def seconds(self) -> float:
        """How long it really is: up to a tick less, and still less soon after the start."""
        return self._monotonic() - self._earlier[0][0]

    def distributions(self) -> dict[K, Distribution]:
        """What was recorded lately, by series, where anything was."""
        _, earlier = self._earlier[0]
        found = {
            key: histogram.distribution().since(earlier.get(key, NOTHING))
            for key, histogram in list(self._series.items())
        }
        return {key: recent for key, recent in found.items() if any(recent.counts)}
