"""What a store holds, asked of its tables: neither a relay nor an adapter has a part in the answer."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from servers.base import shared
from servers.postgres import Postgres
from sidecar.core.ledger import LEDGER, MESSAGES, PARKED
from tests.outbox.writing import NAMESPACE

SQLITE, POSTGRES = "sqlite", "postgres"
STORES = (POSTGRES, SQLITE)
COUNT: LiteralString = "SELECT count(*) FROM {schema}entries WHERE namespace = {at} AND key >= {at} AND key < {at}"
REQUESTS: LiteralString = "SELECT request_id FROM {schema}requests WHERE namespace = {at}"


@contextmanager
def database(store: str, directory: Path) -> Iterator[str]:
    """The URL of an empty store of its own, gone afterwards."""
    if store == SQLITE:
        yield f"sqlite://{directory / 'state.db'}"
        return
    postgres, name = shared(Postgres), f"outbox{time.monotonic_ns()}"
    postgres.create_database(name)
    try:
        yield postgres.url(name)
    finally:
        postgres.drop_database(name)


def waiting(url: str) -> int:
    """Messages that wait, parked ones included."""
    return _count(url, MESSAGES)


def parked(url: str) -> int:
    """Keys that are held up."""
    return _count(url, PARKED)


def remembered(url: str) -> set[str]:
    """The names of writes whose outcome is kept."""
    return {bytes(name).decode() for (name,) in _ask(url, REQUESTS, [NAMESPACE.encode()])}


def _count(url: str, prefix: str) -> int:
    # The separator ends every prefix of the ledger, so the next character ends the range.
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    [(count,)] = _ask(url, COUNT, [text.encode() for text in (LEDGER, prefix, end)])
    return int(count)


def _ask(url: str, query: LiteralString, parameters: Sequence[bytes]) -> list[Any]:
    if url.startswith("sqlite://"):
        with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite://')}?mode=ro", uri=True)) as connection:
            return connection.execute(query.format(schema="", at="?"), parameters).fetchall()
    with closing(psycopg.connect(url, autocommit=True)) as server:
        return server.execute(query.format(schema="state_sidecar.", at="%s"), parameters).fetchall()
