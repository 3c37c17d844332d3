"""Queries on a snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import store_corrupt
from sidecar.core.store import ChangeKind, ChangePage, ChangeRow, Page
from sidecar.stores.ranges import key_range
from sidecar.stores.sqlite import rows
from sidecar.stores.sqlite.meta import Meta
from sidecar.stores.sqlite.queries import load, query

_SCAN_ENTRIES = query("scan entries")
_SCAN_HEADERS = query("scan headers")
_NEWEST_CHANGE = query("newest change")
_FIND_CHANGE = query("find change")
_LOAD_CHANGES = query("load changes")


def get(connection: sqlite3.Connection, namespace: str, keys: Sequence[str], now: int) -> list[Copy | None]:
    """The state of each key. Raises DataLoss."""
    scope = namespace.encode()
    found = load(connection, "load entries", {(scope, key.encode()): None for key in keys})
    return [_visible(namespace, key, found.get((scope, key.encode())), now) for key in keys]


def _visible(namespace: str, key: str, row: rows.Row | None, now: int) -> Copy | None:
    if row is None:
        return None
    copy = rows.decode(namespace, key, row)
    return None if type(copy) is Entry and copy.expired(now) else copy


def scan(
    connection: sqlite3.Connection,
    namespace: str,
    prefix: str,
    *,
    after: str | None,
    limit: int,
    bytes_max: int,
    keys_only: bool,
    now: int,
) -> Page:
    """A page in key order. Raises DataLoss."""
    lower, upper = key_range(prefix, after)
    statement = _SCAN_HEADERS if keys_only else _SCAN_ENTRIES
    entries: list[Entry] = []
    size = 0
    for key, *row in connection.execute(statement, (namespace.encode(), lower, upper, now, limit + 1)):
        copy = rows.decode(namespace, rows.decode_key(namespace, key), row)
        assert isinstance(copy, Entry), "the statement leaves tombstones out"
        size += len(copy.value)
        if len(entries) == limit or (entries and size > bytes_max):
            return Page(entries=tuple(entries), more=True)
        entries.append(copy)
    return Page(entries=tuple(entries), more=False)


def changes(connection: sqlite3.Connection, *, after: int | None, limit: int) -> ChangePage:
    """Change rows after a cursor. Raises DataLoss."""
    meta = Meta.load(connection)
    if after is None:
        ((newest,),) = connection.execute(_NEWEST_CHANGE)
        return ChangePage(changes=(), cursor=max(newest, meta.change_floor))
    # Cursors are ids of rows: one between them is of a database that this one is an older copy of.
    gap = after != meta.change_floor and (after < meta.change_floor or not _is_there(connection, after))
    begin = meta.change_floor if gap else after
    found = connection.execute(_LOAD_CHANGES, (begin, limit)).fetchall()
    try:
        told = tuple(
            ChangeRow(namespace=str(namespace, "utf-8"), key=str(key, "utf-8"), version=version, kind=ChangeKind(kind))
            for _, namespace, key, version, kind in found
        )
    except (TypeError, ValueError) as exc:
        raise store_corrupt("a change row does not verify") from exc
    cursors = tuple(row[0] for row in found)
    return ChangePage(changes=told, cursor=cursors[-1] if cursors else begin, gap=gap, cursors=cursors)


def _is_there(connection: sqlite3.Connection, change_id: int) -> bool:
    ((count,),) = connection.execute(_FIND_CHANGE, (change_id,))
    return bool(count)
