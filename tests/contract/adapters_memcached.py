"""Memcached under the contract: one server, and three that share the keys. Every cache has a prefix of its own."""

from __future__ import annotations

from itertools import count

from servers.base import shared
from servers.memcached import Memcached
from sidecar.stores.memcached import MemcachedCache, parse_target
from tests.contract.harnesses import CacheHarness
from tests.support.clock import ManualClock

LEASE_MS, NEGATIVE_MS = 3_000, 2_000
RING_MB = (62, 63, 64)
"""Servers are shared by their arguments: different ones are different servers."""

_prefixes = count(1)


def _make(servers: int) -> MemcachedCache:
    addresses = [shared(Memcached, memory_mb).address for memory_mb in RING_MB[:servers]]
    return MemcachedCache(
        parse_target(f"memcached://{','.join(addresses)}"),
        clock=ManualClock(),
        prefix=f"contract {next(_prefixes)}",
        lease_ms=LEASE_MS,
        negative_ms=NEGATIVE_MS,
        timeout_s=10.0,
    )


MEMCACHED_CACHE = CacheHarness(
    name="memcached",
    make=lambda _: _make(1),
    lease_ms=LEASE_MS,
    negative_ms=NEGATIVE_MS,
    bounded=False,  # memory is given to the server, in megabytes: tests/stores/memcached/test_eviction.py
)
MEMCACHED_RING_CACHE = CacheHarness(
    name="memcached-ring", make=lambda _: _make(3), lease_ms=LEASE_MS, negative_ms=NEGATIVE_MS, bounded=False
)
