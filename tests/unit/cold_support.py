"""Placements with a cold tier: real files, a store whose calls can be held, a clock that the test moves."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from sidecar.core.blob_records import BlobRecord
from sidecar.core.blobs import Blobs
from sidecar.core.cleaning import Job
from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import StoreUnavailable
from sidecar.core.ledger import BLOBS, LEDGER
from sidecar.core.modes import Tier
from sidecar.core.operations import Operation, Put
from sidecar.core.ports import Signal
from sidecar.core.store import Outcome, Store
from sidecar.stores.files import FileBlobs
from sidecar.stores.memory import MemoryCache, MemoryStore
from sidecar.tiers.archive import Archive
from sidecar.tiers.blob_jobs import GRACE_MS, BlobCollection, OrphanSearch
from sidecar.tiers.cold import Cold, pointer_at
from sidecar.tiers.placement import Placement
from sidecar.tiers.reading import Lookup
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write
from tests.support.switched import SwitchedStore

T = TypeVar("T")

KEY = "key"
LARGE = 2_000
"""Above this a value is large here."""
_tokens = count(1)


def large(seed: int = 0, size: int = 3 * LARGE) -> bytes:
    """A value that goes to cold."""
    return hashlib.shake_128(b"%d" % seed).digest(size)


class Ports:
    """`core.ports.Ports`: no token is ever handed out twice, also not to another incarnation, and no wait moves the clock."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def signal(self) -> Signal:
        return asyncio.Event()  # type: ignore[return-value]  # its wait() answers True, which nobody reads

    def token(self) -> str:
        return f"token {next(_tokens)}"

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def compute(self, work: Callable[[], T]) -> T:
        return work()


class SwitchedBlobs:
    """Files that can be taken away, and held in mid-call."""

    def __init__(self, files: Blobs) -> None:
        self.files = files
        self.away = False
        self.gets = self.puts = 0
        self.before: Callable[[str], Any] | None = None
        """What happens before a call of a verb."""

    async def open(self) -> None:
        await self.files.open()

    async def close(self) -> None:
        await self.files.close()

    async def _asked(self, verb: str) -> None:
        if self.away:
            raise StoreUnavailable("switched off by the test")
        if self.before is not None:
            await self.before(verb)

    async def put(self, name: str, content: bytes) -> bool:
        await self._asked("put")
        self.puts += 1
        return await self.files.put(name, content)

    async def get(self, name: str) -> bytes | None:
        await self._asked("get")
        self.gets += 1
        return await self.files.get(name)

    async def delete(self, name: str) -> bool:
        await self._asked("delete")
        return await self.files.delete(name)

    async def names(self, prefix: str = "") -> Any:
        await self._asked("names")
        async for name in self.files.names(prefix):
            yield name


class Deployment:
    """One daemon's placement, and what a test needs to look behind it."""

    def __init__(
        self,
        root: Path,
        *,
        store: Store | None = None,
        clock: ManualClock | None = None,
        files: Blobs | None = None,
        link: Callable[[Store], Any] = SwitchedStore,
    ) -> None:
        self.clock = clock or ManualClock()
        self.truth: Store = store or MemoryStore(clock=self.clock)
        self.store = link(self.truth)
        self.cache = MemoryCache(bytes_max=1 << 24, identity="a", shared=False)
        self.blobs = SwitchedBlobs(files or FileBlobs(root))
        self.large_bytes: int | None = LARGE
        self.placement = Placement(
            self.store,
            tier=Tier.WARM,
            ports=Ports(self.clock),
            cache=self.cache,
            cold=self.blobs,
            large_bytes=lambda _: self.large_bytes,
        )
        self.collection = BlobCollection(self.ledger_blobs, self.placement.rows)
        self.orphans = OrphanSearch(self.ledger_blobs)
        self.archive = Archive(self.placement, self.cold, lambda: {NAMESPACE: 60_000})

    @property
    def cold(self) -> Cold:
        assert self.placement.cold is not None
        return self.placement.cold

    @property
    def ledger_blobs(self) -> Any:
        return self.cold.blobs

    # ---- as an engine does

    async def commit(self, *operations: Operation, **fields: Any) -> Outcome:
        return await self.placement.commit(write(*operations, **fields))

    async def put(self, value: bytes, key: str = KEY, **fields: Any) -> int:
        return (await self.commit(Put(key=key, value=value, **fields))).version

    async def lookup(self, key: str = KEY, *, strong: bool = False, partial: bool = False, wake: bool = True) -> Lookup:
        """A read with its followups done."""
        if strong:
            found = await self.placement.get_strong(NAMESPACE, [key], deadline=None)
        else:
            found = await self.placement.get(NAMESPACE, [key], [0], deadline=None, partial=partial)
        await self.placement.cache.fill(NAMESPACE, found.fills, now=self.store.now())
        for entry in found.woken if wake else ():
            await self.placement.wake(entry)
        return found.lookups[0]

    async def value(self, key: str = KEY, *, strong: bool = False) -> bytes | None:
        entry = (await self.lookup(key, strong=strong)).entry
        return None if entry is None else entry.value

    # ---- behind it

    async def row(self, key: str = KEY) -> Copy | None:
        [copy] = await self.truth.get(NAMESPACE, [key])
        return copy

    async def blob(self, key: str = KEY) -> str:
        """Where the value of a key is."""
        row = await self.row(key)
        assert isinstance(row, Entry)
        return pointer_at(row).blob

    async def records(self) -> dict[str, BlobRecord]:
        page = await self.truth.scan(LEDGER, BLOBS, after=None, limit=10_000, bytes_max=1 << 30, keys_only=False)
        return {row.key.removeprefix(BLOBS): BlobRecord.decode(row.value) for row in page.entries if "+" not in row.key}

    async def stored(self) -> list[str]:
        return [name async for name in self.blobs.files.names()]

    async def collect(self, *, passes: int = 1, after_ms: int = GRACE_MS + 1, dry_run: bool = False) -> dict[str, int]:
        """Passes of the collection, each after some time; what they counted."""
        counts: dict[str, int] = {}
        for _ in range(passes):
            self.clock.advance(after_ms)
            for kind, number in (await done(self.collection, dry_run=dry_run)).items():
                counts[kind] = counts.get(kind, 0) + number
        return counts


async def done(job: Job, *, limit: int = 7, dry_run: bool = False, fence: Sequence[Any] = ()) -> dict[str, int]:
    """One pass of a job; what it counted."""
    counts: dict[str, int] = {}
    cursor = ""
    while True:
        step = await job.step(cursor, limit=limit, fence=tuple(fence), dry_run=dry_run)
        for kind, number in step.counts.items():
            counts[kind] = counts.get(kind, 0) + number
        if not step.cursor:
            return counts
        assert step.cursor != cursor, "it goes on"
        cursor = step.cursor


async def idle(deployment: Deployment, value: bytes) -> int:
    """An archived value."""
    version = await deployment.put(value)
    deployment.clock.advance(60_001)
    assert await done(deployment.archive) == {"archived": 1}
    deployment.cache.clear()
    return version
