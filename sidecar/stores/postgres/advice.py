"""What an operator should know of a PostgreSQL server and of our role there: asked once, for `doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import NamedTuple

from sidecar.core.observed import Advice
from sidecar.stores.postgres.connector import Connector
from sidecar.stores.postgres.errors import ConnectionLost, ServerError, store_error

ASIDE = 2
"""Connections beside those of the pool: hints, and a count of what is held."""
ENDS = {
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
"""When a version gets its last release (https://www.postgresql.org/support/versioning/)."""


class Examined(NamedTuple):
    """A row of `examine`."""

    version: int
    superuser: bool
    fsync: str
    synchronous_commit: str
    full_page_writes: str
    read_only: str
    connections: int
    connected: int
    role_limit: int
    database_limit: int
    tables_refused: str


async def advice(connector: Connector, *, connections: int) -> list[Advice]:
    """All of it. `connections`: what one daemon's pool has. Raises SidecarError."""
    session = await connector.connect_aside()
    try:
        ((row,),) = await session.exchange([(connector.queries["examine"], ())])
    except (ServerError, ConnectionLost) as exc:
        raise store_error(exc) from exc
    finally:
        session.close()
    examined = Examined(*row)
    today = datetime.fromtimestamp(connector.server_clock.now() / 1000, UTC).date()
    return [*_losses(examined), *_role(examined), *_room(examined, connections + ASIDE), *_age(examined, today)]


def _losses(examined: Examined) -> Iterator[Advice]:
    if examined.fsync == "off":
        yield Advice("fsync is off: a crash of the server's machine loses what was acknowledged; set it to on")
    if examined.full_page_writes == "off":
        yield Advice("full_page_writes is off: a crash of the server's machine may corrupt pages; set it to on")
    if examined.synchronous_commit == "off":
        yield Advice(
            "synchronous_commit is off: a crash loses the writes of its last moments; set it to on for this role"
        )


def _role(examined: Examined) -> Iterator[Advice]:
    if examined.superuser:
        yield Advice(
            "the role is a superuser, which a daemon needs not be: make one that owns its database or schema only"
        )
    if examined.read_only == "on":
        yield Advice("transactions of this role are read-only: set default_transaction_read_only to off for it", True)
    if examined.tables_refused:
        yield Advice(
            f"the role may not read and write {examined.tables_refused}: grant it SELECT, INSERT, UPDATE, DELETE on the "
            "schema's tables and USAGE on its sequences, or make it their owner",
            True,
        )


def _room(examined: Examined, needed: int) -> Iterator[Advice]:
    if examined.connections - examined.connected < needed:
        yield Advice(
            f"{examined.connected} of {examined.connections} connections are in use, and another daemon takes {needed}: "
            "raise max_connections, put a pooler between, or lower connections in the URL"
        )
    for whose, limit in (("role", examined.role_limit), ("database", examined.database_limit)):
        if 0 <= limit < needed:
            yield Advice(f"the {whose} may have {limit} connections, and a daemon takes {needed}: raise its limit")


def _age(examined: Examined, today: date) -> Iterator[Advice]:
    major = examined.version // 10_000
    end = ENDS.get(major, date.max if major > max(ENDS) else date.min)
    if end < today:
        yield Advice(f"PostgreSQL {major} gets no more fixes: upgrade the server")
