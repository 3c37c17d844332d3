"""A simulated sidecar: the production engine, repairer, followups and sweeps in a process that can die at any step.

What runtime/ does with asyncio is done here with the scheduler, as simply as it can be said: a task a call, a worker
for followups, rounds that repeat. A call's task belongs to the sidecar, so a caller that gives up stops no write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from sidecar.core.cache import CacheUnavailable
from sidecar.core.errors import SidecarError
from sidecar.core.limits import Limits
from sidecar.core.modes import Tier
from sidecar.core.ports import Clock
from sidecar.core.store import SweepOrder
from sidecar.engine import followups
from sidecar.engine.engine import Engine
from sidecar.engine.followups import Followup
from sidecar.stores.memory import MemoryCache, MemoryStore
from sidecar.tiers.near import Near
from sidecar.tiers.placement import Placement
from sidecar.tiers.repair import Repairer
from tests.sim.channel import SimBus, SimChannel, SimHolder
from tests.sim.faults import FaultyCache, FaultyStore
from tests.sim.plan import POLICIES
from tests.sim.scheduler import Event, Process, Scheduler, Task, sleep

T = TypeVar("T")
FOLLOWUPS_MAX = 64
PROBE_INTERVAL_MS = 200
SWEEP = SweepOrder(limit=20, tombstone_retention_ms=10_000, request_retention_ms=3_600_000)


class Lost(Exception):
    """The connection ended or the caller's patience did, with the answer outstanding."""


class Refused(Exception):
    """Nobody listens, or the sidecar drains: the call did not begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What a world is built of: production, or a mutant of it."""

    store: type[MemoryStore] = MemoryStore
    cache: type[MemoryCache] = MemoryCache
    near: type[Near] = Near
    placement: type[Placement] = Placement
    repairer: type[Repairer] | None = Repairer
    engine: Callable[[Engine], Engine] = lambda engine: engine
    keep_request_id: bool = True


