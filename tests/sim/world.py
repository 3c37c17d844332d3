"""One seed from beginning to end: chaos, then calm, a few times; then the audit of what is left."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sidecar.core.entry import Copy, Entry
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.operations import Change
from sidecar.engine import writes
from sidecar.stores.memory.cache import _Held
from tests.sim.channel import SimBus
from tests.sim.clients import Fleet, Key, Keys
from tests.sim.faults import FaultyCache, FaultyStore, Link, Network
from tests.sim.nemesis import Nemesis
from tests.sim.plan import PHASES, Plan, draw
from tests.sim.promises import Ledger, Promise, Violation
from tests.sim.scheduler import Process, Scheduler, Task, sleep
from tests.sim.sidecars import Sidecar, Variant
from tests.sim.truth import Truth
from tests.sim.writers import Client
from tests.support.clock import START_MS

OPERATIONS = 320
"""Client operations of a seed, at least."""
PREFIX_BATCH = 2
CALM_MS = 10_000
"""After a commit every shared copy equals the authority or is gone within this."""


@dataclass(slots=True)
class Result:
    """What became of a seed. `digest` hashes every step: equal for equal seeds."""

    seed: int
    digest: int = 0
    ticks: int = 0
    operations: int = 0
    virtual_ms: int = 0
    checks: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    promise: str = ""
    failure: str = ""
    about: str = ""
    trace: list[str] = field(default_factory=list)


class World:
    """Everything that a seed needs."""

    def __init__(self, seed: int, variant: Variant, *, traced: bool = False) -> None:
        self.random = Random(seed)
        self.plan: Plan = draw(self.random, operations=OPERATIONS)
        self.variant = variant
        self.scheduler = Scheduler(self.random)
        self.ledger = Ledger()
        self.truth = Truth(self.scheduler, self.ledger)
        self.network = Network(self.scheduler, self.random)
        self.store = variant.store(clock=self.scheduler.clock, changes_max=self.plan.changes_max)
        self.cache = variant.cache(bytes_max=self.plan.cache_bytes, identity="cache-0-", shared=True)
        self.bus = SimBus()
        self.fleet = Fleet()
        self.keys = Keys(self.plan)
        self.harness = Process("harness")
        self.incarnations = 0
        self.scheduler.trace = [] if traced else None
        for _ in range(self.plan.sidecars):
            self.fleet.places.append(self._sidecar())
        self.clients = [self._client(f"client-{number}") for number in range(self.plan.clients)]

    def _sidecar(self) -> Sidecar:
        self.incarnations += 1
        name = f"sidecar-{self.incarnations}"
        store = FaultyStore(self.store, Link(self.network, self.plan.authority, "authority"), self.truth)
        cache = FaultyCache(self.cache, Link(self.network, self.plan.cache, "cache"))
        return Sidecar(
            name,
            self.scheduler,
            store,
            cache,
            self.bus,
            self.variant,
            near_max_age_ms=self.plan.near_max_age_ms,
            repair_interval_ms=self.plan.repair_interval_ms,
            sweep_interval_ms=self.plan.sweep_interval_ms,
        )

    def _client(self, name: str) -> Client:
        client = Client(
            name,
            scheduler=self.scheduler,
            random=self.random,
            fleet=self.fleet,
            keys=self.keys,
            plan=self.plan,
            truth=self.truth,
            ledger=self.ledger,
        )
        client.keep_request_id = self.variant.keep_request_id
        return client

    def restart(self, place: int) -> None:
        """Put a new incarnation in a place."""
        self.fleet.places[place] = self._sidecar()

    # ---- the course of a seed

    async def course(self) -> None:
        await self._start()
        for _ in range(PHASES):
            await self._chaos()
            await self._calm()
        self._audit()
        self.truth.settle()

    async def _start(self) -> None:
        """With the backends away from the very start: every call is answered, and later they are normal."""
        if not self.plan.starts_down:
            return
        links = [link for sidecar in self.fleet.places for link in (sidecar.store.link, sidecar.cache.link)]
        for link in links:
            link.cut = True
        for client in self.clients:
            tasks = [self.scheduler.spawn(self.harness, client.run(2))]
            await self._ended(tasks)
            self.ledger.require(Promise.STARTS_ANYWAY, True, "")  # answered: nobody is stuck
        for link in links:
            link.cut = False

    async def _ended(self, tasks: list[Task]) -> None:
        for task in tasks:
            await task.done.wait()

    async def _chaos(self) -> None:
        nemesis = Nemesis(
            scheduler=self.scheduler,
            random=self.random,
            plan=self.plan,
            fleet=self.fleet,
            cache=self.cache,
            ledger=self.ledger,
            restart=self.restart,
            faults=self.network.faults,
        )
        self.network.calm = False
        clients = [self.scheduler.spawn(self.harness, client.run(self.plan.operations)) for client in self.clients]
        havoc = [self.scheduler.spawn(self.harness, nemesis.run())] if self.plan.nemeses else []
        await self._ended(clients)
        nemesis.stopped = True
        await self._ended(havoc)
        self.network.calm = True
        await self._ended(list(self.network.process.tasks.values()))

    async def _calm(self) -> None:
        """Nothing is written any more, nothing fails: soon every copy is the authority's, and all sidecars serve."""
        for sidecar in self.fleet.places:
            for task in [call.task for call in sidecar.calls.values()]:
                assert task is not None
                await task.done.wait()
        await sleep(CALM_MS)
        self._compare()
        newcomer = self._sidecar()
        self.fleet.places.append(newcomer)
        for sidecar in [newcomer, *self.fleet.places[:-1]]:
            await self._serves(sidecar, self.random.sample(self.keys.all, k=3))
        self.fleet.places.pop(0).crash()

    def _compare(self) -> None:
        """Every copy that a sidecar would believe is what the authority has."""
        generation, now = self.store._generation, self.scheduler.clock.now()
        for (namespace, key), slot in self.cache._slots.items():
            if not isinstance(slot, _Held) or slot.generation != generation:
                continue
            if slot.expire_time is None or slot.expire_time > now:
                self._compare_copy("the cache", namespace, key, slot.hit.copy, now)
        for sidecar in self.fleet.places:
            for namespace, key in sidecar.held if sidecar.near.trusted else ():
                [entry] = sidecar.near.look_up(namespace, [key], [0], now=now)
                if entry is not None:
                    self._compare_copy(f"{sidecar.name}'s near tier", namespace, key, entry, now)

    def _compare_copy(self, holder: str, namespace: str, key: str, held: Copy | None, now: int) -> None:
        if isinstance(held, Entry) and held.expired(now):
            return
        true = self.truth.current(namespace, key)
        if isinstance(held, Entry) and true is not None and true.ttl_ms is not None:
            # A sliding entry's copy may know an earlier end: then it is gone earlier, and asked for again.
            assert held.expire_time is not None
            same = true.matches(held._replace(expire_time=true.expire_time)) and held.expire_time <= (
                true.expire_time or 0
            )
        else:
            same = (
                true.matches(held)
                if isinstance(held, Entry) and true
                else (held is None or not isinstance(held, Entry)) and true is None
            )
        self.ledger.require(
            Promise.CACHE_FORGETS_NOT_LIES,
            same,
            f"after {CALM_MS} ms of calm {holder} holds {held}, the authority {true}",
            f"{namespace}/{key}",
        )

    async def _serves(self, sidecar: Sidecar, keys: list[Key]) -> None:
        """A CACHED read without a floor shows what the authority has; a STRONG one works."""
        client = self.clients[0]
        if self.plan.sweep_interval_ms > CALM_MS:
            # Hits don't tell a sidecar that the authority is back; the sweep would have.
            assert await client.read(sidecar, [self.keys.sum], [0], strong=True) is not None
        for at in keys:
            begin = self.truth.now()
            cached = await client.read(sidecar, [at], [0], strong=False)
            normal = (
                cached is not None
                and cached[0].mode is ServingMode.NORMAL
                and cached[0].tier in (Tier.NEAR, Tier.HOT, Tier.WARM)
            )
            promise = Promise.STARTS_ANYWAY if self.plan.starts_down else Promise.HONEST_MODE
            self.ledger.require(
                promise, normal, f"{sidecar.name} answers {cached} when all is well", f"{at[0]}/{at[1]}"
            )
            assert cached is not None
            self._fresh(at, cached[0].entry, begin.ms)
            assert await client.read(sidecar, [at], [0], strong=True) is not None

    def _fresh(self, at: Key, entry: Entry | None, begin_ms: int) -> None:
        now, true = self.truth.now(), self.truth.newest_state(*at)
        if entry is None:
            kept = true.value is None or true.over(now.ms)
        else:
            kept = true.version == entry.version and not true.over(begin_ms)
        self.ledger.require(
            Promise.CACHE_FORGETS_NOT_LIES,
            kept,
            f"in calm a CACHED Get shows {entry}, the authority has {true}",
            "/".join(at),
        )

    def _audit(self) -> None:
        """Every acknowledged increment and item is there, none twice, and none that was refused."""
        log, log_open = self._wanted(self.keys.log)
        held = self.truth.current(*self.keys.log)
        items = [] if held is None else json.loads(held.value or b"[]")
        told = {item for change in log for item in change.items}
        possible = {item for change in log_open for item in change.items}
        self.ledger.require(
            Promise.NO_LOST_UPDATE,
            len(items) == len(set(items)) and told <= set(items) <= told | possible,
            f"the log lacks {sorted(told - set(items))}, or holds others than it should: {items}",
            "/".join(self.keys.log),
        )
        counter, counter_open = self._wanted(self.keys.sum)
        held = self.truth.current(*self.keys.sum)
        total = 0 if held is None else int(held.value or b"0")
        least = sum(change.delta for change in counter)
        most = least + sum(change.delta for change in counter_open)
        self.ledger.require(
            Promise.NO_LOST_UPDATE,
            least <= total <= most,
            f"the counter is {total}, with {least} acknowledged and {most - least} open",
            "/".join(self.keys.sum),
        )

    def _wanted(self, at: Key) -> tuple[list[Any], list[Any]]:
        """The acknowledged changes of a key, and those whose fate nobody knows."""
        changes: dict[str, list[Any]] = {"applied": [], "": []}
        for intent in self.truth.intents:
            for operation in intent.operations:
                if (intent.namespace, operation.key) == at and intent.answer in changes:
                    assert isinstance(operation, Change)
                    changes[intent.answer].append(operation.change)
        return changes["applied"], changes[""]


def run(seed: int, variant: Variant | None = None, *, traced: bool = False) -> Result:
    """Run a seed."""
    batch = writes.PREFIX_BATCH
    # So that deletions by prefix take many batches, and can fail between them.
    writes.PREFIX_BATCH = PREFIX_BATCH
    try:
        return _run(seed, variant or Variant(), traced=traced)
    finally:
        writes.PREFIX_BATCH = batch


def _run(seed: int, variant: Variant, *, traced: bool) -> Result:
    world = World(seed, variant, traced=traced)
    result = Result(seed)
    scheduler = world.scheduler
    try:
        scheduler.run(scheduler.spawn(world.harness, world.course()))
    except Violation as exc:
        result.promise, result.failure, result.about = exc.promise.value, exc.message, exc.about
    result.digest = scheduler.digest
    result.ticks = scheduler.tick
    result.operations = sum(client.count for client in world.clients)
    result.virtual_ms = scheduler.clock.now() - START_MS
    result.checks = dict(world.ledger.checks)
    result.faults = dict(world.network.faults)
    result.trace = scheduler.trace or []
    for process in scheduler.processes:
        scheduler.kill(process)
    return result
