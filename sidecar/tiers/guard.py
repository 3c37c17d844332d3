"""What stands before a backend: its breaker, a bound of the calls it has at once, retries within a budget, its figures.

While the breaker is open nobody waits for the backend: calls are refused at once, and one probe at a time finds out
whether it is back. Then calls are let through slowly, up to all of them after RAMP_S: what was missed meanwhile must not
bring it down again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from sidecar.core.breaker import Breaker, BreakerPolicy, BreakerState, RetryBudget
from sidecar.core.cache import CacheUnavailable
from sidecar.core.errors import (
    DeadlineExceeded,
    LimitExceeded,
    OutcomeUnknown,
    SidecarError,
    StoreCorrupt,
    StoreUnavailable,
    Unavailable,
)
from sidecar.core.modes import Tier
from sidecar.core.ports import Ports, Signal
from sidecar.core.tracing import TRACE, Trace
from sidecar.tiers.stats import TierReport, TierStats

CALLS_MAX = 512
"""Calls that a backend has at once."""
WAITING_MAX = 4_096
"""Calls that wait for one of those to end."""
RAMP_S = 30.0
RAMP_FROM = 0.1
RETRIES_MAX = 2
RETRY_WITHIN_S = 0.25
"""Only a failure that came as quickly as this is tried again: what took its whole time has no more."""
BACKOFF_S = 0.02
ABANDONED_S = 0.05
"""A caller that went away sooner says nothing about the backend."""

T = TypeVar("T")
_FAILURES = (StoreUnavailable, OutcomeUnknown, CacheUnavailable)


class Guard:
    """The guard of one tier. `slow_s`: what takes longer counts as a failure; the backend's own bound ends it.

    `probe` asks the backend something small; call `probe` of the guard several times a second.
    """

    def __init__(self, tier: Tier, *, ports: Ports, probe: Callable[[], Awaitable[object]], slow_s: float) -> None:
        self.stats = TierStats(ports.clock.now)
        self.breaker = Breaker(BreakerPolicy(slow_s=slow_s), jitter=ports.random)
        self.calls_max = CALLS_MAX
        self._tier = tier
        self._name = f"the {tier.name.lower()} tier"
        self._ports = ports
        self._probe = probe
        self._monotonic = ports.clock.monotonic
        self._budget = RetryBudget()
        self._reason = StoreUnavailable.default_reason
        self._under_way = 0
        self._waiting: deque[Signal] = deque()
        self._seconds: Mapping[BreakerState, float] = dict.fromkeys(BreakerState, 0.0)
        self._looked_s = self._monotonic()

    @property
    def passes(self) -> bool:
        """Whether the backend is asked."""
        return self.breaker.passes

    async def call(
        self, name: str, operation: Callable[[], Awaitable[T]], *, again: bool = False, deadline: float | None = None
    ) -> T:
        """Do it. `name`: what metrics and traces call it. `again`: it may be done twice, so a quick failure is tried again
        while the deadline is not near.

        Raises what it raises; StoreUnavailable at once while the breaker is open; LimitExceeded when too many wait.
        """
        self._budget.called()
        attempt, unknown = 0, None
        while True:
            began_s = self._monotonic()
            try:
                if not self._admit(began_s):
                    began_s = await self._admitted_later()
                result = await self._attempt(name, operation, began_s)
            except OutcomeUnknown as exc:
                unknown = exc
                if not (again and self._may_repeat(attempt, began_s, deadline)):
                    raise
            except (Unavailable, LimitExceeded, DeadlineExceeded) as exc:
                repeat = again and isinstance(exc, StoreUnavailable) and self._may_repeat(attempt, began_s, deadline)
                if not repeat and unknown is not None:
                    # This attempt wrote nothing; an earlier one may have.
                    raise unknown from exc
                if not repeat:
                    raise
            else:
                return result
            attempt += 1
            self.stats.retries += 1
            await self._ports.sleep(BACKOFF_S * 2**attempt * self._ports.random())

    async def probe(self) -> bool:
        """A round of whoever looks after it: one probe, if it is time for one. Nothing more is left to do."""
        self._look()
        if not self.breaker.probe_due(self._monotonic()):
            return False
        good = False
        try:
            await self._probe()
            good = True
        except _FAILURES as exc:
            self._failure(exc)
        except SidecarError:
            good = True  # an answer, if not a pleasant one
        finally:
            self._look()  # half open, as long as the probe took
            self.breaker.probed(good=good, now=self._monotonic())
        if self.passes:
            self.stats.succeeded(0.0)
        return False

    def trip(self, error: StoreUnavailable) -> None:
        """It is known that the backend is away."""
        self._failure(error)
        self.breaker.trip(self._monotonic())
        self._dismiss()

    def report(self) -> TierReport:
        """Figures now."""
        return self.stats.report(
            self.breaker.state,
            breaker_seconds=self._seconds,
            in_flight=self._under_way,
            waiting=len(self._waiting),
        )

    # ----

    async def _attempt(self, name: str, operation: Callable[[], Awaitable[T]], began_s: float) -> T:
        trace = TRACE.get()
        try:
            result = await (operation() if trace is None else self._traced(trace, name, operation))
        except BaseException as exc:
            self._tell(exc, began_s)
            answered = isinstance(exc, SidecarError) and not isinstance(exc, (*_FAILURES, DeadlineExceeded))
            self.stats.took(name, self._monotonic() - began_s, answered=answered)
            raise
        finally:
            self._leave()
        self.stats.took(name, self._answered(began_s), answered=True)
        return result

    async def _traced(self, trace: Trace, name: str, operation: Callable[[], Awaitable[T]]) -> T:
        span = trace.operation(self._tier, name)
        try:
            result = await operation()
        except BaseException as exc:
            span.end(exc)
            raise
        span.end()
        return result

    def _look(self) -> None:
        """Count how long the breaker was in its state: to the time between two rounds."""
        now, state = self._monotonic(), self.breaker.state
        self._seconds = {**self._seconds, state: self._seconds[state] + now - self._looked_s}
        self._looked_s = now

    def _tell(self, exc: BaseException, began_s: float) -> None:
        """What an error says about the backend."""
        if isinstance(exc, (*_FAILURES, StoreCorrupt)):
            self._failure(exc)
            if not isinstance(exc, StoreCorrupt):  # that is told as it is, each time
                self._failed(began_s)
        elif isinstance(exc, DeadlineExceeded):
            self._failed(began_s)
        elif isinstance(exc, SidecarError):
            self._answered(began_s)
        elif self._monotonic() - began_s >= ABANDONED_S:
            # The caller's time ended, or its connection did, before the backend's own bound was reached.
            self._failed(began_s)

    def _failure(self, exc: BaseException) -> None:
        self.stats.failed(exc)
        self._reason = exc.reason if isinstance(exc, StoreUnavailable) else StoreUnavailable.default_reason

    def _answered(self, began_s: float) -> float:
        """How long it took."""
        now = self._monotonic()
        self.breaker.answered(began_s, now)
        self.stats.succeeded(now - began_s)
        return now - began_s

    def _failed(self, began_s: float) -> None:
        self.breaker.failed(began_s, self._monotonic())
        if not self.passes:
            self._dismiss()

    def _dismiss(self) -> None:
        """Nobody goes on waiting for a backend that is away."""
        while self._waiting:
            self._waiting.popleft().set()

    def _admit(self, now: float) -> bool:
        """Whether a call begins now. Raises StoreUnavailable where none does."""
        if not self.breaker.passes:
            self.stats.rejected += 1
            said = f"{self._name} is away and not asked for now: {self.stats.last_error}"
            raise StoreUnavailable(said, reason=self._reason)
        if self._under_way >= self._allowed(now):
            return False
        self._under_way += 1
        return True

    async def _admitted_later(self) -> float:
        """When it began, in the end."""
        while True:
            if len(self._waiting) >= WAITING_MAX:
                raise LimitExceeded(f"{len(self._waiting)} calls wait for {self._name}; send fewer at once")
            signal = self._ports.signal()
            self._waiting.append(signal)
            try:
                await signal.wait()
            except BaseException:
                if signal in self._waiting:
                    self._waiting.remove(signal)
                else:
                    self._wake()
                raise
            now = self._monotonic()
            if self._admit(now):
                return now

    def _leave(self) -> None:
        self._under_way -= 1
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        """As many as may begin now: the ramp may have risen since they came."""
        room = self._allowed(self._monotonic()) - self._under_way
        for _ in range(min(room, len(self._waiting))):
            self._waiting.popleft().set()

    def _allowed(self, now: float) -> int:
        closed_s = self.breaker.closed_s
        if closed_s is None or now - closed_s >= RAMP_S:
            return self.calls_max
        return max(1, int(self.calls_max * (RAMP_FROM + (1 - RAMP_FROM) * (now - closed_s) / RAMP_S)))

    def _may_repeat(self, attempt: int, began_s: float, deadline: float | None) -> bool:
        now = self._monotonic()
        return (
            attempt < RETRIES_MAX
            and self.passes
            and now - began_s < RETRY_WITHIN_S
            and (deadline is None or now + 2 * BACKOFF_S * 2**attempt < deadline)
            and self._budget.take()
        )