class SimPorts:
    """The engine's outside: `core.ports.Ports`."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.clock: Clock = scheduler.clock
        self._scheduler = scheduler
        self._name = name
        self._tokens = 0
        # Of its own, so that a jitter more or less does not draw another order of steps.
        self.random = Random(name).random

    def signal(self) -> Event:
        return self._scheduler.event()

    def token(self) -> str:
        self._tokens += 1
        return f"{self._name}-token-{self._tokens}"

    async def sleep(self, seconds: float) -> None:
        await sleep(int(seconds * 1000))

    async def compute(self, work: Callable[[], T]) -> T:
        return work()


class Call:
    """A call under way in a sidecar, and its answer."""

    __slots__ = ("done", "error", "result", "task")

    def __init__(self, done: Event) -> None:
        self.done = done
        self.task: Task | None = None
        self.result: Any = None
        self.error: Exception | None = None


class Sidecar:
    """One incarnation of a sidecar: a crash ends it, a restart makes another."""

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        store: FaultyStore,
        cache: FaultyCache,
        bus: SimBus,
        variant: Variant,
        *,
        near_max_age_ms: int,
        repair_interval_ms: int,
        sweep_interval_ms: int,
    ) -> None:
        self.name = name
        self.store = store
        self.cache = cache
        self.process = Process(name)
        self.draining = False
        ports = SimPorts(scheduler, name)
        self.held = SimHolder()
        self.near = variant.near(
            self.held,
            clock=scheduler.clock,
            max_age_ms=lambda namespace: near_max_age_ms if POLICIES.of(namespace).near.enabled else None,
        )
        self.placement = variant.placement(store, tier=Tier.WARM, ports=ports, cache=cache, near=self.near)
        self.engine = variant.engine(Engine(policies=POLICIES, limits=Limits(), hot=None, warm=self.placement))
        self.calls: dict[int, Call] = {}
        self._scheduler = scheduler
        self._owed: list[Followup] = []
        self._working = False
        self._background: list[Task] = []
        if variant.repairer is not None:
            repairer = variant.repairer(self.placement, ports)
            self._background.append(scheduler.spawn(self.process, self._rounds(repairer.round, repair_interval_ms)))
        self._background.append(scheduler.spawn(self.process, self._rounds(self._sweep, sweep_interval_ms)))
        self._healed_tick = -1
        for probe in (self._probe, self.placement.cache.guard.probe):
            self._background.append(scheduler.spawn(self.process, self._rounds(probe, PROBE_INTERVAL_MS)))
        self._channel = SimChannel(bus, self.near, cache.link, scheduler, self.process, name)
        self._talking = scheduler.spawn(self.process, self._channel.talk())

    # ---- calls

    async def call(self, make: Callable[[Engine], Coroutine[Any, Any, T]], *, patience_ms: int, read: bool) -> T:
        """A caller's side of an RPC. Raises Refused, Lost, or what the engine raises."""
        await sleep(0)
        if not self.process.alive or self.draining:
            raise Refused
        call = Call(self._scheduler.event())
        call.task = self._scheduler.spawn(self.process, self._answer(call, make))
        self.calls[call.task.number] = call
        await call.done.wait(patience_ms)
        if not call.done.happened:
            if read:
                self._scheduler.cancel(call.task)
                self.calls.pop(call.task.number, None)
            raise Lost
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[no-any-return]  # what `make` answered

    async def _answer(self, call: Call, make: Callable[[Engine], Coroutine[Any, Any, Any]]) -> None:
        try:
            call.result = await make(self.engine)
        except SidecarError as exc:
            call.error = exc
        assert call.task is not None
        self.calls.pop(call.task.number, None)
        self._owe(getattr(call.result, "followups", ()))
        call.done.set()

    def _owe(self, owed: tuple[Followup, ...]) -> None:
        self._owed.extend(owed[: FOLLOWUPS_MAX - len(self._owed)])
        if self._owed and not self._working:
            self._working = True
            self._scheduler.spawn(self.process, self._work())

    async def _work(self) -> None:
        while self._owed:
            batch, self._owed = self._owed, []
            with suppress(SidecarError):  # as the runtime does: losing a followup costs speed, never truth
                await followups.run(batch)
        self._working = False

    # ---- rounds

    async def _rounds(self, round_: Callable[[], Awaitable[bool]], interval_ms: int) -> None:
        while not self.draining:
            try:
                if await round_():
                    continue
            except (SidecarError, CacheUnavailable):
                pass  # as the runtime does: the next round tries again
            await sleep(interval_ms)

    async def _probe(self) -> bool:
        guard = self.placement.guard
        closed_s = guard.breaker.closed_s
        await guard.probe()
        if guard.breaker.closed_s != closed_s:
            self._healed_tick = self._scheduler.tick
        return False

    def was_away(self, tick: int) -> bool:
        """Whether the authority did not answer since then, or was not asked because it had not."""
        return not self.placement.guard.passes or max(self.store.link.failed_tick, self._healed_tick) >= tick

    async def _sweep(self) -> bool:
        return (await self.placement.sweep(SWEEP)).reached(SWEEP.limit)

    # ---- ends

    def crash(self) -> None:
        """Gone, at whatever step each of its tasks was; callers see their connections break."""
        self._scheduler.kill(self.process)
        for call in list(self.calls.values()):
            call.error = Lost()
            call.done.set()
        self.calls.clear()

    async def drain(self, patience_ms: int) -> bool:
        """Admit nothing, answer what was admitted, finish followups and rounds; whether that was done in time."""
        self.draining = True
        self._scheduler.cancel(self._talking)
        self._channel.deafen()
        limit = self._scheduler.clock.monotonic() + patience_ms / 1000
        while self.process.tasks and self._scheduler.clock.monotonic() < limit:
            [oldest, *_] = self.process.tasks.values()
            await oldest.done.wait(patience_ms)
        await self._channel.finish()
        return not self.process.tasks

    @property
    def leftovers(self) -> str:
        """What a drained sidecar should not have."""
        flights = self.placement._through._flights._flights
        return ", ".join(
            f"{count} {what}"
            for what, count in (("flights", len(flights)), ("calls", len(self.calls)), ("followups", len(self._owed)))
            if count
        )
