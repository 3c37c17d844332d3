"""Stores in a schema of the test's own: on the server that all share, or on one that the test may harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from servers.base import shared
from servers.postgres import Postgres
from sidecar.core.entry import Entry
from sidecar.core.errors import SidecarError
from sidecar.core.operations import Change, Increment, Put, Write
from sidecar.core.ports import Clock
from sidecar.core.store import Outcome
from sidecar.runtime.ports import SystemClock
from sidecar.stores.postgres import PostgresStore, PostgresTarget, parse_target
from tests.support.factories import NAMESPACE, request, write

ADD_ONE = Change(key="n", change=Increment(delta=1), create=True, return_value=True)


@dataclass(frozen=True)
class Place:
    """A schema of a server, behind the stores' back. `{schema}` in a statement is its name."""

    server: Postgres
    schema: str

    def target(self, **parameters: Any) -> PostgresTarget:
        """Where stores find it."""
        return parse_target(self.server.url(schema=self.schema, **parameters))

    def execute(self, statement: str, *parameters: object) -> list[Any]:
        """Rows of a statement."""
        return self.server.execute(statement.format(schema=self.schema), *parameters)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty place on the shared server; made by the first store that is opened, gone after the test."""
    place = Place(shared(Postgres), f"test_{sha256(str(tmp_path).encode()).hexdigest()[:16]}")
    yield place
    place.server.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(place.schema)))


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """One to be harmed, which syncs what it acknowledges."""
    with Postgres(fsync=True, settings={"max_connections": 20}) as server:
        yield server


@pytest.fixture
def own_place(own_server: Postgres) -> Place:
    return Place(own_server, "state_sidecar")


Opener = Callable[..., Awaitable[PostgresStore]]


@pytest.fixture
async def open_store() -> AsyncIterator[Opener]:
    """Opens stores at a place or a target, closed after the test; options are those of the store, or of the target."""
    async with AsyncExitStack() as stack:

        async def opener(
            at: Place | PostgresTarget, *, clock: Clock | None = None, opened: bool = True, **options: Any
        ) -> PostgresStore:
            target = at.target() if isinstance(at, Place) else at
            fields = {name: options.pop(name) for name in list(options) if name in PostgresTarget.__slots__}
            store = PostgresStore(replace(target, **fields), clock=clock or SystemClock(), **options)
            stack.push_async_callback(store.close)
            if opened:
                await store.open()
            return store

        yield opener


@pytest.fixture
async def store(open_store: Opener, place: Place) -> PostgresStore:
    return await open_store(place)


def put(key: str, value: bytes = b"value", **fields: Any) -> Write:
    """A write of one value."""
    operation = {name: fields.pop(name) for name in ("expected_version", "ttl_ms") if name in fields}
    return write(Put(key=key, value=value, **operation), **fields)


def add_one(request_id: str | None = None, key: str = "n") -> Write:
    """Count."""
    operation = Change(key=key, change=Increment(delta=1), create=True, return_value=True)
    return write(operation, request=None if request_id is None else request(request_id))


async def together(store: PostgresStore, *writes: Write) -> list[Outcome | SidecarError]:
    """The answers of writes that wait side by side."""
    answers = await asyncio.gather(*[store.commit(write) for write in writes], return_exceptions=True)
    assert all(isinstance(answer, Outcome | SidecarError) for answer in answers), answers
    return list(answers)  # type: ignore[arg-type]  # the line above says so


async def value(store: PostgresStore, key: str, namespace: str = NAMESPACE) -> bytes | None:
    """What a reader sees."""
    (copy,) = await store.get(namespace, [key])
    return copy.value if isinstance(copy, Entry) else None


async def values(store: PostgresStore, keys: Sequence[str]) -> list[bytes | None]:
    """What a reader sees of some keys."""
    return [await value(store, key) for key in keys]


async def until_it_answers(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """The first answer that is no error, of a store that heals by itself."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await attempt()
            except SidecarError:
                await asyncio.sleep(0)
