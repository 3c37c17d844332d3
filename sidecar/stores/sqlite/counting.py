"""How much the file holds, counted in steps: no reader is taken from others for long, and no snapshot is held."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sidecar.core.ledger import LEDGER
from sidecar.core.marks import BLOB_STORED
from sidecar.core.observed import Census, Held
from sidecar.stores.sqlite.queries import query

ROWS_PER_STEP = 4_000

_COUNT_ENTRIES = query("count entries")
_LEDGER = LEDGER.encode()

Row = tuple[bytes, int, int, int, int, int, int]
Read = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]


async def census(read: Read, now: int) -> Census:
    """What is live. Rows keep their ids, so none is counted twice, whatever is written meanwhile."""
    held: dict[str, Held] = {}
    away: dict[str, Held] = {}
    after = 0
    while rows := await read(partial(_step, after=after, now=now)):
        for namespace, _, _, entries, size, away_entries, away_size in rows:
            if namespace != _LEDGER:
                name = namespace.decode(errors="replace")
                _add(held, name, entries, size)
                _add(away, name, away_entries, away_size)
        after = max(row[1] for row in rows)
        if sum(row[2] for row in rows) < ROWS_PER_STEP:
            break
    return Census(held=held, away=away)


def _step(connection: sqlite3.Connection, *, after: int, now: int) -> list[Row]:
    parameters = {"after": after, "limit": ROWS_PER_STEP, "now": now, "mark": BLOB_STORED}
    return connection.execute(_COUNT_ENTRIES, parameters).fetchall()


def _add(counts: dict[str, Held], namespace: str, entries: int, size: int) -> None:
    if entries:
        before = counts.get(namespace, Held(0, 0))
        counts[namespace] = Held(before.entries + entries, before.bytes + size)
