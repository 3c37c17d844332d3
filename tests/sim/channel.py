"""The near tiers' channel in simulation: messages in order, late, or lost with the subscription that carried them.

What runtime/channel.py does with asyncio is done here with the scheduler: a sidecar talks every heartbeat, and begins a
subscription anew that was lost or carried nothing for seconds.
"""

from __future__ import annotations

from sidecar.core.cache import CacheUnavailable
from sidecar.tiers.announcements import heartbeat, parse
from sidecar.tiers.near import HEARTBEAT_S, SUSPECT_S, At, Held, Near
from tests.sim.faults import Link
from tests.sim.scheduler import Process, Scheduler, sleep

SILENT_MS = int(3 * SUSPECT_S * 1000)


class SimHolder(dict[At, Held]):
    """A holder that keeps everything: what is forgotten can't be stale."""

    bytes_held = 0

    def put(self, at: At, held: Held) -> None:
        self[at] = held

    def drop(self, at: At) -> None:
        self.pop(at, None)


class SimBus:
    """Everybody who listens now."""

    def __init__(self) -> None:
        self.subscribers: list[SimChannel] = []

    def publish(self, payloads: list[bytes]) -> None:
        for subscriber in self.subscribers:
            subscriber.arrive(payloads)


class SimChannel:
    """One sidecar's side of the channel."""

    def __init__(self, bus: SimBus, near: Near, link: Link, scheduler: Scheduler, process: Process, token: str) -> None:
        self._bus = bus
        self._near = near
        self._link = link
        self._scheduler = scheduler
        self._process = process
        self._token = token
        self._inbox: list[bytes] = []
        self._heard_ms = scheduler.clock.now()
        self._carrying = False
        self.stopped = False

    def arrive(self, payloads: list[bytes]) -> None:
        """The server sent these; a dead process hears nothing any more."""
        if not self._process.alive or self.stopped:
            return
        self._inbox.extend(payloads)
        if not self._carrying:
            self._carrying = True
            self._scheduler.spawn(self._process, self._carry())

    async def _carry(self) -> None:
        while self._inbox:
            await self._link.travel()
            if self._link.cut:
                # A connection that is cut may look alive from here: nobody tells the near tier.
                self._unsubscribe()
            elif self._inbox:
                announced = parse(self._inbox.pop(0))
                if announced.heartbeat is not None and announced.heartbeat[0] == self._token:
                    self._heard_ms = self._scheduler.clock.now()
                self._near.heard(announced, self._token)
        self._carrying = False

    async def talk(self) -> None:
        """Say what is to be said, with a heartbeat, now and again."""
        while True:
            silent = self._scheduler.clock.now() - self._heard_ms > SILENT_MS
            if self not in self._bus.subscribers or silent:
                self._subscribe()
            await self._say(heartbeat(self._token, self._scheduler.clock.monotonic()))
            await sleep(int(HEARTBEAT_S * 1000))

    def deafen(self) -> None:
        """Hear nothing more."""
        self.stopped = True
        self._unsubscribe()
        self._near.broke()

    async def finish(self) -> None:
        """Say what is left to say."""
        while self._near.announcements.waiting:
            await self._say()

    async def _say(self, *beat: bytes) -> None:
        messages = [*self._near.announcements.take(), *beat]
        try:
            await self._link.call(("publish",), lambda: self._bus.publish(messages), _away, _away)
        except CacheUnavailable:
            self._near.announcements.everything |= len(messages) > len(beat)

    def _subscribe(self) -> None:
        self._near.broke()
        self._unsubscribe()
        self._heard_ms = self._scheduler.clock.now()
        if not self._link.cut:
            self._bus.subscribers.append(self)

    def _unsubscribe(self) -> None:
        self._inbox.clear()
        if self in self._bus.subscribers:
            self._bus.subscribers.remove(self)


def _away() -> Exception:
    return CacheUnavailable("the simulated channel does not answer")
