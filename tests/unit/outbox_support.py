"""Relays over one store, a sink that does as it is told, and time that the test moves."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sidecar.core.errors import SidecarError
from sidecar.core.ledger import LEDGER
from sidecar.core.modes import Tier
from sidecar.core.operations import Operation, Put, Write
from sidecar.core.outbox import Message, Pending, message_id, order_of
from sidecar.core.sinks import UNTRIED, Delivery, Receipt, Refused, Sink, SinkUnavailable
from sidecar.core.store import Store
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.engine.outbox.group import SINKS
from sidecar.engine.outbox.letters import DeadLetters
from sidecar.engine.outbox.outlets import Outlet, Source
from sidecar.engine.outbox.queues import Batch
from sidecar.engine.outbox.relay import Relay
from sidecar.stores.memory import MemoryStore
from sidecar.stores.sqlite import SqliteStore
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.support.ports import ManualPorts

NS = "orders"
TOPIC = "placed"
CONFIG = OutboxConfig(in_flight_max=8, attempts_max=3)
LEASE_MS = CONFIG.lease_ms
PATIENCE_S = 20.0
STEPS_MAX = 2_000
PAUSE_MS = 60
"""After so long a relay looks, whatever it has found before."""


class NamedPorts(ManualPorts):
    """Ports whose tokens sort as they were made, so that a test knows whose lanes are whose."""

    _made = 0

    def token(self) -> str:
        NamedPorts._made += 1
        return f"{NamedPorts._made:08}"


@dataclass(slots=True)
class Published:
    """A message that a sink was given, and what it said."""

    message: Pending
    attempt: int
    receipt: Receipt
    owner: object


class ScriptedSink:
    """Confirms, unless the test says otherwise. `log` holds all that it was given, in order, of everybody who shares it."""

    def __init__(self, *, batch_max: int = 100, log: list[Published] | None = None) -> None:
        self.batch_max = batch_max
        self.log: list[Published] = [] if log is None else log
        self.away = False
        self.opened = 0
        self.closed = 0
        self.refusals: dict[str, Refused] = {}
        """By key: what its messages are answered."""
        self.batches: list[list[str]] = []
        self.go_on: asyncio.Event | None = None
        """If there is one, a publication waits for it after it was taken."""
        self.came = asyncio.Event()

    async def open(self) -> None:
        self.opened += 1
        if self.away:
            raise SinkUnavailable("the sink is away")

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        if self.away:
            raise SinkUnavailable("the sink is away")
        assert len(deliveries) <= self.batch_max
        self.batches.append([delivery.message.key for delivery in deliveries])
        receipts: list[Receipt] = []
        stopped: set[str] = set()
        for delivery in deliveries:
            message = delivery.message
            receipt: Receipt = UNTRIED if message.order in stopped else self.refusals.get(message.key)
            receipts.append(receipt)
            if receipt is not None:
                stopped.add(message.order)
            if receipt is not UNTRIED:
                self.log.append(Published(message, delivery.attempt, receipt, self))
        self.came.set()
        if self.go_on is not None:
            await self.go_on.wait()
        return receipts

    async def close(self) -> None:
        self.closed += 1

    async def until(self, true: Callable[[], bool]) -> None:
        """Until what came makes it so."""
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self.came.clear()
                await self.came.wait()

    @property
    def taken(self) -> list[str]:
        """The ids of all that was confirmed, repetitions too."""
        return [one.message.id for one in self.log if one.receipt is None]

    def tried(self, key: str) -> list[int]:
        """The attempts of a key's messages, as they came."""
        return [one.attempt for one in self.log if one.message.key == key]


class Member:
    """A daemon's relay without the daemon: `settle` does what its tasks would, one after the other."""

    def __init__(
        self,
        placement: Placement,
        sink: Sink | None,
        *,
        config: OutboxConfig = CONFIG,
        group: str = SINKS,
        sinks: Mapping[str, Sink] | None = None,
        topics: frozenset[str] = frozenset(),
    ) -> None:
        self.placement = placement
        self.sink = sink
        clock = placement.ports.clock
        assert isinstance(clock, ManualClock)
        self.clock = clock
        ports = NamedPorts(clock)

        def outlet(one: Sink) -> Outlet:
            return Outlet(one, rest_s=config.retry_delay_s, ports=ports)

        self.source = Source(
            {name: outlet(one) for name, one in (sinks or {}).items()},
            None if sink is None else outlet(sink),
            topics=topics,
        )
        self.relay = Relay(group, self.source, config, ledger=placement.ledger, news=placement.news, ports=ports)
        self.unlisten = placement.news.listen(self.relay.heard)
        self.asked: set[str] = set()
        wakes = self.relay.wakes
        wakes.look = lambda: self.asked.add("look")

    @property
    def lanes(self) -> int:
        """How many it has, as far as it knows."""
        return len(self.relay.group.holds)

    async def attend(self) -> None:
        """As its task does when it was asked, or the time has come."""
        self.asked.discard("look")
        await self.relay.attend()

    async def batch(self) -> Batch:
        """Something that it would publish next."""
        for _ in range(20):
            await self.attend()
            if (batch := await self.relay.next()) is not None:
                return batch
        raise AssertionError("there is nothing to publish")

    async def deliver(self, batch: Batch) -> None:
        """Publish one; a sink that is away is no news."""
        with suppress(SinkUnavailable):
            await self.relay.deliver(batch)

    async def flush(self) -> None:
        """Store what became of everything."""
        while self.relay.marker.waiting:
            await self.relay.marker.flush()

    async def settle(self) -> None:
        """Until it has nothing to do before more time passes. It is woken, so it looks."""
        self.clock.advance(PAUSE_MS)
        self.relay.heard()
        await self.attend()
        idle = 0
        for _ in range(STEPS_MAX):
            if idle == 2:
                return
            batch = await self.relay.next()
            if batch is not None:
                await self.deliver(batch)
                await self.flush()
            await self.flush()
            if "look" in self.asked:
                await self.attend()
            idle = 0 if batch is not None else idle + 1
        raise AssertionError("it does not rest")

    def dies(self) -> None:
        """It does nothing any more."""
        self.unlisten()


