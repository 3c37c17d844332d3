"""What a contract test works with: an adapter under test, and in short the calls that tests make."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.core.blobs import Blobs
from sidecar.core.cache import Cache, Fill, Hit, Miss
from sidecar.core.entry import Copy, Entry, live
from sidecar.core.limits import DAY_MS
from sidecar.core.operations import Operation, OperationResult, Put, Remove, WriteId
from sidecar.core.store import ChangeRow, Outcome, Page, PrefixProgress, Store, SweepOrder, Touch, Touched
from tests.support.clock import START_MS, ManualClock
from tests.support.factories import NAMESPACE, write


async def _move_clock(store: StoreUnderTest, milliseconds: int) -> None:
    store.clock.advance(milliseconds)


async def _nothing(_: StoreUnderTest) -> None:
    """What is in the process only goes with it."""


@dataclass(frozen=True, kw_only=True)
class StoreHarness:
    """A kind of store: what it claims, and how one is made in a directory under a clock.

    An adapter to a server takes the directory's name for its own place there; `place` makes and removes that.
    """

    name: str
    durable: bool
    changes: bool = True
    quiet: bool = True
    counts: bool = True
    """Whether it can tell how much it holds."""
    overhead: int = 0
    """Bytes that a stored value has beyond its own."""
    make: Callable[[Path, ManualClock], Store]
    place: Callable[[Path], AbstractAsyncContextManager[object]] = nullcontext
    advance: Callable[[StoreUnderTest, int], Awaitable[None]] = _move_clock
    """Let time pass at the authority, whose clock may be the server's."""
    forget_changes: Callable[[StoreUnderTest], Awaitable[None]]
    """Have all change rows so far become too old to be told."""
    lose: Callable[[StoreUnderTest], Awaitable[None]] = _nothing
    """Take away all that a closed store keeps outside of the process, as if it had never been."""
    spoil: Callable[[StoreUnderTest, str], Awaitable[None]] | None = None
    """Change a byte of a key's value behind the store's back, where it keeps them anywhere but in memory."""

    @asynccontextmanager
    async def opened(self, directory: Path) -> AsyncIterator[StoreUnderTest]:
        """An open, empty store; closed afterwards."""
        async with self.place(directory):
            clock = ManualClock()
            subject = StoreUnderTest(harness=self, directory=directory, clock=clock, store=self.make(directory, clock))
            await subject.store.open()
            try:
                yield subject
            finally:
                await subject.store.close()


@dataclass(kw_only=True)
class StoreUnderTest:
    """A store with the means to move its clock and to open it again, and the calls of a test in short."""

    harness: StoreHarness
    directory: Path
    clock: ManualClock
    store: Store

    async def advance(self, milliseconds: int) -> None:
        """Let time pass at the authority."""
        await self.harness.advance(self, milliseconds)

    async def reopen(self) -> None:
        """Close, and open what is on disk."""
        await self.store.close()
        self.store = self.harness.make(self.directory, self.clock)
        await self.store.open()

    async def begin_anew(self) -> None:
        """Close, lose all, and open an empty store in its place."""
        await self.store.close()
        await self.harness.lose(self)
        self.store = self.harness.make(self.directory, self.clock)
        await self.store.open()

    @property
    def many(self) -> int:
        """A large number of operations for one write: a hundred, or what the store takes."""
        return min(100, self.store.capabilities.operations_max or 100)

    def now(self) -> int:
        """The authority's clock."""
        return self.store.now()

    async def commit(self, *operations: Operation, **fields: Any) -> Outcome:
        """A write; fields are those of `Write`."""
        return await self.store.commit(write(*operations, **fields))

    async def put(self, key: str, value: bytes = b"value", *, namespace: str = NAMESPACE, **fields: Any) -> int:
        """Write one value; its version."""
        outcome = await self.commit(Put(key=key, value=value, **fields), namespace=namespace)
        return outcome.version

    async def remove(self, key: str, **fields: Any) -> OperationResult:
        """Delete one key."""
        return (await self.commit(Remove(key=key, **fields))).results[0]

    async def copy(self, key: str, *, namespace: str = NAMESPACE) -> Copy | None:
        """What the store answers for a key."""
        (copy,) = await self.store.get(namespace, [key])
        return copy

    async def entry(self, key: str, *, namespace: str = NAMESPACE) -> Entry | None:
        """What a reader sees; an ended entry in the answer is the store's fault."""
        copy = await self.copy(key, namespace=namespace)
        assert not (isinstance(copy, Entry) and copy.expired(self.now())), f"an ended entry was returned: {copy}"
        return live(copy, self.now())

    async def value(self, key: str, *, namespace: str = NAMESPACE) -> bytes | None:
        """The value that a reader sees."""
        entry = await self.entry(key, namespace=namespace)
        return None if entry is None else entry.value

    async def touch(self, key: str, *, announce: bool = False, **fields: Any) -> Touched:
        """Touch one key."""
        (touched,) = await self.store.touch(NAMESPACE, [Touch(key=key, **fields)], announce=announce)
        return touched

    async def scan(self, prefix: str = "", **fields: Any) -> Page:
        """A page of entries."""
        options = {"after": None, "limit": 1000, "bytes_max": 1 << 30, "keys_only": False} | fields
        return await self.store.scan(options.pop("namespace", NAMESPACE), prefix, **options)

    async def keys(self, prefix: str = "", **fields: Any) -> list[str]:
        """The keys of a page."""
        return [entry.key for entry in (await self.scan(prefix, **fields)).entries]

    async def delete_prefix(
        self, prefix: str, *, limit: int = 1000, request: WriteId | None = None, progress: PrefixProgress | None = None
    ) -> PrefixProgress:
        """One batch."""
        return await self.store.delete_prefix(NAMESPACE, prefix, limit=limit, request=request, progress=progress)

    def sweep_order(self, **fields: int) -> SweepOrder:
        """An order that ends what has expired and forgets nothing else."""
        return SweepOrder(**{"limit": 1000, "tombstone_retention_ms": DAY_MS, "request_retention_ms": DAY_MS} | fields)

    async def cursor(self) -> int:
        """The cursor after the newest change."""
        if not self.harness.changes:
            return 0
        return (await self.store.changes(after=None, limit=1)).cursor

    async def changes_since(self, cursor: int) -> list[ChangeRow]:
        """All changes after a cursor; of a store that tells none, none."""
        if not self.harness.changes:
            return []
        page = await self.store.changes(after=cursor, limit=10_000)
        assert not page.gap
        return list(page.changes)


