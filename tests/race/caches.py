"""The caches that are raced over, and the wrong protocols that the race has to find stale."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from servers.base import shared
from sidecar.core.cache import Cache
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryCache
from tests.sim import mutants

PROTOCOLS = ("ours", "unguarded", "version-guarded", "creating")

_MEMORY: dict[str, type[MemoryCache]] = {
    "ours": MemoryCache,
    "unguarded": mutants._UnguardedFill,
    "version-guarded": mutants._VersionGuardedFill,
    "creating": mutants._Creating,
}


def _memory(protocol: str) -> Callable[[], Cache]:
    cache = _MEMORY[protocol](bytes_max=1 << 24, identity="memory", shared=True)
    return lambda: cache


def _redis(kind: str, protocol: str) -> Callable[[], Cache]:
    from servers import redis as servers
    from sidecar.stores.redis import RedisCache, RedisClient
    from sidecar.stores.redis.target import parse_target
    from tests.stores.redis import wrong_protocols as wrong

    classes: dict[str, Any] = {
        "ours": RedisCache,
        "unguarded": wrong.UnguardedCache,
        "version-guarded": wrong.VersionGuardedCache,
        "creating": wrong.CreatingCache,
    }
    server: Any = shared(
        {"redis": servers.Redis, "valkey": servers.Valkey, "redis-cluster": servers.RedisCluster}[kind]
    )
    prefix, target = f"race-{uuid.uuid4().hex}/", parse_target(server.url)

    def connect() -> Cache:
        client = RedisClient(target, clock=SystemPorts().clock)
        cache: Cache = classes[protocol](client, prefix=prefix)
        cache.close = client.close  # type: ignore[method-assign]  # a client is closed by whoever made it
        return cache

    return connect


def _memcached(protocol: str) -> Callable[[], Cache]:
    from servers.memcached import Memcached
    from sidecar.stores.memcached import MemcachedCache
    from sidecar.stores.memcached.target import parse_target
    from tests.stores.memcached import wrong_protocols as wrong

    classes: dict[str, Any] = {
        "ours": MemcachedCache,
        "unguarded": wrong.FillWithoutCas,
        "version-guarded": wrong.FillGuardedByVersionOnly,
        "creating": wrong.WriterCreates,
    }
    server = shared(Memcached)
    prefix, target = f"race-{uuid.uuid4().hex}/", parse_target(f"memcached://127.0.0.1:{server.port}")

    def connect() -> Cache:
        cache: Cache = classes[protocol](target, clock=SystemPorts().clock, prefix=prefix)
        return cache

    return connect


CACHES: dict[str, Callable[[str], Callable[[], Cache]]] = {
    "memory": _memory,
    "redis": lambda protocol: _redis("redis", protocol),
    "valkey": lambda protocol: _redis("valkey", protocol),
    "redis-cluster": lambda protocol: _redis("redis-cluster", protocol),
    "memcached": _memcached,
}


@contextmanager
def connector(cache: str, protocol: str) -> Iterator[Callable[[], Cache]]:
    """Makes connections to an empty cache of a kind, by a protocol."""
    yield CACHES[cache](protocol)
