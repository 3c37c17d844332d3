"""What the daemon measures of itself, put together: requests, the event loop, what is kept, and what is exported."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from sidecar.core.histograms import Histogram
from sidecar.core.modes import ServingMode
from sidecar.core.policy import Kind
from sidecar.core.windows import TICK_S, LastMinute
from sidecar.rpc.measuring import Requests
from sidecar.runtime.exporting import exporting
from sidecar.runtime.settings import Settings
from sidecar.runtime.tasks import Rounds
from sidecar.telemetry.figures import ExportFigures, Figures

LAG_INTERVAL_S = 0.25


class LoopLag:
    """How late the event loop is: a timer that looks at how much later than due it was called."""

    def __init__(self) -> None:
        self.histogram = Histogram()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._next()

    async def stop(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def _next(self) -> None:
        due_s = self._loop.time() + LAG_INTERVAL_S
        self._timer = self._loop.call_at(due_s, self._due, due_s)

    def _due(self, due_s: float) -> None:
        self.histogram.record(self._loop.time() - due_s)
        self._next()


class Telemetry:
    """`requests` measures all RPCs, from before the server starts; the rest runs from `start` to `stop`.

    `figures`: what is exported, once there is something to tell. Raises StartError when it can't be.
    """

    def __init__(self, settings: Settings, *, mode: Callable[[], ServingMode]) -> None:
        self.loop_lag = LoopLag()
        self.recent_lag = LastMinute({"": self.loop_lag.histogram}, time.monotonic)
        self.figures: Figures | None = None
        self._exporting = exporting(settings, os.environ, lambda: self.figures)
        self.tracer = None if self._exporting is None else self._exporting.tracer
        self.requests = Requests(kind_of=_kinds(settings), mode=mode, tracer=self.tracer)
        self._background: tuple[LoopLag | Rounds, ...] = (
            self.loop_lag,
            Rounds("last minute", self._tick, interval_s=TICK_S),
        )

    def start(self) -> None:
        """Begin."""
        for background in self._background:
            background.start()
        if self._exporting is not None:
            self._exporting.exports.start()

    def exports(self) -> ExportFigures | None:
        """What did not go out; None: nothing is exported."""
        return None if self._exporting is None else self._exporting.exports.figures()

    async def stop(self) -> None:
        """Idempotent."""
        for background in self._background:
            await background.stop()
        if self._exporting is not None:
            await asyncio.to_thread(self._exporting.exports.stop)

    async def _tick(self) -> bool:
        self.requests.last_minute.tick()
        self.recent_lag.tick()
        return False


def _kinds(settings: Settings) -> Callable[[str], str]:
    """A namespace's kind: its preset's name, whatever the namespace is called."""
    kinds = {kind.value: kind.value for kind in Kind}
    kinds |= {name: each.kind.value for name, each in settings.namespaces.items() if each.kind is not None}
    return lambda namespace: kinds.get(namespace, Kind.DEFAULT.value)
