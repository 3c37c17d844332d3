"""S3Blobs: the Blobs port over a bucket. Nothing here waits for the network; threads do."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from functools import partial
from threading import Event
from typing import Any, TypeVar

from sidecar.core import observed
from sidecar.core.errors import OutcomeUnknown, SidecarError, StoreUnavailable
from sidecar.core.ports import Clock
from sidecar.stores.s3.client import connect
from sidecar.stores.s3.errors import LIBRARY_ERRORS, Failure, failure, unavailable
from sidecar.stores.s3.keys import check_name
from sidecar.stores.s3.objects import Listing, Objects
from sidecar.stores.s3.pool import Budget, Pool
from sidecar.stores.s3.probe import probe
from sidecar.stores.s3.requests import Requests
from sidecar.stores.s3.target import S3Target

RETRY_S = 1.0
"""How long a failed opening is answered from memory."""

T = TypeVar("T")


class S3Blobs:
    """Blobs in a bucket, which other processes may use at the same time.

    A call that is not answered within `timeout_s` fails; contents that move get a second more for each MiB. At most
    `threads` requests are under way. A bucket that can't be used is tried again by later calls, at most once a second.
    """

    def __init__(self, target: S3Target, *, clock: Clock, timeout_s: float = 5.0, threads: int = 8) -> None:
        self._target = target
        self._clock = clock
        self._timeout_s = timeout_s
        self._threads = threads
        self._opening = asyncio.Lock()
        self._running: _Running | None = None
        self._objects: Objects | None = None
        self._failure: SidecarError | None = None
        self._retry_time = 0.0

    @property
    def server(self) -> str:
        """What the endpoint says it is; empty until it was opened."""
        return "" if self._objects is None else self._objects.server

    @property
    def pool(self) -> observed.Pool:
        """Threads that ask the object store."""
        running = self._running
        none = observed.Pool(in_use=0, idle=0, size_max=self._threads)
        return none if running is None else running.pool.figures()

    async def open(self) -> None:
        """See that the bucket is there and keeps the promises. Raises StoreUnavailable; may be called again."""
        self._running = self._running or _Running(self._threads)
        self._failure = None
        await self._open()

    async def close(self) -> None:
        """Wait for what was begun, and let go. Idempotent."""
        running, self._running = self._running, None
        self._objects = None
        if running is not None:
            await asyncio.shield(asyncio.to_thread(running.close))

    async def put(self, name: str, content: bytes) -> bool:
        """Store an object. Raises ValueError for a bad name, StoreUnavailable, OutcomeUnknown, LimitExceeded."""
        check_name(name)
        objects, budget = await self._open(), self._budget()
        budget.extend(len(content))
        return await self._run(partial(objects.create, objects.key(name), name, content, budget), budget, writes=True)

    async def get(self, name: str) -> bytes | None:
        """An object's content. Raises ValueError for a bad name, DataLoss, StoreUnavailable."""
        check_name(name)
        objects, budget = await self._open(), self._budget()
        return await self._run(partial(objects.fetch, objects.key(name), name, budget), budget)

    async def delete(self, name: str) -> bool:
        """Remove an object. Raises ValueError for a bad name, StoreUnavailable, OutcomeUnknown."""
        check_name(name)
        objects, budget = await self._open(), self._budget()
        return await self._run(partial(objects.remove, objects.key(name), budget), budget, writes=True)

    async def names(self, prefix: str = "") -> AsyncIterator[str]:
        """Names in the order of their bytes, asked for a page at a time. Raises StoreUnavailable."""
        token, last = None, ""
        while True:
            listing = await self._page(prefix, token)
            for name in listing.names:
                if name <= last:
                    raise unavailable(self._target, "the endpoint does not list keys in the order of their bytes")
                yield name
                last = name
            if listing.token is None:
                return
            if listing.token == token:
                raise unavailable(self._target, "the endpoint lists the same page again")
            token = listing.token

    async def _page(self, prefix: str, token: str | None) -> Listing:
        objects, budget = await self._open(), self._budget()
        return await self._run(partial(objects.page, prefix, token, budget), budget)

    async def _open(self) -> Objects:
        """What works on the bucket, made ready if it is not. Callers at the same time share an opening."""
        if self._objects is not None:
            return self._objects
        async with self._opening:
            if self._objects is not None:
                return self._objects
            if self._failure is not None and self._clock.monotonic() < self._retry_time:
                raise copy.copy(self._failure)
            budget = self._budget()
            try:
                self._objects = await self._run(partial(self._prepare, self._current(), budget), budget)
            except SidecarError as exc:
                self._failure, self._retry_time = exc, self._clock.monotonic() + RETRY_S
                raise copy.copy(exc) from exc
        return self._objects

    def _prepare(self, running: _Running, budget: Budget) -> Objects:
        """In a thread."""
        try:
            client = running.client(
                partial(connect, self._target, timeout_s=self._timeout_s, connections=self._threads)
            )
        except LIBRARY_ERRORS as exc:
            raise failure(exc, self._target, "") from exc
        objects = Objects(Requests(client, self._target, running.closing))
        probe(objects, self._target, budget)
        return objects

    async def _run(self, work: Callable[[], T], budget: Budget, *, writes: bool = False) -> T:
        try:
            return await self._current().pool.run(work, budget, late=partial(self._late, writes))
        except Failure as exc:
            raise exc.error from exc

    def _late(self, writes: bool) -> SidecarError:
        said = unavailable(self._target, "no answer in time")
        return OutcomeUnknown(f"it can't be learned whether it was done: {said.message}") if writes else said

    def _budget(self) -> Budget:
        return Budget(self._clock, self._timeout_s)

    def _current(self) -> _Running:
        if self._running is None:
            raise StoreUnavailable("the object store is not open")
        return self._running


class _Running:
    """What there is between `open` and `close`."""

    def __init__(self, threads: int) -> None:
        self.pool = Pool(threads)
        self.closing = Event()
        self._client: Any = None

    def client(self, connect: Callable[[], Any]) -> Any:
        """The client, made by the first who asks; one at a time asks."""
        if self._client is None:
            self._client = connect()
        return self._client

    def close(self) -> None:
        """Blocks until what was begun has ended."""
        self.closing.set()
        self.pool.close()
        if self._client is not None:
            self._client.close()
