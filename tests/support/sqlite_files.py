"""Databases for tests that spoil them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sidecar.core.operations import Put
from sidecar.core.store import Outcome
from sidecar.stores.sqlite import SqliteStore
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write

PATTERN = b"a value that can be found in the file "


@asynccontextmanager
async def closing(path: Path, clock: ManualClock, **options: Any) -> AsyncIterator[SqliteStore]:
    """Not open, but closed afterwards: a thread that is left keeps the process from ending."""
    store = SqliteStore(path, clock=clock, **options)
    try:
        yield store
    finally:
        await store.close()


async def put(store: SqliteStore, key: str, value: bytes = b"value") -> Outcome:
    return await store.commit(write(Put(key=key, value=value)))


async def value(store: SqliteStore, key: str) -> bytes | None:
    (copy,) = await store.get(NAMESPACE, [key])
    return getattr(copy, "value", None)


async def filled(path: Path, clock: ManualClock, count: int = 20, size: int = 20) -> dict[str, bytes]:
    """A closed database with entries."""
    content = {f"key {n}": PATTERN + b"%d " % n * size for n in range(count)}
    async with closing(path, clock) as store:
        await store.open()
        for key, text in content.items():
            await put(store, key, text)
    return content


def flip(path: Path, position: int, mask: int = 0x10) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ mask]))
