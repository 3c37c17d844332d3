"""Relays whose every call of the store and the sink stands still before and after it, until a seeded nemesis lets it go on.

So between any two of their steps may be: another relay's step, a write, a second or a lease of time, a death. A relay that
is paused wakes up in the midst of whatever it did.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from sidecar.core.errors import OutcomeUnknown, SidecarError, StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.sinks import UNTRIED, Delivery, Receipt, Refused, SinkUnavailable
from sidecar.core.store import Store
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.unit.outbox_support import NS, Member, NamedPorts, Published, Writer, letters, rows

CONFIG = OutboxConfig(in_flight_max=6, attempts_max=3, lease_s=2.0)
KEYS = [f"key {number}" for number in range(12)]
POISON = ("key 3", "key 7")
"""Their messages are refused at first; every third of them for ever."""
SETTLING_STEPS = 60_000


class View:
    """A store as one process sees it: slowly, and with faults."""

    def __init__(self, store: MemoryStore, process: Process) -> None:
        self.capabilities = store.capabilities
        self.now = store.now
        self._store = store
        self._process = process

    async def get(self, *arguments: Any, **options: Any) -> Any:
        return await self._read(lambda: self._store.get(*arguments, **options))

    async def scan(self, *arguments: Any, **options: Any) -> Any:
        return await self._read(lambda: self._store.scan(*arguments, **options))

    async def commit(self, *arguments: Any, **options: Any) -> Any:
        await self._process.turn()
        if self._process.unlucky():
            raise StoreUnavailable("the request was lost")
        answer = await self._store.commit(*arguments, **options)
        await self._process.turn()
        if self._process.unlucky():
            raise OutcomeUnknown("the reply was lost")
        return answer

    async def _read(self, read: Callable[[], Awaitable[Any]]) -> Any:
        await self._process.turn()
        if self._process.unlucky():
            raise StoreUnavailable("the request was lost")
        answer = await read()
        await self._process.turn()
        return answer


class Sink:
    """Takes what is not poisonous. What it took is in the log of the world."""

    def __init__(self, process: Process) -> None:
        self.batch_max = process.world.random.choice((1, 4, 100))
        self._process = process

    async def open(self) -> None:
        await self._process.turn()

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        await self._process.turn()
        if self._process.unlucky():
            raise SinkUnavailable("the sink is away")
        receipts: list[Receipt] = []
        stopped: set[str] = set()
        for delivery in deliveries:
            order = delivery.message.order
            receipt = UNTRIED if order in stopped else self._process.world.receipt(delivery)
            receipts.append(receipt)
            if receipt is not None:
                stopped.add(order)
            if receipt is not UNTRIED:
                self._process.world.log.append(Published(delivery.message, delivery.attempt, receipt, self))
        await self._process.turn()
        if self._process.unlucky():
            raise SinkUnavailable("nobody knows what it took")
        return receipts

    async def close(self) -> None: ...


class Process:
    """One daemon: a relay, and the tasks that its runtime would have."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.paused = False
        self.waiting: list[asyncio.Future[None]] = []
        view: Any = View(world.store, self)
        store: Store = view
        placement = Placement(store, tier=Tier.WARM, ports=NamedPorts(world.clock))
        self.member = Member(placement, Sink(self), config=world.config)
        self.tasks: set[asyncio.Task[None]] = set()
        for work in (self._feeds, self._attends, self._marks):
            self._spawn(work())

    async def turn(self) -> None:
        """Stand still until the nemesis says so."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await future

    def unlucky(self) -> bool:
        """Whether something goes wrong."""
        return self.world.random.random() < self.world.trouble

    def kill(self) -> None:
        """No instruction of it is run any more."""
        for task in self.tasks:
            task.cancel()
        self.waiting = []
        self.member.dies()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.bugs.append(error)

    async def _feeds(self) -> None:
        while True:
            with suppress(SidecarError):
                self.member.relay.heard()
                while (batch := await self.member.relay.next()) is not None:
                    self._spawn(self.member.deliver(batch))
            await self.turn()

    async def _attends(self) -> None:
        while True:
            with suppress(SidecarError):
                await self.member.placement.guard.probe()
                await self.member.relay.attend()
            await self.turn()

    async def _marks(self) -> None:
        while True:
            with suppress(SidecarError):
                await self.member.relay.marker.flush()
            await self.turn()


class World:
    """A seed's."""

    def __init__(self, seed: int, *, trouble: float = 0.02, config: OutboxConfig = CONFIG) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.store = MemoryStore(clock=self.clock)
        self.log: list[Published] = []
        self.bugs: list[BaseException] = []
        self.trouble = trouble
        self.config = config
        self.deaths = 0
        self.placement = Placement(self.store, tier=Tier.WARM, ports=NamedPorts(self.clock))
        self.writer = Writer(self.placement)
        self.processes = [Process(self) for _ in range(3)]

    def receipt(self, delivery: Delivery) -> Receipt:
        """A message's, the same whoever asks."""
        message = delivery.message
        if message.key not in POISON:
            return None
        if int(message.id, 16) % 3 == 0:
            return Refused("for ever", permanent=int(message.id, 16) % 2 == 0)
        return Refused("not yet") if delivery.attempt < 2 else None

    async def run(self, steps: int) -> None:
        """Trouble, and then peace, until everything has gone out."""
        for _ in range(steps):
            await self._step()
        self.trouble = 0.0
        for process in self.processes:
            process.paused = False
        for count in range(SETTLING_STEPS):
            await self._let_go()
            if count % 50 == 0:
                self.clock.advance(100)
                if not await rows(self.placement, "x/"):
                    break
        for process in self.processes:
            process.kill()
        await asyncio.sleep(0)
        assert not self.bugs, self.bugs

    async def dead(self) -> set[str]:
        """The ids of the dead letters."""
        page = await letters(self.placement).list(NS, limit=10_000)
        return {letter.message.id for letter in page.letters}

    async def _step(self) -> None:
        chance = self.random.random()
        if chance < 0.10:
            await self.writer.write(self.random.choice(KEYS), self.random.choice((1, 1, 1, 3)))
        elif chance < 0.16:
            self.clock.advance(self.random.choice((1, 10, 100, 500)))
        elif chance < 0.165 and self.trouble:
            process = self.random.choice(self.processes)
            process.paused = not process.paused
        elif chance < 0.167 and self.trouble:
            self.deaths += 1
            self.processes.pop(self.random.randrange(len(self.processes))).kill()
            self.processes.append(Process(self))
        await self._let_go()

    async def _let_go(self) -> None:
        waiting = [process for process in self.processes if process.waiting and not process.paused]
        if waiting:
            process = self.random.choice(waiting)
            future = process.waiting.pop(self.random.randrange(len(process.waiting)))
            if not future.done():
                future.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)
