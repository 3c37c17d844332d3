"""DynamoStore: the Store port over a table of DynamoDB. Nothing here waits for the network on the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from sidecar.core.entry import Copy
from sidecar.core.errors import DeadlineExceeded, SidecarError, StoreUnavailable
from sidecar.core.histograms import Histogram
from sidecar.core.observed import Pool
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
from sidecar.stores.dynamodb.client import THREADS, Client
from sidecar.stores.dynamodb.commits import OPERATIONS_MAX, Committer
from sidecar.stores.dynamodb.errors import twin
from sidecar.stores.dynamodb.feed import Feed
from sidecar.stores.dynamodb.items import Names
from sidecar.stores.dynamodb.parts import Parts
from sidecar.stores.dynamodb.payloads import Payloads
from sidecar.stores.dynamodb.plan import VALUE_BYTES_MAX
from sidecar.stores.dynamodb.reads import Reads
from sidecar.stores.dynamodb.sequence import Sequencer
from sidecar.stores.dynamodb.sweep import Sweep
from sidecar.stores.dynamodb.table import Table
from sidecar.stores.dynamodb.target import DynamoTarget
from sidecar.stores.dynamodb.transactions import Transactions
from sidecar.stores.dynamodb.upkeep import Upkeep

_log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_S = 1.0
"""How long a failed preparation is answered from memory."""
IDLE_S = 30.0
"""After so long without an answer the table is looked at anew: it takes minutes to put another one in its place."""


class DynamoStore:
    """A Store in a table, which other daemons may use at the same time.

    An acknowledged write is in three availability zones. At most `queue_max` writes, and as many other calls, wait. A
    call that meets no answer ends within `timeout_s`. Ends are by this machine's clock, for DynamoDB tells no other.
    """

    def __init__(self, target: DynamoTarget, *, clock: Clock, queue_max: int = 10_000, timeout_s: float = 2.0) -> None:
        self.capabilities = StoreCapabilities(
            durable=True, shared=True, value_bytes_max=VALUE_BYTES_MAX, operations_max=OPERATIONS_MAX, snapshots=False
        )
        self._target = target
        self._clock = clock
        self._queue_max = queue_max
        self._timeout_s = timeout_s
        self._opened: _Opened | None = None
        self.batches = Histogram()
        """How many writes its transactions had."""

    @property
    def pool(self) -> Pool:
        """Threads that ask the table. How much it holds is not told: DynamoDB counts every six hours, all apps together,
        with our own items; to count ourselves would be to read, and to pay for, all of it.
        """
        return Pool(in_use=0, idle=0, size_max=THREADS) if self._opened is None else self._opened.client.pool

    def now(self) -> int:
        """This machine's clock."""
        return self._clock.now()

    async def open(self) -> None:
        """Find or make the table. Raises StoreUnavailable, DataLoss; may be called again."""
        if self._opened is None:
            self._opened = _Opened(
                self._target,
                self._clock,
                queue_max=self._queue_max,
                timeout_s=self._timeout_s,
                batches=self.batches,
            )
        self._opened.forget_failure()
        await self._opened.ready()

    async def close(self) -> None:
        """Finish the accepted writes, let the connections go. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await asyncio.shield(opened.close())

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        """The committed state of each key, of one moment for each hundred of them."""
        opened = await self._reading(deadline)
        return await opened.reads.get(namespace, keys)

    async def commit(self, write: Write) -> Outcome:
        """Apply a write together with those that wait beside it."""
        return await self._running().committer.submit(write)

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        """Move ends."""
        opened = self._running()
        return await opened.own(opened.upkeep.touch(namespace, tuple(touches), announce=announce))

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
        opened = await self._reading(deadline)
        return await opened.reads.scan(
            namespace, prefix, after=after, limit=limit, bytes_max=bytes_max, keys_only=keys_only
        )

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """One batch of a deletion."""
        opened = self._running()
        return await opened.own(
            opened.upkeep.delete_prefix(namespace, prefix, limit=limit, request=request, progress=progress)
        )

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        """Change rows after a cursor."""
        opened = await self._reading(None)
        return await opened.parts.feed.changes(after=after, limit=limit)

    async def sweep(self, order: SweepOrder) -> Swept:
        """Clean what has ended."""
        opened = self._running()
        await opened.ready()
        return await opened.own(opened.sweep.run(order))

    async def cache_generation(self, cache_identity: str) -> int:
        """Count the caches that were seen."""
        opened = self._running()
        return await opened.own(opened.upkeep.cache_generation(cache_identity))

    async def _reading(self, deadline: float | None) -> _Opened:
        opened = self._running()
        if deadline is not None and self._clock.monotonic() >= deadline:
            raise DeadlineExceeded("the deadline passed before the read began")
        await opened.ready()
        return opened

    def _running(self) -> _Opened:
        if self._opened is None:
            raise StoreUnavailable("the store is not open")
        return self._opened


class _Opened:
    """What there is between `open` and `close`."""

    def __init__(
        self, target: DynamoTarget, clock: Clock, *, queue_max: int, timeout_s: float, batches: Histogram
    ) -> None:
        names = Names(target.prefix)
        self.client = Client(target, clock, timeout_s=timeout_s, queue_max=queue_max)
        self.table = Table(self.client, names, clock)
        transactions = Transactions(self.client, names, clock)
        payloads = Payloads(self.client, names, clock)
        self.parts = Parts(
            client=self.client,
            names=names,
            clock=clock,
            sequencer=Sequencer(self.client, names),
            transactions=transactions,
            feed=Feed(self.client, names, clock, self.table, transactions),
            payloads=payloads,
            ready=self.ready,
            unready=self.unready,
            spawn=self.spawn,
        )
        self.reads = Reads(self.client, names, clock, payloads, spawn=self.spawn, queue_max=queue_max)
        self.committer = Committer(self.parts, queue_max=queue_max, batches=batches)
        self.upkeep = Upkeep(self.parts, self.reads, self.table)
        self.sweep = Sweep(self.parts)
        self._clock = clock
        self._prepared = False
        self._preparing = asyncio.Lock()
        self._failure: SidecarError | None = None
        self._retry_time = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def ready(self) -> None:
        """Have the table prepared. Raises SidecarError, the same for a second after it failed."""
        while not self._is_ready():
            async with self._preparing:
                if not self._is_ready():
                    await self._prepare()

    def unready(self) -> None:
        """Have it prepared anew before the next call."""
        self._prepared = False

    def forget_failure(self) -> None:
        """Let the next call try at once."""
        self._failure = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the background; `close` waits for it."""
        self._task(work)

    async def own(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to its end also when the caller goes."""
        return await asyncio.shield(self._task(work))

    async def close(self) -> None:
        """Until all tasks have ended."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    def _is_ready(self) -> bool:
        idle = self._clock.monotonic() - self.client.last_reply_time
        return self._prepared and self.client.failure is None and idle < IDLE_S

    async def _prepare(self) -> None:
        if self._failure is not None and self._clock.monotonic() < self._retry_time:
            raise twin(self._failure)
        sequencer = self.parts.sequencer
        try:
            meta = await self.table.prepare(highest=sequencer.highest)
        except SidecarError as exc:
            self._failure, self._retry_time = exc, self._clock.monotonic() + RETRY_S
            raise twin(exc) from exc
        sequencer.epoch, sequencer.highest = meta.epoch, max(sequencer.highest, meta.sequence)
        self._failure, self.client.failure = None, None
        self._prepared = True

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None and not isinstance(exc, SidecarError):
            _log.error("a task of the store failed", exc_info=exc)
