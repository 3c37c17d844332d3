"""The near tiers' channel: hear what other daemons changed, say what we changed, and try by heartbeats that it carries."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sidecar.core.bus import Bus
from sidecar.core.cache import CacheUnavailable
from sidecar.core.ports import Ports
from sidecar.tiers.announcements import heartbeat, parse
from sidecar.tiers.near import HEARTBEAT_S, SUSPECT_S, Near

log = logging.getLogger(__name__)

SILENT_S = 3 * SUSPECT_S
"""A subscription that carries no heartbeat for so long is begun anew: its connection may be half open."""
RETRY_S = 1.0


class NearChannel:
    """Keeps one near tier true, from `start` to `stop`."""

    def __init__(self, bus: Bus, near: Near, ports: Ports) -> None:
        self._bus = bus
        self._near = near
        self._token = ports.token()
        self._monotonic = ports.clock.monotonic
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._heard_s = 0.0
        self._failing = False

    def start(self) -> None:
        """Begin to listen and to talk."""
        self._near.announcements.wake = self._wake.set
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._listen()), loop.create_task(self._talk())]

    async def stop(self) -> None:
        """End both. What was not said yet is said first, if the channel carries. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        if tasks:
            self._near.broke()
            await self._say(b"")

    async def _listen(self) -> None:
        while True:
            self._heard_s = self._monotonic()
            listening = asyncio.get_running_loop().create_task(self._bus.listen(self._receive, self._subscribed))
            try:
                while not listening.done() and self._monotonic() - self._heard_s < SILENT_S:
                    await asyncio.wait([listening], timeout=SUSPECT_S)
            finally:
                listening.cancel()
                self._near.broke()
                await self._ended(listening)
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await asyncio.Event().wait()

    async def _ended(self, listening: asyncio.Task[None]) -> None:
        try:
            await listening
        except asyncio.CancelledError:
            pass
        except CacheUnavailable as exc:
            self._failed(exc)
        except Exception:
            log.exception("bug in the near channel")

    def _subscribed(self) -> None:
        # Messages of before may have been missed.
        self._near.broke()

    def _receive(self, payload: bytes) -> None:
        announced = parse(payload)
        if announced.heartbeat is not None and announced.heartbeat[0] == self._token:
            self._heard_s = self._monotonic()
            if self._failing:
                self._failing = False
                log.info("the near channel carries again")
        self._near.heard(announced, self._token)

    async def _talk(self) -> None:
        while True:
            await self._say(heartbeat(self._token, self._monotonic()))
            beat = self._monotonic() + HEARTBEAT_S
            while (left := beat - self._monotonic()) > 0:
                try:
                    async with asyncio.timeout(left):
                        await self._wake.wait()
                except TimeoutError:
                    break
                await self._say(b"")

    async def _say(self, beat: bytes) -> None:
        self._wake.clear()
        messages = self._near.announcements.take()
        try:
            if messages or beat:
                await self._bus.publish([*messages, *([beat] if beat else [])])
        except CacheUnavailable as exc:
            # Nobody may have heard: all that they hold may be stale, once the channel carries again.
            self._near.announcements.everything = self._near.announcements.everything or bool(messages)
            self._failed(exc)

    def _failed(self, exc: CacheUnavailable) -> None:
        log.log(logging.DEBUG if self._failing else logging.WARNING, "the near channel does not carry: %s", exc)
        self._failing = True
