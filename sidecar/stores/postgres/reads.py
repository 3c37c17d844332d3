"""What is read outside of transactions: statements, and what their rows mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import store_corrupt
from sidecar.core.store import ChangeKind, ChangePage, ChangeRow, Page
from sidecar.stores.postgres import rows
from sidecar.stores.postgres.arrays import BYTES, columns, integer
from sidecar.stores.postgres.queries import Queries
from sidecar.stores.postgres.transaction import Pair
from sidecar.stores.postgres.wire import Call, Row
from sidecar.stores.ranges import key_range


def get_call(queries: Queries, pairs: Sequence[Pair]) -> Call:
    """The rows of keys (at least one)."""
    return queries["get entries"], columns(pairs, (BYTES, BYTES))


def copies(namespace: str, keys: Sequence[str], found: Mapping[Pair, Row], now: int) -> list[Copy | None]:
    """The state of each key. Raises DataLoss."""
    scope = namespace.encode()
    return [_visible(namespace, key, found.get((scope, key.encode())), now) for key in keys]


def _visible(namespace: str, key: str, row: Row | None, now: int) -> Copy | None:
    if row is None:
        return None
    copy = rows.decode(namespace, key, row)
    return None if type(copy) is Entry and copy.expired(now) else copy


def scan_call(
    queries: Queries, namespace: str, prefix: str, *, after: str | None, limit: int, bytes_max: int, keys_only: bool
) -> Call:
    """Rows of a key range: one more than the page takes, where there is one."""
    parameters = [namespace.encode(), *key_range(prefix, after), integer(limit + 1)]
    if keys_only:
        return queries["scan headers"], parameters
    return queries["scan entries"], [*parameters, integer(bytes_max)]


def page(namespace: str, found: Sequence[Row], *, limit: int) -> Page:
    """A page in key order, of rows the last of which may be beyond it. Raises DataLoss."""
    beyond = len(found) > limit or bool(found and len(found[-1]) > rows.SCANNED_LENGTH and found[-1][-1] is None)
    entries: list[Entry] = []
    for key, *row in found[:-1] if beyond else found:
        copy = rows.decode(namespace, rows.decode_text(key), row)
        assert isinstance(copy, Entry), "the statement leaves tombstones out"
        entries.append(copy)
    return Page(entries=tuple(entries), more=beyond)


def horizon_calls(queries: Queries) -> list[Call]:
    """The last id of change rows, then the oldest that may be in flight: in this order, and before any row is read.

    A transaction announces, by a lock, the last id that it sees before it draws its own, and holds the lock until its
    rows can be seen. So one that drew an id of at most the `last change id` announced itself before that was read; it
    is either among those in flight, or its rows can be seen from then on.
    """
    return [(queries["last change id"], ()), (queries["oldest in flight"], [integer(queries.flights)])]


def horizon(last: Sequence[Row], oldest: Sequence[Row]) -> tuple[int, int]:
    """The last id, and the one up to which no row is yet to come."""
    ((newest,),), ((in_flight,),) = last, oldest
    return newest, newest if in_flight is None else min(newest, in_flight)


def changes_call(queries: Queries, *, after: int, up_to: int, limit: int) -> Call:
    """Change rows between two ids."""
    return queries["load changes"], [integer(after), integer(up_to), integer(limit)]


def change_page(found: Sequence[Row], *, after: int, newest: int) -> ChangePage:
    """The page of `load changes`. Raises DataLoss."""
    if not found:
        raise store_corrupt("the database's own row is missing")
    floor = found[0][0]
    told = [row[1:] for row in found if row[1] is not None]
    try:
        changes = tuple(
            ChangeRow(namespace=namespace.decode(), key=key.decode(), version=version, kind=ChangeKind(kind))
            for _, namespace, key, version, kind in told
        )
    except ValueError as exc:
        raise store_corrupt("a change row does not verify") from exc
    # A cursor beyond the newest row is of a database that this one is an older copy of.
    gap = not floor <= after <= newest
    begin = max(after, floor) if after <= newest else floor
    cursors = tuple(row[0] for row in told)
    return ChangePage(changes=changes, cursor=cursors[-1] if cursors else begin, gap=gap, cursors=cursors)
