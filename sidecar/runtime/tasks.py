"""The daemon's background work: followups of replies from a bounded queue, and rounds that repeat."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from sidecar.core.errors import SidecarError
from sidecar.engine import followups
from sidecar.engine.followups import Followup

log = logging.getLogger(__name__)

BATCH = 256
PAUSE_S_MAX = 10.0
"""However long a round took: who waits for a slow backend is no burden to others."""


class FollowupQueue:
    """Runs followups in batches, in order; drops the newest when `followups_max` wait, which costs speed, not truth."""

    def __init__(self, followups_max: int) -> None:
        self.dropped = 0
        self._followups_max = followups_max
        self._waiting: deque[Followup] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self) -> None:
        """Begin to run them."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    def submit(self, owed: Iterable[Followup]) -> None:
        """Run these soon."""
        for followup in owed:
            if len(self._waiting) < self._followups_max:
                self._waiting.append(followup)
            else:
                self.dropped += 1
        self._wake.set()

    async def finish(self) -> None:
        """Run what waits, then stop. Idempotent."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        while not (self._closing and not self._waiting):
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                await followups.run(batch)
            except SidecarError as exc:
                log.debug("followups failed", extra={"count": len(batch), "reason": exc.reason})
            except Exception:
                log.exception("bug in a followup")


class Rounds:
    """Something that repeats until stopped: while it says that more is left as `duty` allows, else after an interval.

    `duty` says which share of the time it may take; None: it begins again at once. The first round comes after `delay_s`.
    """

    def __init__(
        self,
        name: str,
        round_: Callable[[], Awaitable[bool]],
        *,
        interval_s: float,
        duty: Callable[[], float] | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self._name = name
        self._round = round_
        self._interval_s = interval_s
        self._duty = duty
        self._delay_s = delay_s
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._repeat())

    async def stop(self) -> None:
        """Finish the round under way. Idempotent."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _repeat(self) -> None:
        clock = asyncio.get_running_loop().time
        await self._pause(self._delay_s)
        while not self._stopping.is_set():
            began_s = clock()
            more = await self._once()
            await self._pause(self._rest_s(clock() - began_s) if more else self._interval_s)

    async def _pause(self, seconds: float) -> None:
        """Let others run, and time pass, until it is to stop."""
        if not seconds:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _rest_s(self, took_s: float) -> float:
        return 0.0 if self._duty is None else min(took_s * (1 / self._duty() - 1), PAUSE_S_MAX)

    async def _once(self) -> bool:
        try:
            more = await self._round()
        except SidecarError as exc:
            # Said once: a backend that is away for an hour is one piece of news.
            log.log(
                logging.DEBUG if self._failing else logging.WARNING,
                "%s failed: %s",
                self._name,
                exc.message,
                extra={"reason": exc.reason},
            )
            self._failing = True
            return False
        except Exception:
            log.exception("bug in %s", self._name)
            return False
        if self._failing:
            log.info("%s works again", self._name)
        self._failing = False
        return more
