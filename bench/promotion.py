"""Reads of what is only in the authority, and has to be brought to the cache: each key once.

Ours is a Get on PostgreSQL with Valkey before it. The other does by hand what an application with a cache beside its
database does: GET, then SELECT, then SET. `python -m bench.promotion` measures this alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import redis.asyncio

from bench.peers import CAS_INSERT, CAS_TABLE, Pool, pool
from bench.processes import daemon
from bench.racing import Call, Race, Side, Size, race, rate_to
from bench.stage import KILOBYTE, value
from servers.base import HOST
from servers.postgres import Postgres
from servers.redis import Valkey
from statesidecar import AsyncStateClient, SetOp

CALLERS = 32
NAMESPACE = "default"
APP = "bench"
PER_S = 8000
"""More than any side reads a second here: no block may run out of keys that nobody has read."""
TOGETHER = 100
OURS, BY_HAND = "Get", "GET, SELECT, SET"


def _name(number: int) -> str:
    return f"key-{number:06}"


async def _fill(target: str, connections: Pool, keys: int) -> None:
    """The same keys for both: in the daemon's tables, and in one of psycopg's."""
    content = value(KILOBYTE)
    async with AsyncStateClient(target, timeout_s=30.0) as client:
        for start in range(0, keys, TOGETHER * 8):
            parts = [range(first, first + TOGETHER) for first in range(start, start + TOGETHER * 8, TOGETHER)]
            await asyncio.gather(
                *(client.transact(NAMESPACE, [SetOp(_name(number), content) for number in part]) for part in parts)
            )
    await connections.rows(CAS_TABLE)
    await asyncio.gather(*(connections.rows(CAS_INSERT, _name(number).encode(), content) for number in range(keys)))


async def _measure(url: str, server: Postgres, valkey: Valkey, size: Size) -> list[Race]:
    keys = int(PER_S * size.block_s * (size.rounds + 1))
    direct = redis.asyncio.Redis(host=HOST, port=valkey.port, max_connections=CALLERS)
    async with pool(server) as connections, direct:
        # Another daemon writes, so that the one that is measured has none of it.
        with daemon(f"app={APP}", "tiers.hot=none://", f"tiers.warm={url}") as writer:
            await _fill(writer.target, connections, keys)
        await connections.rows("CHECKPOINT")
        with daemon(f"app={APP}", f"tiers.hot={valkey.url}", f"tiers.warm={url}") as running:
            async with AsyncStateClient(running.target) as client:
                ours, theirs = count(), count()

                async def get() -> None:
                    read = await client.get(NAMESPACE, _name(next(ours)))
                    assert read.entry is not None, "more keys were read than there are"

                async def by_hand() -> None:
                    name = _name(next(theirs))
                    if await direct.get(name) is None:
                        [[found]] = await connections.rows("SELECT value FROM bare WHERE key = %b", name.encode())
                        await direct.set(name, bytes(found))

                servers = [server.process.pid, valkey.process.pid]
                sides = [
                    Side(name=OURS, call_of=_always(get), pids=[running.pid, *servers]),
                    Side(name=BY_HAND, call_of=_always(by_hand), pids=servers),
                ]
                targets = [rate_to(OURS, BY_HAND)]
                title = "a miss with promotion, PostgreSQL to Valkey, 1 KB"
                return [await race(title, sides, targets, callers=CALLERS, size=size)]


def _always(call: Call) -> Callable[[int], Call]:
    return lambda _: call


def measure(progress: Callable[[str], None], size: Size) -> list[Race]:
    """On servers of its own."""
    progress("misses with promotion")
    with Postgres() as server, Valkey() as valkey:
        return size.run(_measure(server.url(schema="state_sidecar"), server, valkey, size))


if __name__ == "__main__":
    from bench.alone import run

    run(measure)
