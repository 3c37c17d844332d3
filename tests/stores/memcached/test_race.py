"""Twenty thousand lookups by four daemons among writers and evictions: none answers with what was told to be over."""

from __future__ import annotations

import pytest

from servers.base import shared
from servers.memcached import Memcached
from sidecar.stores.memcached import MemcachedCache
from tests.contract.adapters_memcached import RING_MB
from tests.stores.memcached.conftest import Open
from tests.stores.memcached.race import Race
from tests.stores.memcached.wrong_protocols import WRONG

DAEMONS = 4
LOOKUPS = 20_000
LOOKUPS_UNTIL_WRONG = 60_000


@pytest.mark.parametrize("servers", [1, 3])
async def test_no_lookup_is_stale(daemon: Open, servers: int) -> None:
    ring = [shared(Memcached, memory_mb) for memory_mb in RING_MB[:servers]]
    race = Race(seed=servers)

    await race.run([daemon(*ring, prefix=f"race {servers}").cache for _ in range(DAEMONS)], lookups=LOOKUPS)

    assert race.stale == []
    assert race.hits > LOOKUPS / 4
    assert race.fills > LOOKUPS / 100


@pytest.mark.parametrize("wrong", WRONG, ids=lambda kind: kind.__name__)
async def test_a_wrong_protocol_is_found(daemon: Open, wrong: type[MemcachedCache]) -> None:
    race = Race(seed=7)
    caches = [daemon(shared(Memcached), kind=wrong, prefix=f"race {wrong.__name__}").cache for _ in range(DAEMONS)]

    await race.run(caches, lookups=LOOKUPS_UNTIL_WRONG, stop_when_stale=True)

    assert race.stale