@dataclass(slots=True)
class Writer:
    """Commits messages, and remembers them in the order of their versions."""

    placement: Placement
    namespace: str = NS
    committed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Ids by key."""

    async def write(self, key: str, count: int = 1, *, topic: str = TOPIC, payload: bytes = b"payload") -> list[str]:
        """One commit of a key with so many messages; their ids."""
        messages = tuple(Message(topic=topic, payload=payload) for _ in range(count))
        put = Put(key=key, value=b"v")
        write = Write(namespace=self.namespace, operations=(put,), value_bytes_max=1 << 20, outbox=messages)
        version = (await self.placement.commit(write)).version
        ids = [message_id(version, index) for index in range(count)]
        self.committed[key] += ids
        return ids

    async def write_each(self, keys: Sequence[str], count: int = 1) -> None:
        """A commit of each key, so many times."""
        for _ in range(count):
            for key in keys:
                await self.write(key)

    @property
    def ids(self) -> set[str]:
        """All of them."""
        return {name for ids in self.committed.values() for name in ids}


def key_of_lane(lane: str, *, number: int = 0) -> str:
    """A key whose messages are in a lane."""
    found = (f"key {count}" for count in range(10_000) if order_of(f"key {count}")[0] == lane)
    for _ in range(number):
        next(found)
    return next(found)


def first_deliveries(log: Sequence[Published]) -> dict[str, list[str]]:
    """By key, the ids of what was confirmed, each where it came first."""
    seen: set[str] = set()
    firsts: dict[str, list[str]] = defaultdict(list)
    for one in log:
        if one.receipt is None and one.message.id not in seen:
            seen.add(one.message.id)
            firsts[one.message.key].append(one.message.id)
    return firsts


async def rows(placement: Placement, prefix: str) -> list[str]:
    """The keys of the ledger under a prefix."""
    page = await placement.authority.scan(LEDGER, prefix, after=None, limit=10_000, bytes_max=1 << 30, keys_only=True)
    return [row.key for row in page.entries]


def letters(placement: Placement) -> DeadLetters:
    """The dead letters of a placement."""
    return DeadLetters(placement.ledger, placement.news)


def changed(**numbers: Any) -> OutboxConfig:
    """The configuration of these tests, with other numbers."""
    return replace(CONFIG, **numbers)


@asynccontextmanager
async def placed(kind: str, clock: ManualClock, directory: Path) -> AsyncIterator[Placement]:
    """A placement over a store of a kind."""
    store: Store
    store = MemoryStore(clock=clock) if kind == "memory" else SqliteStore(directory / "state.db", clock=clock)
    await store.open()
    try:
        yield Placement(store, tier=Tier.WARM, ports=ManualPorts(clock))
    finally:
        await store.close()


def sharing(placement: Placement) -> Placement:
    """Another daemon's view of the same store."""
    clock = placement.ports.clock
    assert isinstance(clock, ManualClock)
    return Placement(placement.authority, tier=Tier.WARM, ports=ManualPorts(clock))


class Meddling:
    """A placement's ledger, of which the next commits fail as the test says. `after`: they land all the same."""

    def __init__(self, placement: Placement) -> None:
        self.errors: list[tuple[SidecarError, bool]] = []
        self._commit = placement.ledger.commit
        placement.ledger.commit = self._meddled  # type: ignore[method-assign]

    def fail(self, error: SidecarError, *, after: bool = False, times: int = 1) -> None:
        """The next so many commits."""
        self.errors += [(error, after)] * times

    async def _meddled(self, operations: Sequence[Operation], **options: Any) -> Any:
        if not self.errors:
            return await self._commit(operations, **options)
        error, after = self.errors.pop(0)
        if after:
            await self._commit(operations, **options)
        raise error
