"""How fast something grows: the slope of what was counted within the last hour."""

from __future__ import annotations

from typing import NamedTuple

from sidecar.core.observed import Held

WINDOW_S = 3600.0
SPACING_S = 60.0
"""Between samples that are kept, on average; so there are few, however often is counted."""


class Sample(NamedTuple):
    """What was counted at a monotonic second."""

    time_s: float
    held: Held


class Series:
    """Samples of the last hour, and at least two however long ago they were."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    @property
    def latest(self) -> Sample:
        """The newest."""
        return self._samples[-1]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was held all the time."""
        return not any(sample.held.entries for sample in self._samples)

    def add(self, sample: Sample) -> None:
        """One that is newer than all."""
        samples = self._samples
        if len(samples) > 1 and sample.time_s - samples[-2].time_s < SPACING_S * 2:
            samples.pop()
        samples.append(sample)
        while len(samples) > 2 and samples[0].time_s < sample.time_s - WINDOW_S:
            del samples[0]

    def growth(self) -> tuple[float, float] | None:
        """Entries and bytes a second, by least squares; None: there is one sample only."""
        samples = self._samples
        count = len(samples)
        mean_s = sum(sample.time_s for sample in samples) / count
        spread = sum((sample.time_s - mean_s) ** 2 for sample in samples)
        if spread == 0:
            return None
        entries = sum((sample.time_s - mean_s) * sample.held.entries for sample in samples)
        size = sum((sample.time_s - mean_s) * sample.held.bytes for sample in samples)
        return entries / spread, size / spread
