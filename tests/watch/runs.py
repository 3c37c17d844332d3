"""A run: writers and watchers over one store, two daemons' feeds, cuts and stalls; by a seed. Then the history is judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field

from sidecar.core.errors import VersionConflict
from sidecar.core.limits import DAY_MS, Limits
from sidecar.core.modes import Tier
from sidecar.core.operations import Operation, Put, Remove
from sidecar.core.policy import PolicyTable
from sidecar.core.store import ChangeKind, Store, SweepOrder
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.watching import Asked, Feed, Told, Watching
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write
from tests.support.ports import ManualPorts
from tests.watch.history import Chain, Change, Committed, Heard
from tests.watch.shuffled import ShuffledStore
from tests.watch.validators import problems, resumed

KEYS = [f"{group}/{number}" for group in "ab" for number in range(4)]
RING_ROWS = 8
OTHER = "other"
REPLAYS = 12
STEPS_MAX = 100_000
SWEEP = SweepOrder(limit=1000, tombstone_retention_ms=DAY_MS, request_retention_ms=DAY_MS)


def make_feed(placement: Placement) -> Feed:
    return Feed(placement, ring_rows=RING_ROWS)


class Side:
    """One daemon: its own feeds over the common store."""

    def __init__(self, store: Store, clock: ManualClock, feed: Callable[[Placement], Feed]) -> None:
        self.placement = Placement(store, tier=Tier.WARM, ports=ManualPorts(clock))
        namespaces = Namespaces(PolicyTable(), Limits(), hot=None, warm=self.placement)
        self.watching = Watching(namespaces, Limits())
        self.feed = self.watching._feeds[id(self.placement)] = feed(self.placement)

    async def read(self) -> None:
        """All that there is to read now."""
        while self.feed.watchers and await self.feed.advance():
            pass


def heard(told: Told) -> Heard:
    if told.kind is None:
        return Heard(told.token, complete=told.complete)
    value = None if told.entry is None else told.entry.value
    return Heard(told.token, Change(told.kind.value, told.key, told.version), value, told.superseded)


@dataclass
class Run:
    """What happened in one."""

    committed: Committed = field(default_factory=Committed)
    chains: list[Chain] = field(default_factory=list)
    found: dict[str, list[str]] = field(default_factory=dict)

    def note(self, problems: dict[str, list[str]]) -> None:
        for name, wrong in problems.items():
            self.found.setdefault(name, []).extend(wrong)


class Runner:
    """One run over a store, which is empty."""

    def __init__(
        self,
        store: Store,
        clock: ManualClock,
        seed: int,
        *,
        writes: int,
        feed: Callable[[Placement], Feed] = make_feed,
        advance: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """`advance` lets milliseconds pass at the authority; unset: its clock is `clock`."""
        self.store, self.clock, self.chance = store, clock, random.Random(seed)
        self.run = Run()
        self.sides = [Side(store, clock, feed) for _ in range(2)]
        self._writes = writes
        self._advance = advance or self._move
        self._done = False

    async def go(self) -> Run:
        """Write and watch, then let everything be told, judge, and go on from some of the tokens."""
        await self._write_some(self._writes // 4)  # what is there before anybody watches
        before = frozenset(self.run.committed.values)  # a watcher has begun when it has its first token
        plain = [
            Chain("all", before=before),
            Chain("values", values=True, before=before),
            Chain("prefix", prefix="a/", before=before),
            Chain("key", key="b/1", values=True, before=before),
        ]
        snapshots = [
            Chain("snapshot", snapshot=True, values=True),
            Chain("snapshot of a prefix", prefix="b/", snapshot=True),
            Chain("snapshot of a key", key="a/2", snapshot=True, values=True),
        ]
        self.run.chains = plain + snapshots
        begun = [asyncio.Event() for _ in plain]
        watching = [asyncio.create_task(self._watch(chain, began)) for chain, began in zip(plain, begun, strict=True)]
        for began in begun:
            await began.wait()
        late = [asyncio.create_task(self._watch(chain, asyncio.Event())) for chain in snapshots]
        pumps = [asyncio.create_task(self._pump(side)) for side in self.sides]
        await asyncio.gather(*[self._write_some(self._writes // 4) for _ in range(3)])
        await self._expire()  # what is over by now is told as such
        if isinstance(self.store, ShuffledStore):
            self.store.settle()
        self._done = True
        await asyncio.gather(*pumps, *watching, *late)
        for chain in self.run.chains:
            self.run.note(problems(chain, self.run.committed))
            await self._replay(chain)
        return self.run

    # ---- writers

    async def _move(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)

    async def _write_some(self, count: int) -> None:
        for number in range(count):
            await self._write(number)
            for _ in range(self.chance.randint(0, 3)):
                await asyncio.sleep(0)

    async def _write(self, number: int) -> None:
        roll = self.chance.random()
        if roll < 0.1:
            await self._commit(Put(key=self.chance.choice(KEYS), value=b"elsewhere"), namespace=OTHER)
        elif roll < 0.2:
            await self._expire()
        else:
            keys = self.chance.sample(KEYS, k=self.chance.choice([1, 1, 1, 2, 4]))
            await self._commit(*[self._operation(key, number) for key in keys])

    def _operation(self, key: str, number: int) -> Operation:
        if self.chance.random() < 0.25:
            return Remove(key=key)
        ttl_ms = 50 if self.chance.random() < 0.2 else None
        return Put(key=key, value=f"{key} {number} {self.chance.random()}".encode(), ttl_ms=ttl_ms)

    async def _commit(self, *operations: Operation, namespace: str = NAMESPACE) -> None:
        try:
            outcome = await self.store.commit(write(*operations, namespace=namespace))
        except VersionConflict:
            return
        if namespace == NAMESPACE and outcome.version:
            self.run.committed.add(
                *[
                    (
                        Change("put" if isinstance(one, Put) else "delete", one.key, result.version),
                        one.value if isinstance(one, Put) else b"",
                    )
                    for one, result in zip(operations, outcome.results, strict=True)
                    if result.version
                ]
            )
            self.run.committed.ending.update(
                Change("put", one.key, outcome.version)
                for one in operations
                if isinstance(one, Put) and one.ttl_ms is not None
            )

    async def _expire(self) -> None:
        await self._advance(60)
        swept = await self.store.sweep(SWEEP)
        for grave in swept.expired:
            self.run.committed.add((Change(ChangeKind.EXPIRE.value, grave.key, grave.version), b""))

    # ---- watchers

    async def _pump(self, side: Side) -> None:
        """What the reader of a daemon does."""
        while not self._done or side.feed.watchers:
            await side.read()
            await asyncio.sleep(0)

    def _asked(self, chain: Chain, token: str) -> Asked:
        return Asked(
            namespace=NAMESPACE,
            key=chain.key,
            key_prefix=chain.prefix,
            all_keys=not (chain.key or chain.prefix),
            resume_token=token,
            include_value=chain.values,
            snapshot=chain.snapshot and not token,
        )

    async def _watch(self, chain: Chain, began: asyncio.Event) -> None:
        """Stream after stream, each on one of the sides, until all is told after the writers are done."""
        token, ended = "", False
        for _ in range(self.chance.randint(0, self._writes // 2) if chain.snapshot else 0):
            await asyncio.sleep(0)  # until others write
        while not ended:
            if not token:
                chain.heard.clear()  # a snapshot that was cut is begun anew
                chain.before = frozenset(self.run.committed.values) if chain.snapshot else chain.before
            side = self.chance.choice(self.sides)
            with closing(await side.watching.open(self._asked(chain, token))) as watch:
                left = self.chance.randint(1, 60)
                while left and not ended:
                    done = self._done
                    told = [heard(one) for one in await watch.next()]
                    left -= 1
                    if told and self.chance.random() < 0.2:  # a cut, before all of it has arrived
                        told, left = told[: self.chance.randint(1, len(told))], 0
                    for one in told:
                        chain.heard.append(one)
                        token = one.token
                        if one.complete:
                            chain.meanwhile = frozenset(self.run.committed.values)
                        began.set()
                    if not told and done:
                        ended = await self._is_over(side, watch)
                    await asyncio.sleep(0)
                    for _ in range(self.chance.choice([0, 0, 0, 30])):
                        await asyncio.sleep(0)

    async def _is_over(self, side: Side, watch: object) -> bool:
        """Whether nothing can come any more: the reader has read all, and the watcher has nothing of it left."""
        head = await side.feed.newest()
        place = watch._place  # type: ignore[attr-defined]  # a watcher
        page = await self.store.changes(after=place.cursor, limit=1)
        return not page.changes and place.cursor <= head.cursor

    # ---- from tokens

    async def _replay(self, chain: Chain) -> None:
        """Go on from some of the responses, to the same end."""
        places = [at for at, one in enumerate(chain.heard) if one.token]
        for at in self.chance.sample(places, k=min(REPLAYS, len(places))):
            side = self.chance.choice(self.sides)
            told: list[Change] = []
            with closing(await side.watching.open(self._asked(chain, chain.heard[at].token))) as watch:
                for _ in range(STEPS_MAX):
                    await side.read()
                    fresh = [heard(one).change for one in await watch.next()]
                    told += [change for change in fresh if change is not None]
                    if not any(fresh) and await self._is_over(side, watch):
                        break
            if wrong := resumed(chain, at, told):
                name = "bookmarkable" if chain.heard[at].change is None else "resumable"
                self.run.note({name: wrong})
