"""PostgreSQL under the contract suite: a schema for each test, whose clock stands still.

A store asks `now_ms()` of its schema what time it is. In the schemas here that function reads a row, which `advance`
moves together with the test's own clock.
"""

from __future__ import annotations

import atexit
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from servers.base import shared
from servers.postgres import Postgres
from sidecar.stores.postgres import PostgresStore, parse_target
from tests.contract.harnesses import StoreHarness, StoreUnderTest
from tests.support.clock import START_MS, ManualClock

STILL_CLOCK = """
CREATE TABLE {schema}.still (now_ms bigint NOT NULL);
INSERT INTO {schema}.still VALUES ({start});
CREATE OR REPLACE FUNCTION {schema}.now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT now_ms FROM {schema}.still'
"""


def make(directory: Path, clock: ManualClock) -> PostgresStore:
    """A store in the directory's schema."""
    return PostgresStore(parse_target(server().url(schema=schema_of(directory))), clock=clock)


def server() -> Postgres:
    """The server of the whole run."""
    return shared(Postgres)


def schema_of(directory: Path) -> str:
    """The directory's own place."""
    return f"contract_{sha256(str(directory).encode()).hexdigest()[:16]}"


@cache
def _connection(_server: Postgres) -> psycopg.Connection[Any]:
    """One for all that happens behind a store's back: a server process for each statement adds up over many short tests."""
    connection = _server.connect()
    atexit.register(connection.close)
    return connection


def _execute(statement: str | sql.Composed, *parameters: object) -> None:
    _connection(server()).execute(statement, parameters or None)


@asynccontextmanager
async def place(directory: Path) -> AsyncIterator[None]:
    """A schema as a store makes it, with a clock that stands still; dropped afterwards."""
    await _make_schema(directory, START_MS)
    try:
        yield
    finally:
        _drop_schema(directory)


async def _make_schema(directory: Path, now: int) -> None:
    store = make(directory, ManualClock())
    await store.open()
    await store.close()
    _execute(STILL_CLOCK.format(schema=schema_of(directory), start=now))


def _drop_schema(directory: Path) -> None:
    _execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema_of(directory))))


async def lose(store: StoreUnderTest) -> None:
    """Another schema of the same name."""
    _drop_schema(store.directory)
    await _make_schema(store.directory, store.clock.now())


async def advance(store: StoreUnderTest, milliseconds: int) -> None:
    """Both clocks at once: nothing else runs in between."""
    statement = f"UPDATE {schema_of(store.directory)}.still SET now_ms = now_ms + %s"
    _execute(statement, milliseconds)
    store.clock.advance(milliseconds)


async def forget_changes(store: StoreUnderTest) -> None:
    """All are older than no time at all."""
    await store.store.sweep(store.sweep_order(tombstone_retention_ms=0))


async def spoil(store: StoreUnderTest, key: str) -> None:
    """Flip a bit of the last byte."""
    last = "octet_length(value) - 1"
    with closing(server().connect()) as connection:
        connection.execute(
            f"UPDATE {schema_of(store.directory)}.entries SET value = set_byte(value, {last}, get_byte(value, {last}) # 1)"
            " WHERE key = %s",
            [key.encode()],
        )


POSTGRES_STORE = StoreHarness(
    name="postgres",
    durable=True,
    make=make,
    place=place,
    advance=advance,
    forget_changes=forget_changes,
    lose=lose,
    spoil=spoil,
)
