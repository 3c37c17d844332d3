"""PostgresStore: the Store port over a few writing and a few reading connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sidecar.core.entry import Copy
from sidecar.core.errors import InvalidRequest, StoreUnavailable
from sidecar.core.histograms import Histogram
from sidecar.core.observed import Advice, Census, Pool
from sidecar.core.operations import Put, Write, WriteId
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
from sidecar.stores.postgres import reads, upkeep
from sidecar.stores.postgres.advice import advice
from sidecar.stores.postgres.connector import Connector
from sidecar.stores.postgres.counting import Counter
from sidecar.stores.postgres.hints import Hints
from sidecar.stores.postgres.lanes import Lanes
from sidecar.stores.postgres.readers import Query, Reader, Readers
from sidecar.stores.postgres.target import PostgresTarget
from sidecar.stores.postgres.works import Task

VALUE_BYTES_MAX = 64 << 20
"""Far below the server's own bound (1 GB): while it reads a larger one, it is silent for longer than we wait."""


class PostgresStore:
    """A Store in a schema of a PostgreSQL database, shared by any number of daemons.

    An unacknowledged write may be applied; an acknowledged one survives what the server's own durability survives. At
    most `queue_max` writes, and as many reads, wait; up to `batch_max` writes share a commit. `timeout_s` is how long a
    server may be silent, and a call may wait for others. Three fifths of the target's connections write, or `lanes`;
    the others read. A server that can't be reached is tried again by later calls, at most once a second.
    """

    def __init__(
        self,
        target: PostgresTarget,
        *,
        clock: Clock,
        queue_max: int = 10_000,
        batch_max: int = 512,
        timeout_s: float = 2.0,
        lanes: int | None = None,
    ) -> None:
        self.capabilities = StoreCapabilities(durable=True, shared=True, value_bytes_max=VALUE_BYTES_MAX)
        self._connector = Connector(target, clock, timeout_s=timeout_s)
        self._clock = clock
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._timeout_s = timeout_s
        self._lane_count = (target.connections * 3 + 2) // 5 if lanes is None else lanes
        self._reader_count = max(1, target.connections - self._lane_count)
        self._parts: tuple[Lanes, Readers] | None = None
        self._listeners: list[Callable[[], None]] = []
        self.batches = Histogram()
        """How many writes its commits had."""
        self._counter = Counter(self._connector)
        self._hints = Hints(self._connector, self._hear)

    @property
    def pool(self) -> Pool:
        """The connections that write and read. Those for hints and counts are not among them."""
        pools = [] if self._parts is None else [part.pool for part in self._parts]
        return Pool(
            in_use=sum(pool.in_use for pool in pools),
            idle=sum(pool.idle for pool in pools),
            size_max=self._lane_count + self._reader_count,
            waiting=sum(pool.waiting for pool in pools),
        )

    @property
    def commits(self) -> int:
        """Transactions since the store was opened."""
        return self._running()[0].commits

    @property
    def works(self) -> int:
        """Writes, touches, sweeps and the like that were answered since the store was opened."""
        return self._running()[0].works

    @property
    def listening(self) -> bool:
        """Whether other daemons' hints are heard; not where a pooler is between."""
        return self._hints.listening

    def hint(self) -> None:
        """Tell other daemons, soon."""
        if self._parts is not None:
            self._hints.hint()

    def on_hint(self, heard: Callable[[], None]) -> None:
        """Call this when another daemon told something; the first such wish costs a connection."""
        self._listeners.append(heard)
        if self._parts is not None:
            self._hints.start()

    def now(self) -> int:
        """The server's clock, as far as it was heard."""
        return self._connector.server_clock.now()

    async def open(self) -> None:
        """Connect, and make or migrate the schema. Raises StoreUnavailable, DataLoss; may be called again."""
        if self._parts is None:
            self._parts = self._start()
            if self._listeners:
                self._hints.start()
        self._connector.begin_anew()
        await self._parts[0].open()

    async def close(self) -> None:
        """Finish the accepted writes and reads, and disconnect. Idempotent."""
        parts, self._parts = self._parts, None
        if parts is not None:
            await asyncio.shield(asyncio.gather(self._hints.stop(), *[part.stop() for part in parts]))

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        """The committed state of each key, of one snapshot."""
        if not keys:
            return []
        return await self._running()[1].get(namespace, tuple(keys), deadline)

    async def commit(self, write: Write) -> Outcome:
        """Apply a write together with those that wait beside it."""
        for operation in write.operations:
            if type(operation) is Put and len(operation.value) > VALUE_BYTES_MAX:
                raise InvalidRequest(
                    f"value has {len(operation.value)} bytes, PostgreSQL takes at most {VALUE_BYTES_MAX}",
                    reason="VALUE_TOO_LARGE",
                    field="value",
                )
        outcome: Outcome = await self._running()[0].submit(write)
        return outcome

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        """Move ends."""
        if not touches:
            return []
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

        async def query(reader: Reader) -> Page:
            call = reads.scan_call(
                reader.queries,
                namespace,
                prefix,
                after=after,
                limit=limit,
                bytes_max=bytes_max,
                keys_only=keys_only,
            )
            (found,) = await reader.ask([call])
            return reads.page(namespace, found, limit=limit)

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
        """Change rows after a cursor; one round trip where there are none."""

        async def query(reader: Reader) -> ChangePage:
            newest, up_to = reads.horizon(*await reader.ask(reads.horizon_calls(reader.queries)))
            if after is None:
                return ChangePage(changes=(), cursor=up_to, ahead=newest)
            if after == newest:
                return ChangePage(changes=(), cursor=after)
            begin = after if after <= newest else 0
            call = reads.changes_call(reader.queries, after=begin, up_to=up_to, limit=limit)
            (found,) = await reader.ask([call])
            return reads.change_page(found, after=after, newest=newest)

        page: ChangePage = await self._read(query)
        return page

    async def sweep(self, order: SweepOrder) -> Swept:
        """Clean what has ended; nothing, while another daemon does."""
        swept: Swept = await self._do(partial(upkeep.sweep, order=order))
        return swept

    async def cache_generation(self, cache_identity: str) -> int:
        """Count the caches that were seen."""
        generation: int = await self._do(partial(upkeep.cache_generation, cache_identity=cache_identity))
        return generation

    async def census(self) -> Census:
        """Count what is held, or of a large table a sample."""
        self._running()
        return await self._counter.census()

    async def advice(self) -> list[Advice]:
        """How the server and our role there should be set up otherwise."""
        return await advice(self._connector, connections=self._lane_count + self._reader_count)

    async def _do(self, task: Task) -> Any:
        return await self._running()[0].submit(task)

    async def _read(self, query: Query, deadline: float | None = None) -> Any:
        return await self._running()[1].submit(query, deadline)

    def _hear(self) -> None:
        for heard in self._listeners:
            heard()

    def _running(self) -> tuple[Lanes, Readers]:
        if self._parts is None:
            raise StoreUnavailable("the store is not open")
        return self._parts

    def _start(self) -> tuple[Lanes, Readers]:
        lanes = Lanes(
            self._connector,
            self._clock,
            count=self._lane_count,
            queue_max=self._queue_max,
            batch_max=self._batch_max,
            timeout_s=self._timeout_s,
            batches=self.batches,
        )
        readers = Readers(
            self._connector,
            self._clock,
            count=self._reader_count,
            queue_max=self._queue_max,
            timeout_s=self._timeout_s,
        )
        return lanes, readers
