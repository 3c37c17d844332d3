"""Redis and Valkey as a cache under the contract: a server of each, and a Cluster. Every cache has a prefix of its own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from servers.base import shared
from servers.redis import Redis, RedisCluster, Valkey
from sidecar.stores.redis.cache import RedisCache
from sidecar.stores.redis.client import RedisClient
from sidecar.stores.redis.target import parse_target
from tests.contract.harnesses import CacheHarness
from tests.support.clock import ManualClock

LEASE_MS, NEGATIVE_MS = 3_000, 2_000
_prefixes = count(1)


class CacheWithClient(RedisCache):
    """Closes its client with itself."""

    def __init__(self, client: RedisClient, **options: Any) -> None:
        super().__init__(client, **options)
        self.client = client

    async def close(self) -> None:
        await super().close()
        await self.client.close()


def _harness(name: str, url: Callable[[], str]) -> CacheHarness:
    def make(_: int) -> RedisCache:
        return CacheWithClient(
            RedisClient(parse_target(url()), clock=ManualClock(), timeout_s=10.0),
            prefix=f"contract {next(_prefixes)}",
            lease_ms=LEASE_MS,
            negative_ms=NEGATIVE_MS,
        )

    # Memory is given to the server: tests/stores/redis/test_eviction.py.
    return CacheHarness(name=name, make=make, lease_ms=LEASE_MS, negative_ms=NEGATIVE_MS, bounded=False)


REDIS_CACHE = _harness("redis", lambda: shared(Redis).url)
VALKEY_CACHE = _harness("valkey", lambda: shared(Valkey).url)
REDIS_CLUSTER_CACHE = _harness("redis_cluster", lambda: shared(RedisCluster).url)
