"""Group commit: the SQLite store through its own API, against the same store with a commit for each write.

Both stores live through the whole run, in files on the same disk, and take turns in short blocks.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench.figures import GroupCommit
from sidecar.core.operations import Put, Write, WriteId
from sidecar.runtime.ports import SystemClock
from sidecar.stores.sqlite import SqliteStore
from statesidecar._calls import new_request_id

CONCURRENCY = 32
VALUE = bytes(1024)


async def _write(store: SqliteStore, key: str, count: int) -> None:
    for _ in range(count):
        request_id = new_request_id()
        write = Write(
            namespace="session",
            operations=(Put(key=key, value=VALUE),),
            value_bytes_max=1 << 20,
            request=WriteId(request_id=request_id, fingerprint=request_id.encode()),
        )
        await store.commit(write)


async def _block(store: SqliteStore, writes: int) -> float:
    """Writes a second, of writers on keys of their own."""
    each = writes // CONCURRENCY
    start = time.perf_counter()
    await asyncio.gather(*(_write(store, f"key-{number}", each) for number in range(CONCURRENCY)))
    return each * CONCURRENCY / (time.perf_counter() - start)


async def _measure(directory: Path, *, rounds: int, writes: int) -> GroupCommit:
    grouped = SqliteStore(directory / "grouped.db", clock=SystemClock())
    single = SqliteStore(directory / "single.db", clock=SystemClock(), batch_max=1)
    stores = (single, grouped)
    rates: dict[SqliteStore, list[float]] = {store: [] for store in stores}
    for store in stores:
        await store.open()
        await _block(store, writes)
    for number in range(rounds):
        for store in stores if number % 2 else stores[::-1]:
            rates[store].append(await _block(store, writes))
    for store in stores:
        await store.close()
    return GroupCommit(
        concurrency=CONCURRENCY,
        grouped_per_s=statistics.median(rates[grouped]),
        single_per_s=statistics.median(rates[single]),
        ratio=statistics.median(mine / its for mine, its in zip(rates[grouped], rates[single], strict=True)),
        ratio_min=4.0,
    )


def measure(progress: Callable[[str], None], *, rounds: int, writes: int) -> GroupCommit:
    """The two stores side by side."""
    progress(f"SQLite Set, {CONCURRENCY} concurrent")
    with tempfile.TemporaryDirectory(prefix="state-sidecar-bench-") as directory:
        return uvloop.run(_measure(Path(directory), rounds=rounds, writes=writes))