@dataclass(frozen=True, kw_only=True)
class CacheHarness:
    """A kind of cache, and how one of a size is made: empty, whatever others have put on the same server."""

    name: str
    make: Callable[[int], Cache]
    lease_ms: int
    negative_ms: int
    bounded: bool = True
    """Whether `make` can bound its bytes; the bound of a shared server is its own setting."""

    @asynccontextmanager
    async def opened(self, directory: Path) -> AsyncIterator[CacheUnderTest]:
        """An empty cache; closed afterwards."""
        subject = CacheUnderTest(harness=self, cache=self.make(1 << 24))
        try:
            yield subject
        finally:
            await subject.cache.close()


@dataclass(kw_only=True)
class CacheUnderTest:
    """A cache, the authority's clock beside it, and the calls of a test in short."""

    harness: CacheHarness
    cache: Cache
    now: int = START_MS
    generation: int = 1

    async def resize(self, bytes_max: int) -> None:
        """An empty cache of another size."""
        await self.cache.close()
        self.cache = self.harness.make(bytes_max)

    async def get(self, key: str = "key", *, namespace: str = NAMESPACE, generation: int | None = None) -> Hit | Miss:
        """One key."""
        generation = self.generation if generation is None else generation
        (answer,) = await self.cache.get(namespace, [key], generation=generation, now=self.now)
        return answer

    async def held(self, key: str = "key", *, generation: int | None = None) -> Copy | None:
        """The copy of a hit; a miss, or a cached miss, is a failure of the test."""
        answer = await self.get(key, generation=generation)
        assert isinstance(answer, Hit), answer
        return answer.copy

    async def lease(self, key: str = "key") -> str:
        """The lease of a miss."""
        answer = await self.get(key)
        assert isinstance(answer, Miss), answer
        assert answer.lease, "the first asker of a missing key gets a lease"
        return answer.lease

    async def fill(self, copy: Copy | None, lease: str, *, key: str = "key", generation: int | None = None) -> bool:
        """Fill one key; whether it was stored."""
        fill = Fill(key if copy is None else copy.key, copy, lease)
        generation = self.generation if generation is None else generation
        stored = await self.cache.fill(NAMESPACE, [fill], generation=generation, now=self.now)
        assert stored in (0, 1)
        return stored == 1

    async def hold(self, copy: Copy | None, *, key: str = "key") -> None:
        """Have the cache hold a copy, by the only way there is: a lease and a fill."""
        assert await self.fill(copy, await self.lease(key if copy is None else copy.key), key=key)

    async def apply(self, *copies: Copy, generation: int | None = None) -> None:
        """Tell committed states."""
        generation = self.generation if generation is None else generation
        await self.cache.apply(NAMESPACE, copies, generation=generation)


@dataclass(frozen=True, kw_only=True)
class BlobsHarness:
    """A kind of blob store, how one is opened in a directory, and how an object's bytes are spoilt behind its back.

    An adapter to a server takes the directory's name for its own place there; `place` makes and removes that.
    """

    name: str
    make: Callable[[Path], Blobs]
    spoil: Callable[[Path, str], None]
    place: Callable[[Path], AbstractAsyncContextManager[object]] = nullcontext

    @asynccontextmanager
    async def opened(self, directory: Path) -> AsyncIterator[BlobsUnderTest]:
        """Open and empty; closed afterwards."""
        async with self.place(directory):
            subject = BlobsUnderTest(harness=self, directory=directory, blobs=self.make(directory))
            await subject.blobs.open()
            try:
                yield subject
            finally:
                await subject.blobs.close()


@dataclass(kw_only=True)
class BlobsUnderTest:
    """Blobs that can be opened again."""

    harness: BlobsHarness
    directory: Path
    blobs: Blobs

    async def reopen(self) -> None:
        """Close, and open what is there."""
        await self.blobs.close()
        self.blobs = self.harness.make(self.directory)
        await self.blobs.open()

    async def names(self, prefix: str = "") -> list[str]:
        """All names with a prefix."""
        return [name async for name in self.blobs.names(prefix)]
