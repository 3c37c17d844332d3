"""Redis and Valkey as an authority under the contract: a server of each, and a Cluster over which namespaces spread.

Scripts take the test's clock in the place of the server's. On servers that are shared, each directory is a prefix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from servers.base import shared
from servers.redis import Redis, RedisCluster, Valkey
from sidecar.stores.redis.client import RedisClient, Script
from sidecar.stores.redis.store import RedisStore
from sidecar.stores.redis.store_rows import field_of, shard_number, shards_of
from sidecar.stores.redis.target import parse_target
from tests.contract.harnesses import StoreHarness, StoreUnderTest
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE

CHANGES_MAX = 1_000
CLUSTER_SHARDS = 8
_SPOIL = b"""
local value = redis.call('HGET', KEYS[2], ARGV[1])
local last = bit.bxor(string.byte(value, -1), 1)
return redis.call('HSET', KEYS[2], ARGV[1], string.sub(value, 1, -2) .. string.char(last))
"""


class _StoreWithClient(RedisStore):
    """Closes its client with itself."""

    def __init__(self, client: RedisClient, **options: Any) -> None:
        super().__init__(client, **options)
        self.client = client

    async def close(self) -> None:
        await super().close()
        await self.client.close()


def _prefix(directory: Path) -> str:
    return hashlib.sha256(str(directory).encode()).hexdigest()[:12]


def _harness(name: str, url: Callable[[], str], *, shards: int = 1) -> StoreHarness:
    def make(directory: Path, clock: ManualClock) -> RedisStore:
        return _StoreWithClient(
            RedisClient(parse_target(url()), clock=clock, timeout_s=10.0),
            clock=clock,
            prefix=_prefix(directory),
            shards=shards,
            changes_max=CHANGES_MAX,
            server_clock=clock,
        )

    async def spoil(subject: StoreUnderTest, key: str) -> None:
        assert isinstance(subject.store, _StoreWithClient)
        shard = shards_of(_prefix(subject.directory), shards)[shard_number(NAMESPACE, shards)]
        await subject.store.client.run(Script("spoil", _SPOIL), shard.keys, [field_of(NAMESPACE, key)])

    async def lose(subject: StoreUnderTest) -> None:
        client = RedisClient(parse_target(url()), clock=subject.clock, timeout_s=10.0)
        for shard in shards_of(_prefix(subject.directory), shards):
            await client.run(Script("lose", b"return redis.call('DEL', unpack(KEYS))"), shard.keys, [])
        await client.close()

    return StoreHarness(
        name=name,
        durable=False,
        changes=shards == 1,
        quiet=False,
        make=make,
        forget_changes=_sweep_all,
        lose=lose,
        spoil=spoil,
    )


async def _sweep_all(subject: StoreUnderTest) -> None:
    await subject.store.sweep(subject.sweep_order(tombstone_retention_ms=0))


REDIS_STORE = _harness("redis", lambda: shared(Redis).url)
VALKEY_STORE = _harness("valkey", lambda: shared(Valkey).url)
REDIS_CLUSTER_STORE = _harness("redis_cluster", lambda: shared(RedisCluster).url, shards=CLUSTER_SHARDS)
