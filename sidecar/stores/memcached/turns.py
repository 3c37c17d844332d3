"""Which daemon repairs the cache, and how far it came: an item for each generation, changed by compare-and-swap.

It lives as long as copies do and each renewal begins that anew: one that is over has no copies left to repair.
"""

from __future__ import annotations

from typing import NamedTuple

from sidecar.core.cache import REPAIR_TURN_MS, CacheUnavailable, Turn
from sidecar.stores.memcached import protocol
from sidecar.stores.memcached.connection import Connection
from sidecar.stores.memcached.protocol import Reply

ROUNDS_MAX = 4
"""Attempts to claim what others claim at the same time; then it is theirs."""
_FORMAT = b"1"


class _Kept(NamedTuple):
    owner: str
    cursor: int
    deadline: int


async def claim(
    connection: Connection, item: bytes, owner: str, *, begin: int | None, now: int, ttl_s: int
) -> Turn | None:
    """As `Cache.claim_repair`."""
    for _ in range(ROUNDS_MAX):
        (found,) = await connection.call([protocol.get(item)])
        if found.code == protocol.SERVER_ERROR:
            raise CacheUnavailable(f"memcached {connection.name} can't say whose turn it is to repair")
        kept = _read(found)
        if kept is not None and kept.owner != owner and now < kept.deadline:
            return None
        cursor = begin if kept is None else kept.cursor
        if cursor is None:
            return Turn(None)
        value = _written(_Kept(owner, cursor, now + REPAIR_TURN_MS))
        if found.code == protocol.VALUE:
            step = protocol.replace(item, value, cas=found.cas, ttl_s=ttl_s)
        else:
            step = protocol.add(item, value, ttl_s=ttl_s)
        (reply,) = await connection.call([step])
        if reply.code == protocol.DONE:
            return Turn(cursor)
    return None


async def renew(connection: Connection, item: bytes, owner: str, *, cursor: int, now: int, ttl_s: int) -> bool:
    """As `Cache.renew_repair`."""
    (found,) = await connection.call([protocol.get(item)])
    kept = _read(found)
    if kept is None or kept.owner != owner:
        return False
    value = _written(_Kept(owner, cursor, now + REPAIR_TURN_MS))
    (reply,) = await connection.call([protocol.replace(item, value, cas=found.cas, ttl_s=ttl_s)])
    return reply.code == protocol.DONE


def _written(kept: _Kept) -> bytes:
    return b"%b %d %d %b" % (_FORMAT, kept.cursor, kept.deadline, kept.owner.encode())


def _read(found: Reply) -> _Kept | None:
    if found.code != protocol.VALUE:
        return None
    try:
        form, cursor, deadline, owner = found.value.split(b" ", 3)
        kept = _Kept(owner.decode(), int(cursor), int(deadline))
    except ValueError:
        return None
    return kept if form == _FORMAT else None
