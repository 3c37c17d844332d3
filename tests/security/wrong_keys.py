"""Operations that are cancelled or time out at random while replies are late: does anybody get another key's reply?

    python -m tests.security.wrong_keys --operations 1000000 [--seed N] [--subject redis-cache|redis-store|postgres]

Every value carries its key, and every key has one. Another key's value, no value, and what does not verify are all wrong
answers. The operations are shared out among the subjects: a cache and a store in Redis, a store in PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from servers.base import shared, stop_shared
from servers.postgres import Postgres
from servers.redis import Valkey
from sidecar.core.cache import CacheUnavailable, Fill, Miss
from sidecar.core.entry import Entry
from sidecar.core.errors import LimitExceeded, OutcomeUnknown, StoreUnavailable
from sidecar.core.operations import Append, Change, Put
from sidecar.core.store import Store
from sidecar.stores.postgres import PostgresStore, parse_target
from sidecar.stores.redis.cache import RedisCache
from sidecar.stores.redis.client import RedisClient
from sidecar.stores.redis.store import RedisStore
from sidecar.stores.redis.target import parse_target as parse_redis
from tests.security.delaying import delaying_proxy
from tests.support.factories import NAMESPACE, entry, write

KEYS = [f"key-{number}" for number in range(200)]
WORKERS = 64
TIMEOUT_S, STALL_S = 0.15, 0.4
"""Of the adapters; and for how long the proxy holds back what then is too late."""
HURRIED = 0.25
"""Of the operations are cancelled or have a deadline of up to `HURRY_S`, within which most replies come."""
HURRY_S = 0.004
AWAY = (StoreUnavailable, OutcomeUnknown, LimitExceeded, CacheUnavailable)
NOT_VERIFIED = ("did not verify", "something else")


class HurriedClock:
    """The machine's, whose seconds pass a hundred times as fast for whoever waits before connecting again."""

    def now(self) -> int:
        """Milliseconds since 1970 (UTC)."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since some instant, hundredths of them."""
        return time.monotonic() * 100


@dataclass
class Tally:
    """What came of the operations."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def cut(self) -> float:
        """The part of the operations that were cancelled, or timed out."""
        return (self.counts["cancelled"] + self.counts["timed out"]) / max(1, self.counts.total())

    def check(self, key: str, value: bytes | None) -> None:
        """See that a reply is the key's: a list with the key in it, and no other's."""
        own = b'"%s"' % key.encode()
        if value is None or own not in value or b'"key-' in value.replace(own, b""):
            self.wrong.append(f"{key} got {'nothing' if value is None else value[:40]!r}")


Operation = Callable[[Random, Tally], Awaitable[None]]


def value_of(key: str, random: Random) -> bytes:
    """A list that ends with the key, now and then a long one."""
    return b'["%s","%s"]' % (b"x" * random.choice((1, 10, 3000)), key.encode())


async def ask_store(store: Store, random: Random, tally: Tally) -> None:
    """A read of some keys, or a write that returns what it made of the key's value."""
    if random.random() < 0.8:
        keys = random.sample(KEYS, random.choice((1, 1, 1, 5)))
        for key, copy in zip(keys, await store.get(NAMESPACE, keys), strict=True):
            tally.check(key, copy.value if isinstance(copy, Entry) else None)
        return
    key = random.choice(KEYS)
    if random.random() < 0.5:
        await store.commit(write(Put(key=key, value=value_of(key, random))))
        return
    outcome = await store.commit(write(Change(key=key, change=Append(items=(key,), max_items=3), return_value=True)))
    (result,) = outcome.results
    tally.check(key, result.value)


async def ask_cache(cache: RedisCache, random: Random, tally: Tally) -> None:
    """A read of some keys, which fills what is missing, or a change."""
    keys = random.sample(KEYS, random.choice((1, 1, 1, 5)))
    if random.random() < 0.1:
        await cache.invalidate(NAMESPACE, keys)
        return
    for key, found in zip(keys, await cache.get(NAMESPACE, keys, generation=1, now=1), strict=True):
        if not isinstance(found, Miss):
            tally.check(key, found.copy.value if isinstance(found.copy, Entry) else None)
        elif found.lease:
            copy = entry(key=key, value=value_of(key, random))
            await cache.fill(NAMESPACE, [Fill(key, copy, found.lease)], generation=1, now=1)


