"""What an operation costs with a thousand keys, and with a million: it should be the same.

A daemon for each number of keys, all of them there for the whole measurement; calls on keys chosen at random of all, in
alternating blocks. `python -m bench.growth` measures this alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from bench.processes import RunningDaemon, daemon
from bench.racing import Block, Call, Race, Side, Size, Target, race
from bench.stage import CACHED, OWNED, value
from sidecar.core.operations import Put, Write
from sidecar.runtime.ports import SystemClock
from sidecar.stores.sqlite import SqliteStore
from statesidecar import AsyncStateClient, Consistency, SetOp

COUNTS = (10**3, 10**4, 10**5, 10**6)
VALUE = value(100)
TOGETHER = 100
LOADING = 8
FILLED_TOGETHER = 1000
FLAT = 0.2
CALLERS = 8
Progress = Callable[[str], None]


def _name(number: int) -> str:
    return f"key-{number:07}"


def _side(count: int) -> str:
    return f"{count:,} keys"


async def _load(client: AsyncStateClient, count: int) -> None:
    """All keys into the hot tier, some transactions under way at a time."""
    parts = iter(range(0, count, TOGETHER))

    async def load() -> None:
        for first in parts:
            await client.transact(OWNED, [SetOp(_name(first + number), VALUE) for number in range(TOGETHER)])

    await asyncio.gather(*(load() for _ in range(LOADING)))


def _fill(path: Path, count: int) -> None:
    """A file of the SQLite store with all keys, before a daemon opens it: in a process of its own, at half the cost."""

    async def filled() -> None:
        store = SqliteStore(path, clock=SystemClock())
        await store.open()
        for first in range(0, count, FILLED_TOGETHER):
            part = range(first, min(first + FILLED_TOGETHER, count))
            puts = tuple(Put(key=_name(number), value=VALUE) for number in part)
            await store.commit(Write(namespace=CACHED, operations=puts, value_bytes_max=1 << 20))
        await store.close()

    asyncio.run(filled())


def _random(count: int, call: Callable[[str], Any]) -> Callable[[int], Call]:
    def call_of(number: int) -> Call:
        chance = random.Random(number)
        return lambda: call(_name(int(chance.random() * count)))

    return call_of


def _cost(block: Block) -> float:
    """CPU time of a call, the server's: what it has to do, however busy the machine is."""
    return block.server_cpu_us


def _flat(count: int) -> Target:
    def value_of(blocks: Mapping[str, Block]) -> float:
        return _cost(blocks[_side(count)]) / _cost(blocks[_side(COUNTS[0])])

    title = f"CPU of a call, {count:,} keys / {COUNTS[0]:,}"
    return Target(title=title, value=value_of, at_least=1 - FLAT, at_most=1 + FLAT)


Operation = Callable[[AsyncStateClient], Callable[[str], Any]]
IN_MEMORY: Mapping[str, Operation] = {
    "Get, memory": lambda client: lambda key: client.get(OWNED, key),
    "Set, memory": lambda client: lambda key: client.set(OWNED, key, VALUE),
}
IN_SQLITE: Mapping[str, Operation] = {
    "Get, SQLite": lambda client: lambda key: client.get(CACHED, key, consistency=Consistency.STRONG),
    "Set, SQLite": lambda client: lambda key: client.set(CACHED, key, VALUE),
}


async def _races(
    running: Mapping[int, RunningDaemon],
    operations: Mapping[str, Operation],
    progress: Progress,
    size: Size,
    prepare: Callable[[AsyncStateClient, int], Awaitable[None]] | None = None,
) -> list[Race]:
    """`prepare` is awaited with each client before, and the number of its keys."""
    async with AsyncExitStack() as stack:
        clients = {
            count: await stack.enter_async_context(AsyncStateClient(one.target, timeout_s=30.0))
            for count, one in running.items()
        }
        for count, client in clients.items():
            if prepare is not None:
                progress(f"{count:,} keys")
                await prepare(client, count)
        races = []
        for title, operation in operations.items():
            progress(title)
            sides = [
                Side(name=_side(count), call_of=_random(count, operation(client)), pids=[running[count].pid])
                for count, client in clients.items()
            ]
            targets = [_flat(count) for count in running if count != COUNTS[0]]
            races.append(await race(f"{title}, {len(VALUE)} B", sides, targets, callers=CALLERS, size=size))
        return races


def measure(progress: Progress, size: Size, *, counts: tuple[int, ...] = COUNTS) -> list[Race]:
    """With so many keys; the first of `counts` has to be that of COUNTS."""
    progress("daemons with more and more keys")
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="state-sidecar-bench-") as folder, ProcessPoolExecutor(1, spawn) as filler:
        files = {count: Path(folder, f"{count}.db") for count in counts}
        filling = [filler.submit(_fill, path, count) for count, path in files.items()]

        async def loaded(client: AsyncStateClient, count: int) -> None:
            await _load(client, count)
            if count == counts[-1]:
                await asyncio.gather(*map(asyncio.wrap_future, filling))

        with ExitStack() as stack:
            running = {count: stack.enter_context(daemon()) for count in counts}
            races = size.run(_races(running, IN_MEMORY, progress, size, loaded))
        with ExitStack() as stack:
            running = {
                count: stack.enter_context(daemon(f"tiers.warm=sqlite://{path}")) for count, path in files.items()
            }
            return [*races, *size.run(_races(running, IN_SQLITE, progress, size))]


if __name__ == "__main__":
    from bench.alone import run

    run(measure)
