"""The daemon's mode, as its tiers are: decided by `core.modes.serving_mode`, steadied, and counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sidecar.core.breaker import Damper
from sidecar.core.modes import ServingMode, serving_mode
from sidecar.core.ports import Clock
from sidecar.tiers.placement import Placement


class Health:
    """The mode of the placement that namespaces with `authority: warm` have; None: nothing is configured.

    `backlog` says how many writes are kept until the authority has them. Call `look` several times a second.
    """

    def __init__(self, placement: Placement | None, *, clock: Clock, backlog: Callable[[], int] = lambda: 0) -> None:
        self.changes = 0
        """How often the mode changed since the start."""
        self.seconds: Mapping[ServingMode, float] = dict.fromkeys(ServingMode, 0.0)
        """How long each mode lasted since the start, up to the last look."""
        self._clock = clock
        self._since = clock.now()
        self._placement = placement
        self._backlog = backlog
        self._monotonic = clock.monotonic
        self._damper = Damper()
        self._looked_s = self._monotonic()
        self._mode = self._decide(steady=True)

    def mode(self) -> ServingMode:
        """The mode now: bad news at once, good news as of the last look. Changes nothing, so any thread may ask."""
        return max(self._mode, self._decide(steady=True))

    @property
    def since(self) -> int:
        """Since when the mode is what it is, in milliseconds since 1970."""
        return self._since if self.mode() is self._mode else self._clock.now()

    def look(self) -> None:
        """See how the tiers are, and count."""
        now = self._monotonic()
        self.seconds = {**self.seconds, self._mode: self.seconds[self._mode] + now - self._looked_s}
        self._looked_s = now
        mode = self._decide(steady=self._damper.observe(up=self._answers, now=now))
        if mode is not self._mode:
            self.changes += 1
            self._since = self._clock.now()
        self._mode = mode

    @property
    def _answers(self) -> bool:
        return self._placement is not None and self._placement.guard.passes and not self._placement.away

    def _decide(self, *, steady: bool) -> ServingMode:
        placement, backlog = self._placement, self._backlog()
        copies = placement is not None and placement.cached and placement.cache.guard.passes
        return serving_mode(
            authority_answers=self._answers,
            copies_answer=copies or backlog > 0,
            recovering=backlog > 0 or not steady,
        )
