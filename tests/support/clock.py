"""A clock that moves only when a test says so."""

from __future__ import annotations

START_MS = 1_800_000_000_000
"""An instant in 2027: no test may depend on today's date."""


class ManualClock:
    """Both times of `core.ports.Clock`; `advance` moves them together, as a machine's clock does."""

    def __init__(self, now: int = START_MS) -> None:
        self._now = now
        self._monotonic_ms = 0

    def now(self) -> int:
        """Milliseconds since 1970."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._monotonic_ms / 1000

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        assert milliseconds >= 0, milliseconds
        self._now += milliseconds
        self._monotonic_ms += milliseconds

    def set_back(self, milliseconds: int) -> None:
        """What an operator or a bad time server does: the wall clock goes back, the monotonic one doesn't."""
        self._now -= milliseconds
