"""What a connection asks first: whether this is a memcached that we can use, and which process it is.

A process is told from every other by its id, its start, and a marker: an item with a random value that whoever misses
it adds. A restart and a flush lose the marker, and two servers behind one name never share it. CAS uniques are counted
from 1 by each process, so one is only worth something together with the process that it comes from.
"""

from __future__ import annotations

import re
from secrets import token_hex

from sidecar.core.cache import CacheUnavailable
from sidecar.stores.memcached import protocol
from sidecar.stores.memcached.connection import Connection
from sidecar.stores.memcached.protocol import Command

OLDEST = (1, 6, 18)
"""From here on every reply repeats key and number: misses did not before."""
MARKER_ATTEMPTS_MAX = 3

_VERSION = re.compile(rb"(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


async def greet(connection: Connection, *, marker: bytes) -> None:
    """Have a new connection know its server. Raises CacheUnavailable with what an operator has to change."""
    name = connection.name
    (reply,) = await connection.call([Command(b"version")])
    text = reply.value.decode("latin-1")[:60]
    if b"unauthenticated" in reply.value:
        raise CacheUnavailable(f"memcached {name} asks for a user and password (-Y), which is not supported")
    match = _VERSION.match(reply.value)
    if reply.code != protocol.VERSION or match is None:
        raise CacheUnavailable(f"memcached {name} does not tell its version, it says {text!a}")
    if tuple(map(int, match.groups())) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise CacheUnavailable(f"memcached {name} has version {text}: its meta commands are used from {oldest} on")
    (settings,) = await connection.call([Command(b"stats settings")])
    stats = settings.stats or {}
    if stats.get(b"cas_enabled") == b"no":
        raise CacheUnavailable(f"memcached {name} runs with -C (no CAS), which leases need: start it without")
    size = stats.get(b"item_size_max", b"")
    if not size.isdigit():
        raise CacheUnavailable(f"memcached {name} does not tell its item_size_max: a proxy in between can't be used")
    connection.allow_items(int(size))
    connection.process = await read_process(connection, marker=marker)


async def read_process(connection: Connection, *, marker: bytes) -> str:
    """Which process is at the other end now; adds the marker where it is missing. Raises CacheUnavailable."""
    token = token_hex(16).encode()
    for _ in range(MARKER_ATTEMPTS_MAX):
        stats, found = await connection.call([Command(b"stats"), protocol.get(marker)])
        if found.code == protocol.VALUE:
            return f"{_start(stats.stats or {}, connection.name)}.{found.value[:64].decode('latin-1')}"
        await connection.call([protocol.add(marker, token, ttl_s=0)])
    raise CacheUnavailable(f"memcached {connection.name} keeps nothing: give it more memory (-m)")


def _start(stats: dict[bytes, bytes], name: str) -> str:
    try:
        return f"{int(stats[b'pid'])}.{int(stats[b'time']) - int(stats[b'uptime'])}"
    except (KeyError, ValueError):
        raise CacheUnavailable(f"memcached {name} does not tell its pid, time and uptime") from None
