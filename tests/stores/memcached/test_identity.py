"""The identity changes when servers may hold something else than they heard, and leases end with their process."""

from __future__ import annotations

import asyncio

import pytest

from servers.base import HOST, free_ports, shared
from servers.memcached import Memcached
from sidecar.core.cache import CacheUnavailable, Hit, Miss
from tests.stores.memcached.conftest import Open, Start
from tests.stores.memcached.waiting import until, until_it_answers
from tests.support.clock import ManualClock
from tests.support.factories import entry
from tests.support.proxy import running_proxy


async def test_all_daemons_see_the_same_identity(daemon: Open, start: Start) -> None:
    one, other = start(), start()

    identities = {
        await daemon(one, other).cache.identity(),
        await daemon(other, one).cache.identity(),
        await daemon(one, other, query="?connections=5").cache.identity(),
    }

    assert len(identities) == 1


async def test_other_servers_or_another_prefix_are_another_cache(daemon: Open, start: Start) -> None:
    one, other = start(), start()

    identities = {
        await daemon(one).cache.identity(),
        await daemon(other).cache.identity(),
        await daemon(one, other).cache.identity(),
        await daemon(one, other, prefix="p").cache.identity(),
    }

    assert len(identities) == 4


@pytest.mark.parametrize("harm", ["restart", "kill", "flush"])
async def test_a_server_that_forgot_makes_it_another(daemon: Open, start: Start, clock: ManualClock, harm: str) -> None:
    servers = [start(), start()]
    caches = [daemon(*servers), daemon(*servers)]
    before = [await cache.cache.identity() for cache in caches]

    if harm == "flush":
        servers[1].flush()
    else:
        servers[1].end() if harm == "restart" else servers[1].kill()
        servers[1].restart()

    for cache in caches:
        await until_it_answers(lambda cache=cache: cache.get("x"), clock)  # type: ignore[misc]  # bound at once
    after = [await cache.cache.identity() for cache in caches]
    assert before[0] == before[1]
    assert after[0] == after[1]
    assert after[0] != before[0]


async def test_a_server_that_is_away_counts_as_it_was_seen(daemon: Open, start: Start) -> None:
    servers = [start(), start()]
    cache = daemon(*servers)
    before = await cache.cache.identity()
    servers[0].kill()

    assert await cache.cache.identity() == before
    assert await cache.cache.identity() == before


async def test_a_server_that_was_never_seen_leaves_it_unknown(daemon: Open) -> None:
    cache = daemon(shared(Memcached), f"{HOST}:{free_ports(1)[0]}")

    with pytest.raises(CacheUnavailable):
        await cache.cache.identity()


async def test_a_flush_under_load_is_noticed_and_nothing_wrong_is_read(daemon: Open, start: Start) -> None:
    server = start()
    cache = daemon(server)
    seen = {await cache.cache.identity()}
    for n in range(100):
        await cache.hold(entry(key=f"{n}"))
        if n % 10 == 9:
            lease = await cache.lease("pending")
            server.flush()
            seen.add(await cache.cache.identity())
            cache.generation += 1
            assert not await cache.fill(entry(key="pending"), lease, key="pending")
            assert isinstance(await cache.get(f"{n}"), Miss)

    assert len(seen) == 11


async def test_a_server_behind_the_same_name_is_believed_only_in_a_newer_generation(
    daemon: Open, start: Start, clock: ManualClock
) -> None:
    """A name leads to X, then to Y, then to X again, which missed what was told to Y."""
    x, y = start(), start()
    async with running_proxy(x.address) as name:
        cache = daemon(name.target)
        identities = [await cache.cache.identity()]
        await cache.hold(entry(version=1))
        for server in (y, x):
            name._to = (HOST, server.port)
            name.cut()

            async def another() -> bool:
                identities.append(await cache.cache.identity())
                return identities[-1] != identities[-2]

            await until(another, clock)
            await cache.apply(entry(version=2)) if server is y else None

        assert identities[-1] == identities[0], "it is X again"
        assert await daemon(x).held() == entry(version=1), "where the old copy still is"
        assert await cache.get() == Miss(None)
        cache.generation = 2
        assert await cache.lease()


async def test_connections_to_the_process_before_end_when_another_answers(daemon: Open, start: Start) -> None:
    """The first connection still leads to X when the second one finds Y: one of them would give each lease again."""
    x, y = start(), start()
    async with running_proxy(x.address) as name:
        cache = daemon(name.target, query="?connections=2")
        x_only = await cache.cache.identity()
        await cache.get()
        name._to = (HOST, y.port)
        while await cache.cache.identity() == x_only:
            await asyncio.gather(*(cache.get() for _ in range(4)), return_exceptions=True)
        cache.generation = 2
        while name.connections < 3:
            await asyncio.gather(*(cache.get("other") for _ in range(4)), return_exceptions=True)

        answers = await asyncio.gather(*(cache.get() for _ in range(40)))

    assert [isinstance(answer, Miss) and answer.lease is not None for answer in answers].count(True) == 1
    assert await daemon(y).get(generation=2) == Miss(None), "at Y"


async def test_a_lease_of_before_a_restart_does_not_fill_a_placeholder_of_after_it(
    daemon: Open, start: Start, clock: ManualClock
) -> None:
    """CAS uniques begin at 1 again: both placeholders have the same."""
    server = start()
    reader = daemon(server)
    old = await reader.lease()
    server.end()
    server.restart()
    other = daemon(server)
    new = await other.lease()
    assert old.split(":")[0] == new.split(":")[0]
    assert old != new

    stored = await until_it_answers(lambda: reader.fill(entry(version=1), old), clock)

    assert not stored
    assert await other.fill(entry(version=2), new)
    assert await other.get() == Hit(entry(version=2))


async def test_a_lease_of_one_server_fills_nothing_at_another(daemon: Open, start: Start) -> None:
    """Two servers count alike, so their CAS uniques are the same."""
    servers = [start(), start()]
    cache = daemon(*servers)
    leases = {key: await cache.lease(key) for key in map(str, range(40))}
    uniques: dict[str, list[str]] = {}
    for key, lease in leases.items():
        uniques.setdefault(lease.split(":")[0], []).append(key)
    pairs = [keys for keys in uniques.values() if len(keys) == 2]
    assert pairs, leases

    for one, other in pairs:
        assert leases[one] != leases[other]
        assert not await cache.fill(entry(key=one), leases[other], key=one)
        assert await cache.fill(entry(key=one), leases[one], key=one)
