"""SqliteStore: the Store port over one writer and a few readers. Nothing here waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sidecar.core.entry import Copy
from sidecar.core.errors import LimitExceeded, SidecarError, StoreUnavailable
from sidecar.core.histograms import Histogram
from sidecar.core.observed import Census, Pool
from sidecar.core.operations import Write, WriteId
from sidecar.core.ports import Clock
from sidecar.core.store import (
    ChangePage,
    Outcome,
    Page,
    PrefixProgress,
    StoreCapabilities,
    SweepOrder,
    Swept,
    Touch,
    Touched,
)
from sidecar.stores.disk import STORAGE_READ_ONLY
from sidecar.stores.sqlite import counting, reads, upkeep
from sidecar.stores.sqlite.connection import Connector, Options
from sidecar.stores.sqlite.highwater import HighwaterFile
from sidecar.stores.sqlite.preparation import prepare, prepare_reading
from sidecar.stores.sqlite.reader import Query, Readers
from sidecar.stores.sqlite.works import Task
from sidecar.stores.sqlite.writer import Writer

VALUE_BYTES_MAX = 999_000_000
"""SQLite's bound of a row (10^9 bytes), less the other columns."""
UNWRITABLE = frozenset({"STORAGE_FULL", STORAGE_READ_ONLY})
"""Reasons for which an opening fails that leave the file readable."""


