"""What a tier did lately: durations, lookups, and whether it answers. Nothing here decides."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.core.breaker import BreakerState

WINDOW = 1024
"""Operations that the percentiles are taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """A tier's figures at one moment; durations in seconds, None before the first operation."""

    count: int
    lookups: int
    hits: int
    up: bool | None
    last_error: str
    percentiles: tuple[float, float, float] | None
    """p50, p95, p99 of the window."""
    breaker: BreakerState | None
    """None: there is none before this tier."""
    rejected: int
    """Calls that an open breaker refused."""
    retries: int


class TierStats:
    """Figures of one tier, cheap enough for every operation."""

    __slots__ = ("_durations", "count", "hits", "last_error", "lookups", "rejected", "retries", "up")

    def __init__(self) -> None:
        self.count = 0
        self.lookups = 0
        self.hits = 0
        self.rejected = 0
        self.retries = 0
        self.up: bool | None = None
        self.last_error = ""
        self._durations: list[float] = []

    def succeeded(self, duration_s: float) -> None:
        """An operation answered, with a result or a refusal."""
        if self.count < WINDOW:
            self._durations.append(duration_s)
        else:
            self._durations[self.count % WINDOW] = duration_s
        self.count += 1
        if self.up is not True:
            self.up = True
            self.last_error = ""

    def failed(self, error: BaseException) -> None:
        """The backend did not answer."""
        self.up = False
        self.last_error = str(error)

    def looked_up(self, hits: int, lookups: int) -> None:
        """Lookups, and those that this tier could answer."""
        self.hits += hits
        self.lookups += lookups

    def report(self, breaker: BreakerState | None = None) -> TierReport:
        """The figures now."""
        ordered = sorted(self._durations)
        percentiles = None
        if ordered:
            last = len(ordered) - 1
            percentiles = (ordered[last // 2], ordered[int(last * 0.95)], ordered[int(last * 0.99)])
        return TierReport(
            count=self.count,
            lookups=self.lookups,
            hits=self.hits,
            up=self.up,
            last_error=self.last_error,
            percentiles=percentiles,
            breaker=breaker,
            rejected=self.rejected,
            retries=self.retries,
        )
