"""Circuit breaker: whether a backend is asked at all. Pure; instants are monotonic seconds.

CLOSED: calls pass. It opens when a call was not answered in its time and nothing else was meanwhile; when several, one
after the other, failed; or when most calls of the last seconds failed or were slow. OPEN: calls are refused at once. From time to time one
probe passes (HALF_OPEN); several good ones in a row close it, a bad one opens it again, for longer.
(M. Nygard, Release It!, 2007; the ratio over a window and the least count are those of resilience4j.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum


class BreakerState(IntEnum):
    """The numbers are those of the proto."""

    CLOSED = 1
    OPEN = 2
    HALF_OPEN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a breaker opens and closes. `slow_s`: an answer that took longer counts as a failure."""

    slow_s: float
    failures_in_row: int = 3
    calls_min: int = 20
    failure_ratio: float = 0.5
    window_s: float = 10.0
    probe_s_min: float = 0.25
    probe_s_max: float = 2.0
    """Between probes: doubled by each bad one. The bound is what a healed backend waits for at most."""
    probes_to_close: int = 2


class Breaker:
    """The breaker of one backend. `jitter` answers 0 to 1: probes of many daemons shall not come together."""

    def __init__(self, policy: BreakerPolicy, *, jitter: Callable[[], float]) -> None:
        self.state = BreakerState.CLOSED
        self.closed_s: float | None = None
        """When it closed last; None: it was never open."""
        self._policy = policy
        self._jitter = jitter
        self._window_s = 0.0
        self._good = self._bad = 0
        self._earlier = (0, 0)
        self._in_row = 0
        self._failure_s = float("-inf")
        self._answer_s = float("-inf")
        self._good_probes = 0
        self._pause_s = policy.probe_s_min
        self._probe_s = 0.0

    @property
    def passes(self) -> bool:
        """Whether ordinary calls pass."""
        return self.state is BreakerState.CLOSED

    # ---- what calls tell

    def answered(self, began_s: float, now: float) -> None:
        """A call was answered, with a result or a refusal."""
        self._answer_s = now
        self._in_row = 0
        if self.state is not BreakerState.CLOSED:
            self._probe_s = min(self._probe_s, now)  # a straggler: worth looking
        elif now - began_s < self._policy.slow_s:
            self._good += 1
        else:
            self._count_bad(now)

    def failed(self, began_s: float, now: float) -> None:
        """A call was not answered, or its caller went away first."""
        if self.state is not BreakerState.CLOSED:
            return
        # Calls that were under way together fail together, when a connection breaks: that is one failure.
        if began_s > self._failure_s:
            self._in_row += 1
            self._failure_s = now
        silent = now - began_s >= self._policy.slow_s and self._answer_s < began_s
        if silent or self._in_row >= self._policy.failures_in_row:
            self.trip(now)
        else:
            self._count_bad(now)

    def trip(self, now: float) -> None:
        """Open it: the backend is known to be away."""
        self.state = BreakerState.OPEN
        self._good_probes = 0
        self._pause_s = self._policy.probe_s_min
        self._next_probe(now)

    # ---- probes

    def probe_due(self, now: float) -> bool:
        """Whether a probe shall be sent now; then its end must be told by `probed`."""
        if self.state is BreakerState.CLOSED or now < self._probe_s:
            return False
        self.state = BreakerState.HALF_OPEN
        return True

    def probed(self, *, good: bool, now: float) -> None:
        """How the probe ended."""
        if not good:
            self.state = BreakerState.OPEN
            self._good_probes = 0
            self._pause_s = min(2 * self._pause_s, self._policy.probe_s_max)
            self._next_probe(now)
            return
        self._good_probes += 1
        self._pause_s = self._policy.probe_s_min
        self._next_probe(now)
        if self._good_probes >= self._policy.probes_to_close:
            self.state = BreakerState.CLOSED
            self.closed_s = now
            self._good = self._bad = self._in_row = 0
            self._earlier = (0, 0)
            self._window_s = now

    # ----

    def _next_probe(self, now: float) -> None:
        self._probe_s = now + self._pause_s * (0.5 + 0.5 * self._jitter())

    def _count_bad(self, now: float) -> None:
        """Two half windows are enough: the one that fills, and the one before."""
        half = self._policy.window_s / 2
        if now - self._window_s >= half:
            self._earlier = (self._good, self._bad) if now - self._window_s < 2 * half else (0, 0)
            self._good = self._bad = 0
            self._window_s = now
        self._bad += 1
        good, bad = self._good + self._earlier[0], self._bad + self._earlier[1]
        if good + bad >= self._policy.calls_min and bad / (good + bad) >= self._policy.failure_ratio:
            self.trip(now)


STEADIER = 5.0
"""Each disappointment makes the while so much longer."""


class Damper:
    """Believes bad news at once and good news after a while: the longer, the more often it was disappointed lately.

    So a backend that comes and goes does not take the daemon's mode with it each time (route flap damping, RFC 2439).
    """

    def __init__(self, *, steady_s: float = 1.0, steady_s_max: float = 30.0, memory_s: float = 300.0) -> None:
        self.steady = True
        self._steady_s = steady_s
        self._steady_s_max = steady_s_max
        self._memory_s = memory_s
        self._disappointments: list[float] = []
        self._up_since: float | None = None

    def observe(self, *, up: bool, now: float) -> bool:
        """What is seen now; whether it counts as up."""
        if not up:
            self._up_since = None
            if self.steady:
                self.steady = False
                recent = [instant for instant in self._disappointments if now - instant < self._memory_s]
                self._disappointments = [*recent[-16:], now]
            return False
        if self._up_since is None:
            self._up_since = now
        wait_s = min(self._steady_s * STEADIER ** (len(self._disappointments) - 1), self._steady_s_max)
        if not self.steady and now - self._up_since >= wait_s:
            self.steady = True
        return self.steady


class RetryBudget:
    """At most `ratio` of calls are retries, and a few more after a quiet time: retries must not become the load."""

    def __init__(self, *, ratio: float = 0.1, saved_max: float = 10.0) -> None:
        self._ratio = ratio
        self._saved_max = saved_max
        self._saved = saved_max

    def called(self) -> None:
        """A call that is no retry."""
        self._saved = min(self._saved + self._ratio, self._saved_max)

    def take(self) -> bool:
        """Whether a retry is allowed; it is counted then."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
