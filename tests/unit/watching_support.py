"""An engine whose watchers a test drives by hand: it says when the reader reads, and when time passes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sidecar.core.limits import Limits
from sidecar.core.modes import Tier
from sidecar.core.operations import Operation, Put, Remove
from sidecar.core.policy import PolicyTable
from sidecar.core.store import Store, SweepOrder
from sidecar.engine.engine import Engine
from sidecar.engine.watching import Asked, Feed, Told, Watch
from sidecar.stores.files import FileBlobs
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.support.factories import write
from tests.support.ports import ManualPorts
from tests.support.switched import SwitchedStore

NS = "watched"
SWEEP = SweepOrder(limit=1000, tombstone_retention_ms=60_000, request_retention_ms=60_000)


class Bench:
    """A daemon's engine over a store that can be taken away."""

    def __init__(self, store: Store, clock: ManualClock, cold: Path | None = None, *, ring_rows: int = 100) -> None:
        self.clock, self.store = clock, SwitchedStore(store)
        self.placement = Placement(
            self.store,
            tier=Tier.WARM,
            ports=ManualPorts(clock),
            cold=None if cold is None else FileBlobs(cold),
        )
        self.engine = Engine(policies=PolicyTable(), limits=Limits(), hot=None, warm=self.placement)
        self.feed = Feed(self.placement, ring_rows=ring_rows)
        self.engine.watching._feeds[id(self.placement)] = self.feed

    async def watch(self, **asked: Any) -> Watch:
        """A watcher that has begun: its first bookmark was told, unless it begins with a snapshot."""
        whole: dict[str, Any] = {"namespace": NS, "all_keys": not ({"key", "key_prefix"} & set(asked))} | asked
        watch = await self.engine.watching.open(Asked(**whole))
        if not asked.get("snapshot") and not asked.get("resume_token"):
            [first] = await watch.next()
            assert first.kind is None
            assert first.token
        return watch

    async def commit(self, *operations: Operation, namespace: str = NS) -> int:
        """A write of any daemon; its version."""
        outcome = await self.placement.commit(write(*operations, namespace=namespace))
        return outcome.version

    async def put(self, key: str, value: bytes = b"value", *, namespace: str = NS, **fields: Any) -> int:
        return await self.commit(Put(key=key, value=value, **fields), namespace=namespace)

    async def remove(self, key: str) -> int:
        return await self.commit(Remove(key=key))

    async def expire(self, milliseconds: int) -> None:
        """Time passes, and what is over is swept."""
        self.clock.advance(milliseconds)
        await self.placement.sweep(SWEEP)

    async def read(self) -> None:
        """What the reader of a daemon does at news."""
        while await self.feed.advance():
            pass

    async def told(self, watch: Watch) -> list[Told]:
        """All that a watcher can be told now."""
        await self.read()
        told: list[Told] = []
        while fresh := await watch.next():
            told += fresh
        return told

    async def resumed(self, told: Told, **asked: Any) -> list[Told]:
        """What a new watcher is told that goes on from a response."""
        watch = await self.watch(resume_token=told.token, **asked)
        try:
            return [one for one in await self.told(watch) if one.kind is not None]
        finally:
            watch.close()


def brief(told: Sequence[Told]) -> list[tuple[str, str, int]]:
    """Kind, key and version of each; a bookmark has none of them."""
    return [("" if one.kind is None else one.kind.value, one.key, one.version) for one in told]


@asynccontextmanager
async def memory_bench(cold: Path | None = None, *, ring_rows: int = 100, **options: Any) -> AsyncIterator[Bench]:
    """Over a memory store."""
    clock = ManualClock()
    bench = Bench(MemoryStore(clock=clock, **options), clock, cold, ring_rows=ring_rows)
    yield bench
    assert bench.feed.watchers == 0, "a watcher was not closed"