class SqliteStore:
    """A Store in a file, shared by this process's event loop; other processes on this machine may open the same file, if
    they are of the same `app`.

    An unacknowledged write may be applied; an acknowledged one survives a crash of the process and of the machine.
    At most `queue_max` writes, and as many reads, wait; up to `batch_max` writes share a commit. `pages_max` bounds the
    file in pages of 4 KiB (None: the disk does). A file that can't be opened is tried again by later calls, at most once
    a second; a corrupt one is never written.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        app: str = "",
        queue_max: int = 10_000,
        batch_max: int = 512,
        readers: int = 2,
        pages_max: int | None = None,
    ) -> None:
        self.capabilities = StoreCapabilities(durable=True, shared=False, value_bytes_max=VALUE_BYTES_MAX)
        self._path = path
        self._clock = clock
        self._app = app
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._reader_count = readers
        self._pages_max = pages_max
        self._threads: _Threads | None = None
        self._prepared = False
        self.batches = Histogram()
        """How many writes its commits had."""

    @property
    def pool(self) -> Pool:
        """The threads that read; the one that writes is not among them."""
        threads = self._threads
        waiting = 0 if threads is None else threads.readers.waiting
        in_use = min(waiting, self._reader_count)
        idle = 0 if threads is None else self._reader_count - in_use
        return Pool(in_use=in_use, idle=idle, size_max=self._reader_count, waiting=waiting - in_use)

    @property
    def commits(self) -> int:
        """Transactions that changed something since the store was opened."""
        return self._running().writer.commits

    @property
    def works(self) -> int:
        """Writes, touches, sweeps and the like that were answered since the store was opened."""
        return self._running().writer.works

    def now(self) -> int:
        """This machine's clock."""
        return self._clock.now()

    async def open(self) -> None:
        """Make or open the file. Raises StoreUnavailable, DataLoss, LimitExceeded (STORAGE_FULL); may be called again."""
        if self._threads is None:
            self._threads = self._start()
        self._threads.connector.forget_failure()
        await self._prepare()

    async def close(self) -> None:
        """Finish the accepted writes and reads, end the threads, close the file. Idempotent."""
        threads, self._threads = self._threads, None
        self._prepared = False
        if threads is not None:
            threads.readers.stop()
            threads.writer.stop()
            await asyncio.shield(asyncio.to_thread(threads.join))

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        """The committed state of each key, of one snapshot."""
        keys = tuple(keys)
        copies: list[Copy | None] = await self._read(
            lambda connection: reads.get(connection, namespace, keys, self._clock.now()), deadline, short=True
        )
        return copies

    async def commit(self, write: Write) -> Outcome:
        """Apply a write together with those that wait beside it."""
        outcome: Outcome = await self._running().writer.submit(write)
        return outcome

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        """Move ends."""
        touched: list[Touched] = await self._do(
            partial(upkeep.touch, namespace=namespace, touches=tuple(touches), announce=announce)
        )
        return touched

    async def scan(
        self,
        namespace: str,
        prefix: str,
        *,
        after: str | None,
        limit: int,
        bytes_max: int,
        keys_only: bool,
        deadline: float | None = None,
    ) -> Page:
        """Entries in key order."""

        def query(connection: Any) -> Page:
            return reads.scan(
                connection,
                namespace,
                prefix,
                after=after,
                limit=limit,
                bytes_max=bytes_max,
                keys_only=keys_only,
                now=self._clock.now(),
            )

        page: Page = await self._read(query, deadline)
        return page

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """One batch of a deletion."""
        after: PrefixProgress = await self._do(
            partial(
                upkeep.delete_prefix,
                namespace=namespace,
                prefix=prefix,
                limit=limit,
                request=request,
                progress=progress,
            )
        )
        return after

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        """Change rows after a cursor."""
        page: ChangePage = await self._read(lambda connection: reads.changes(connection, after=after, limit=limit))
        return page

    async def sweep(self, order: SweepOrder) -> Swept:
        """Clean what has ended."""
        swept: Swept = await self._do(partial(upkeep.sweep, order=order))
        return swept

    async def cache_generation(self, cache_identity: str) -> int:
        """Count the caches that were seen."""
        generation: int = await self._do(partial(upkeep.cache_generation, cache_identity=cache_identity))
        return generation

    async def census(self) -> Census:
        """Count what is held."""
        return await counting.census(self._read, self._clock.now())

    async def _do(self, task: Task) -> Any:
        return await self._running().writer.submit(task)

    async def _read(self, query: Query, deadline: float | None = None, *, short: bool = False) -> Any:
        refusal = None if self._prepared else await self._unwritable()
        try:
            return await self._running().readers.submit(query, deadline=deadline, short=short)
        except StoreUnavailable as exc:
            raise refusal or exc from exc

    async def _unwritable(self) -> SidecarError | None:
        """Open the file; where that fails only because nothing can be written, why: what is there can be read."""
        try:
            await self._prepare()
        except (StoreUnavailable, LimitExceeded) as exc:
            if exc.reason not in UNWRITABLE:
                raise
            return exc
        return None

    async def _prepare(self) -> None:
        """Have the writer open the file, as it does before any work."""
        await self._do(_nothing)
        self._prepared = True

    def _running(self) -> _Threads:
        if self._threads is None:
            raise StoreUnavailable("the store is not open")
        return self._threads

    def _start(self) -> _Threads:
        highwater = HighwaterFile(self._path)
        options = Options(path=self._path, writes=True, pages_max=self._pages_max)
        preparing = partial(prepare, highwater=highwater, clock=self._clock, app=self._app)
        connector = Connector(options, self._clock, prepare=preparing)
        writer = Writer(
            connector,
            self._clock,
            highwater,
            queue_max=self._queue_max,
            batch_max=self._batch_max,
            batches=self.batches,
        )
        reading = Options(path=self._path, writes=False)
        recognising = partial(prepare_reading, app=self._app)
        connectors = [Connector(reading, self._clock, prepare=recognising) for _ in range(self._reader_count)]
        return _Threads(connector, writer, Readers(connectors, self._clock, queue_max=self._queue_max))


class _Threads:
    """What runs between `open` and `close`."""

    def __init__(self, connector: Connector, writer: Writer, readers: Readers) -> None:
        self.connector = connector
        self.writer = writer
        self.readers = readers
        writer.start()
        readers.start()

    def join(self) -> None:
        """Until all have ended."""
        self.readers.join()
        self.writer.join()


def _nothing(_: Any) -> None:
    """Having a connection is all."""
