"""Daemons that share memcached servers: each is a cache object of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from servers.memcached import Memcached
from sidecar.stores.memcached import MemcachedCache, parse_target
from tests.contract.adapters_memcached import MEMCACHED_CACHE
from tests.contract.harnesses import CacheUnderTest
from tests.support.clock import ManualClock

Open = Callable[..., CacheUnderTest]
Start = Callable[..., Memcached]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers that a test may harm."""
    with ExitStack() as stack:

        def started(*arguments: Any) -> Memcached:
            return stack.enter_context(Memcached(*arguments))

        yield started


@pytest.fixture
def clock() -> ManualClock:
    """The clock of all daemons, which times when they try again."""
    return ManualClock()


@pytest.fixture
async def daemon(clock: ManualClock) -> AsyncIterator[Open]:
    """Opens the cache of a daemon at servers, or at addresses; `kind` may be a wrong one."""
    opened: list[MemcachedCache] = []

    def open_(
        *servers: Memcached | str, kind: type[MemcachedCache] = MemcachedCache, query: str = "", **options: Any
    ) -> CacheUnderTest:
        addresses = [server if isinstance(server, str) else server.address for server in servers]
        options.setdefault("timeout_s", 10.0)
        cache = kind(parse_target(f"memcached://{','.join(addresses)}{query}"), clock=clock, **options)
        opened.append(cache)
        return CacheUnderTest(harness=MEMCACHED_CACHE, cache=cache)

    yield open_
    for cache in opened:
        await cache.close()
