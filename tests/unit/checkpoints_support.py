"""An engine with checkpoints over a real store and a cold tier in files, on a clock that the test moves."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sidecar.core import ledger as names
from sidecar.core.checkpoints import Record
from sidecar.core.cleaning import Job
from sidecar.core.contents import Content, content_key
from sidecar.core.entry import Entry
from sidecar.core.limits import Limits
from sidecar.core.modes import Tier
from sidecar.core.operations import Append, Change, Operation, Put, Remove, Write, WriteId
from sidecar.core.policy import CheckpointPolicy, Policy, PolicyTable
from sidecar.core.store import Store
from sidecar.engine.checkpoints import CheckpointPage, Checkpoints, Restored
from sidecar.engine.checkpoints.jobs import Contents, Retention, Settle
from sidecar.engine.engine import Engine
from sidecar.engine.replies import Written
from sidecar.stores.files import FileBlobs
from sidecar.stores.memory import MemoryStore
from sidecar.stores.sqlite import SqliteStore
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.support.ports import ManualPorts

PLAIN, EVERY_FIFTH, AGING = "plain", "fifth", "aging"
KEEP = 20
MAX_AGE_MS = 60_000
POLICIES = PolicyTable(
    {
        PLAIN: Policy(),
        EVERY_FIFTH: Policy(checkpoint=CheckpointPolicy(every=5, keep=KEEP)),
        AGING: Policy(checkpoint=CheckpointPolicy(every=1, keep=1_000, max_age_ms=MAX_AGE_MS)),
    }
)
STORES = ("memory", "sqlite")
EVERYTHING = 1 << 40


def make_store(kind: str, directory: Path, clock: ManualClock) -> Store:
    """A store, not opened yet; one of a directory is what the last one there left."""
    return MemoryStore(clock=clock) if kind == "memory" else SqliteStore(directory / "state.db", clock=clock)


class Bench:
    """A daemon's engine; another one over the same `store` is another daemon, or this one after a crash."""

    def __init__(
        self,
        store: Store,
        clock: ManualClock,
        cold: Path | None,
        *,
        policies: PolicyTable = POLICIES,
        limits: Limits | None = None,
    ) -> None:
        self.store, self.clock, self.cold = store, clock, cold
        self.placement = Placement(
            store, tier=Tier.WARM, ports=ManualPorts(clock), cold=None if cold is None else FileBlobs(cold)
        )
        self.engine = Engine(policies=policies, limits=limits or Limits(), hot=None, warm=self.placement)
        self.checkpoints: Checkpoints = self.engine.checkpoints

    def another(self) -> Bench:
        """A daemon that has nothing in its memory."""
        return Bench(self.store, self.clock, self.cold)

    # ---- entries

    async def write(self, namespace: str, *operations: Operation, request: WriteId | None = None) -> Written:
        return await self.engine.writes.write(namespace, operations, needs_authority=True, request=request)

    async def put(self, namespace: str, key: str, value: bytes) -> int:
        return (await self.write(namespace, Put(key=key, value=value))).version

    async def append(self, namespace: str, key: str, item: object) -> int:
        change = Change(key=key, change=Append(items=(item,)), create=True)
        return (await self.write(namespace, change)).version

    async def remove(self, namespace: str, key: str) -> None:
        await self.write(namespace, Remove(key=key))

    async def entry(self, namespace: str, key: str) -> Entry | None:
        [lookup] = (await self.placement.get_strong(namespace, [key], deadline=None)).lookups
        return lookup.entry

    async def value(self, namespace: str, key: str) -> bytes | None:
        entry = await self.entry(namespace, key)
        return None if entry is None else entry.value

    # ---- checkpoints

    async def take(self, namespace: str, **asked: Any) -> Record:
        return await self.checkpoints.take(namespace, **asked)

    async def page(self, namespace: str, **asked: Any) -> CheckpointPage:
        return await self.checkpoints.list(namespace, **asked)

    async def restore(self, namespace: str, **asked: Any) -> Restored:
        return await self.checkpoints.restore(namespace, **asked)

    async def ids(self, namespace: str, *, key: str = "", key_prefix: str = "") -> list[str]:
        page = await self.checkpoints.list(namespace, key=key, key_prefix=key_prefix, page_size=1_000)
        assert not page.next_page_token
        return [record.checkpoint_id for record in page.records]

    async def values(self, namespace: str, checkpoint_id: str) -> dict[str, bytes]:
        snapshot = await self.checkpoints.get(namespace, checkpoint_id)
        return {entry.key: entry.value for entry in snapshot.entries}

    async def run(self, *jobs: Job, limit: int = 7) -> dict[str, int]:
        """Passes of jobs, until none of them has anything left to do; what they counted."""
        total: dict[str, int] = {}
        busy = True
        while busy:
            busy = False
            for job in jobs or self.jobs():
                counts = await one_pass(job, limit=limit)
                for kind, count in counts.items():
                    total[kind] = total.get(kind, 0) + count
                    busy |= bool(count)
        return total

    def jobs(self) -> tuple[Job, ...]:
        made: tuple[Job, ...] = (
            Settle(self.checkpoints, self.placement),
            Retention(self.checkpoints, self.placement),
            Contents(self.checkpoints, self.placement),
        )
        return made

    def settle(self) -> Job:
        return Settle(self.checkpoints, self.placement)

    # ---- what is stored

    async def rows(self, prefix: str = "") -> list[Entry]:
        """Rows of the ledger."""
        page = await self.store.scan(
            names.LEDGER, prefix, after=None, limit=100_000, bytes_max=EVERYTHING, keys_only=False
        )
        assert not page.more
        return list(page.entries)

    async def content(self, content_id: str) -> Content:
        [row] = await self.placement.ledger.get([content_key(content_id)])
        assert row is not None
        return Content.decode(row.value, content_id)

    async def spoil(self, key: str, value: bytes) -> None:
        """Other bytes in a row of the ledger, as a defect of anything below would leave them."""
        put = Put(key=key, value=value)
        await self.store.commit(Write(namespace=names.LEDGER, operations=(put,), value_bytes_max=EVERYTHING))

    async def check_references(self) -> None:
        """Every counter is what it counts, every content's base is there, and every record has its index row."""
        home = self.checkpoints.home(self.placement)
        counted: dict[str, int] = {}
        contents = {row.key.removeprefix(names.CONTENTS): row for row in await self.rows(names.CONTENTS)}
        for content_id, row in contents.items():
            base = Content.decode(row.value, content_id).base_id
            assert not base or base in contents, "a base that is needed is gone"
            counted[base] = counted.get(base, 0) + 1
        index = {row.key for row in await self.rows(names.INDEX)}
        waiting = {row.key for row in await self.rows(names.WAITING)}
        for row in await self.rows(names.CHECKPOINTS):
            namespace, _, inverted = row.key.removeprefix(names.CHECKPOINTS).partition(names.SEPARATOR)
            held = await home.records.get(namespace, names.inverted(inverted))
            record = held.record
            index.remove(record.index_key)
            if record.content:
                assert record.content in contents, "a checkpoint's content is gone"
                counted[record.content] = counted.get(record.content, 0) + 1
            else:
                waiting.remove(names.waiting_key(namespace, record.checkpoint_id))
        assert not index, "index rows without a checkpoint"
        assert not waiting, "documents without a checkpoint"
        counters = {row.key.removeprefix(names.REFERENCES): int(row.value) for row in await self.rows(names.REFERENCES)}
        assert set(counters) == set(contents)
        assert {content: count for content, count in counters.items() if count} == {
            content: count for content, count in counted.items() if content
        }


async def one_pass(job: Job, *, limit: int = 7, dry_run: bool = False) -> dict[str, int]:
    """A job from one end to the other."""
    total: dict[str, int] = {}
    cursor, more = "", True
    while more:
        step = await job.step(cursor, limit=limit, fence=(), dry_run=dry_run)
        for kind, count in step.counts.items():
            total[kind] = total.get(kind, 0) + count
        cursor, more = step.cursor, bool(step.cursor)
    return {kind: count for kind, count in total.items() if count}


@asynccontextmanager
async def running(
    kind: str, directory: Path, *, cold: bool = True, limits: Limits | None = None
) -> AsyncIterator[Bench]:
    """A bench whose store is open."""
    clock = ManualClock()
    store = make_store(kind, directory, clock)
    await store.open()
    try:
        yield Bench(store, clock, directory / "cold" if cold else None, limits=limits)
    finally:
        await store.close()


def text(seed: int, size: int) -> bytes:
    """Text that doesn't compress much."""
    return random.Random(seed).randbytes(size // 2).hex().encode()  # data


def request(name: str, body: bytes = b"body") -> WriteId:
    return WriteId(request_id=name, fingerprint=body)


def values_of(entries: Sequence[Entry]) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in entries}
