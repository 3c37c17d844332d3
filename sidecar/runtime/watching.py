"""Who reads the changes for watchers: one reader an authority, which rests while nobody watches."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from sidecar.core.errors import Defect, SidecarError
from sidecar.engine.watching import Feed

POLL_S, POLL_TOLD_S = 0.25, 1.0
"""How long no news is taken for nothing new: where other daemons' commits aren't heard of, and where they are."""
PACE_S, PACE_S_MAX = 50e-6, 0.05
"""Between two reads, for each watcher: waking all of them costs about as much, and one wake can bring many changes."""

log = logging.getLogger(__name__)


class FeedReader:
    """Advances a feed at each piece of news, and from time to time besides."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._news = feed.placement.news
        self._woken = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, when somebody watches."""
        self._feed.wanted = self._woken.set
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def stop(self) -> None:
        """Finish the read under way. Idempotent."""
        self._stop.set()
        self._woken.set()
        if self._task is not None:
            await self._task

    async def _read(self) -> None:
        while not self._stop.is_set():
            await self._woken.wait()
            silence = self._news.listen(self._woken.set)
            try:
                await self._follow()
            finally:
                silence()

    async def _follow(self) -> None:
        """While there are watchers."""
        while self._feed.watchers and not self._stop.is_set():
            self._woken.clear()  # news that come from here on are of what this read may not see
            more = await self._advanced()
            await self._within(min(PACE_S * self._feed.watchers, PACE_S_MAX), self._stop)
            if not more:
                await self._within(POLL_TOLD_S if self._news.told else POLL_S, self._woken)
        self._woken.clear()

    async def _within(self, seconds: float, event: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    async def _advanced(self) -> bool:
        try:
            return await self._feed.advance()
        except SidecarError as exc:
            log.debug("the changes can't be read: %s", exc.message, extra={"reason": exc.reason})
        except Exception:
            log.exception("bug in the reader of changes")
            self._feed.fail(Defect("a bug in state-sidecar; its log has the traceback"))
        return False
