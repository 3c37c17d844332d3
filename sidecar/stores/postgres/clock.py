"""The server's clock as this process knows it: the last time that was heard, and what has passed since."""

from __future__ import annotations

from sidecar.core.ports import Clock

SAMPLE_MS = 10_000
"""How long a sample is kept that no later one improves: the server's clock may be set, and the two drift apart."""


class ServerClock:
    """Each answer of the server tells its time, late by the way of the answer: of some, the least late is believed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: float | None = None
        self._heard = 0.0

    def hear(self, server_ms: int) -> None:
        """The server said what time it was just now."""
        monotonic = self._clock.monotonic() * 1000
        offset = server_ms - monotonic
        if self._offset is None or offset >= self._offset or monotonic - self._heard >= SAMPLE_MS:
            self._offset = offset
            self._heard = monotonic

    def now(self) -> int:
        """Milliseconds since 1970; this machine's clock as long as nothing was heard."""
        if self._offset is None:
            return self._clock.now()
        return round(self._offset + self._clock.monotonic() * 1000)