@asynccontextmanager
async def redis_client(random: Random) -> AsyncIterator[RedisClient]:
    async with delaying_proxy(shared(Valkey).port, random, stall_s=STALL_S) as port:
        client = RedisClient(parse_redis(f"redis://127.0.0.1:{port}"), clock=HurriedClock(), timeout_s=TIMEOUT_S)
        try:
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def redis_cache(random: Random) -> AsyncIterator[Operation]:
    async with redis_client(random) as client:
        yield partial(ask_cache, RedisCache(client, prefix="wrong keys/"))


@asynccontextmanager
async def redis_store(random: Random) -> AsyncIterator[Operation]:
    async with redis_client(random) as client:
        direct = RedisClient(parse_redis(shared(Valkey).url), clock=HurriedClock())
        await seed(RedisStore(direct, clock=HurriedClock(), prefix="wrong keys"))
        await direct.close()
        yield partial(ask_store, RedisStore(client, clock=HurriedClock(), prefix="wrong keys"))


@asynccontextmanager
async def postgres(random: Random) -> AsyncIterator[Operation]:
    direct = PostgresStore(parse_target(shared(Postgres).url(schema="wrong_keys")), clock=HurriedClock())
    await seed(direct)
    await direct.close()
    async with delaying_proxy(shared(Postgres).port, random, stall_s=STALL_S) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?schema=wrong_keys"
        store = PostgresStore(parse_target(url), clock=HurriedClock(), timeout_s=TIMEOUT_S)
        with contextlib.suppress(StoreUnavailable):  # it is asked again by whoever needs it
            await store.open()
        try:
            yield partial(ask_store, store)
        finally:
            await store.close()


async def seed(store: Store) -> None:
    await store.open()
    random = Random(1)
    for begin in range(0, len(KEYS), 50):
        operations = [Put(key=key, value=value_of(key, random)) for key in KEYS[begin : begin + 50]]
        await store.commit(write(*operations))


SUBJECTS: Mapping[str, Callable[[Random], contextlib.AbstractAsyncContextManager[Operation]]] = {
    "redis-cache": redis_cache,
    "redis-store": redis_store,
    "postgres": postgres,
}


async def run(subject: str, operations: int, seed: int) -> Tally:
    """So many operations, by many workers at once."""
    random, tally = Random(seed), Tally()
    left = operations

    async def work(ask: Operation) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            tally.counts[await one(ask, random, tally)] += 1

    async with SUBJECTS[subject](random) as ask, asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work(ask))
    return tally


async def one(ask: Operation, random: Random, tally: Tally) -> str:
    """What came of one operation."""
    drawn = random.random()
    try:
        if drawn >= HURRIED:
            await ask(random, tally)
        elif drawn >= HURRIED / 2:
            async with asyncio.timeout(random.uniform(0, HURRY_S)):
                await ask(random, tally)
        else:
            asked = asyncio.ensure_future(ask(random, tally))
            asyncio.get_running_loop().call_later(random.uniform(0, HURRY_S), asked.cancel)
            await asyncio.wait([asked])
            if asked.cancelled():
                return "cancelled"
            asked.result()
    except TimeoutError:
        return "timed out"
    except AWAY as exc:
        if any(words in str(exc) for words in NOT_VERIFIED):
            tally.wrong.append(repr(exc))
        return "away"
    except Exception as exc:  # noqa: BLE001  # a reply of another form than was asked for
        tally.wrong.append(repr(exc))
        return "failed"
    return "answered"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 1 where there was a wrong answer, or too few operations were cut short to say anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.wrong_keys")
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--subject", choices=SUBJECTS, action="append")
    options = parser.parse_args(arguments)
    subjects: list[str] = options.subject or list(SUBJECTS)
    bad = False
    for subject in subjects:
        began = time.monotonic()
        tally = asyncio.run(run(subject, options.operations // len(subjects), options.seed))
        seconds = time.monotonic() - began
        told: dict[str, Any] = {"subject": subject, "operations": tally.counts.total(), **tally.counts}
        told |= {"cut": round(tally.cut, 3), "wrong": len(tally.wrong), "seconds": round(seconds, 1)}
        print(json.dumps(told), *tally.wrong[:5], sep="\n", flush=True)
        bad = bad or bool(tally.wrong) or tally.cut < 0.05
    stop_shared()
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
