"""What a tier did lately: durations, lookups, and whether it answers. Nothing here decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sidecar.core.breaker import BreakerState
from sidecar.core.histograms import Distribution, Histogram

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
    durations: Mapping[tuple[str, bool], Distribution] = field(default_factory=dict)
    """Since the start, by operation and whether it was answered."""
    breaker_seconds: Mapping[BreakerState, float] = field(default_factory=dict)
    """How long the breaker was in which state."""
    in_flight: int = 0
    waiting: int = 0
    """Calls that wait for one in flight to end."""
    fills_refused: int = 0
    """Copies that lost a race against a newer write, and were not kept."""
    state_time: int | None = None
    """Since when `up` is what it is, in milliseconds since 1970; None: it never changed."""
    latest_failure: str = ""
    """Also where the tier answers again; empty: there was none."""
    latest_failure_time: int | None = None

    @property
    def failures(self) -> int:
        """Operations that the backend did not answer; probes are not among them."""
        return sum(taken.count for (_, answered), taken in self.durations.items() if not answered)


class TierStats:
    """Figures of one tier, cheap enough for every operation. `now` answers milliseconds since 1970."""

    __slots__ = (
        *("_durations", "_now", "_series", "count", "fills_refused", "hits", "last_error", "latest_failure"),
        *("latest_failure_time", "lookups", "rejected", "retries", "state_time", "up"),
    )

    def __init__(self, now: Callable[[], int] = lambda: 0) -> None:
        self._now = now
        self.count = 0
        self.lookups = 0
        self.hits = 0
        self.rejected = 0
        self.retries = 0
        self.fills_refused = 0
        self.up: bool | None = None
        self.last_error = ""
        self.state_time: int | None = None
        self.latest_failure = ""
        self.latest_failure_time: int | None = None
        self._durations: list[float] = []
        self._series: dict[tuple[str, bool], Histogram] = {}

    def took(self, operation: str, duration_s: float, *, answered: bool) -> None:
        """How long an operation took."""
        histogram = self._series.get((operation, answered))
        if histogram is None:
            histogram = self._series[operation, answered] = Histogram()
        histogram.record(duration_s)

    def succeeded(self, duration_s: float) -> None:
        """An operation answered, with a result or a refusal."""
        if self.count < WINDOW:
            self._durations.append(duration_s)
        else:
            self._durations[self.count % WINDOW] = duration_s
        self.count += 1
        if self.up is not True:
            if self.up is False:
                self.state_time = self._now()
            self.up = True
            self.last_error = ""

    def failed(self, error: BaseException) -> None:
        """The backend did not answer."""
        now = self._now()
        if self.up is not False:
            self.state_time = now
        self.up = False
        self.last_error = self.latest_failure = str(error)
        self.latest_failure_time = now

    def looked_up(self, hits: int, lookups: int) -> None:
        """Lookups, and those that this tier could answer."""
        self.hits += hits
        self.lookups += lookups

    def report(
        self,
        breaker: BreakerState | None = None,
        *,
        breaker_seconds: Mapping[BreakerState, float] | None = None,
        in_flight: int = 0,
        waiting: int = 0,
    ) -> TierReport:
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
            durations={key: histogram.distribution() for key, histogram in list(self._series.items())},
            breaker_seconds=breaker_seconds or {},
            in_flight=in_flight,
            waiting=waiting,
            fills_refused=self.fills_refused,
            state_time=self.state_time,
            latest_failure=self.latest_failure,
            latest_failure_time=self.latest_failure_time,
        )
