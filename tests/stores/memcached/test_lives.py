"""How long memcached keeps what, which only frees memory; and whose items are believed."""

from __future__ import annotations

import pytest

from servers.base import shared
from servers.memcached import Memcached
from sidecar.core.cache import Fill, Hit, Miss
from sidecar.stores.memcached import items, talk
from sidecar.stores.memcached.items import Keys
from sidecar.stores.memcached.talk import ttl_s
from tests.contract.harnesses import CacheUnderTest
from tests.stores.memcached.conftest import Open
from tests.support.clock import START_MS
from tests.support.factories import entry

HOUR_MS = 3_600_000


def server() -> Memcached:
    return shared(Memcached)


def life_s(prefix: str, key: str = "key") -> int:
    """The time that memcached gives an item."""
    said = server().ask(b"mg %b t\r\n" % Keys(prefix).of("contract", key)).split()
    assert said[0] == b"HD", said
    return int(said[1][1:])


def plant(prefix: str, key: str, value: bytes) -> None:
    """Put an item there behind the cache's back."""
    said = server().ask(b"ms %b %d T100\r\n%b\r\n" % (Keys(prefix).of("contract", key), len(value), value))
    assert said == b"HD\r\n"


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [(-5, 1), (0, 1), (1, 2), (1000, 2), (1001, 3), (1_800_000, 1801)]
)
def test_a_life_is_rounded_up_and_never_without_end(milliseconds: int, seconds: int) -> None:
    assert ttl_s(milliseconds) == seconds


async def test_an_entry_leaves_at_its_end(daemon: Open) -> None:
    cache = daemon(server(), prefix="end")
    await cache.hold(entry(expire_time=START_MS + 100_000, ttl_ms=100_000))

    assert 99 <= life_s("end") <= 101


@pytest.mark.parametrize("ttl_ms", [None, 40 * 24 * HOUR_MS], ids=["without end", "above memcached's 30 days"])
async def test_a_long_life_ends_at_the_bound_or_a_little_before(daemon: Open, ttl_ms: int | None) -> None:
    cache = daemon(server(), prefix=f"long {ttl_ms}", life_ms_max=HOUR_MS)
    keys = [f"{n}" for n in range(50)]
    for key in keys:
        await cache.hold(entry(key=key, ttl_ms=ttl_ms, expire_time=None if ttl_ms is None else START_MS + ttl_ms))

    lives = [life_s(f"long {ttl_ms}", key) for key in keys]

    assert all(0.89 * 3600 < life <= 3601 for life in lives)
    assert max(lives) - min(lives) > 200, "what came together does not leave together"


async def test_a_replaced_entry_gets_the_life_of_the_new_one(daemon: Open) -> None:
    cache = daemon(server(), prefix="replaced")
    await cache.hold(entry(expire_time=START_MS + 1_000_000))
    await cache.apply(entry(version=2, expire_time=START_MS + 100_000))

    assert 99 <= life_s("replaced") <= 101


async def test_placeholders_and_cached_misses_leave_soon(daemon: Open) -> None:
    cache = daemon(server(), prefix="soon", lease_ms=20_000, negative_ms=50_000)
    lease = await cache.lease()
    assert 19 <= life_s("soon") <= 21
    await cache.fill(None, lease)

    assert 49 <= life_s("soon") <= 51


FOREIGN = {
    "nothing": b"",
    "garbage": b"\1" * 200,
    "another key's entry": items.held("contract", "other", entry(key="other"), generation=1, end=None),
    "another format": b"\2" + items.held("contract", "key", entry(), generation=1, end=None)[1:],
    "half an entry": items.held("contract", "key", entry(), generation=1, end=None)[:-1],
}


@pytest.mark.parametrize("value", FOREIGN.values(), ids=FOREIGN.keys())
async def test_an_item_that_is_not_this_keys_is_a_miss_and_gives_way(daemon: Open, value: bytes) -> None:
    prefix = f"foreign {value!r}"
    cache = daemon(server(), prefix=prefix)
    plant(prefix, "key", value)

    await cache.hold(entry())

    assert await cache.held() == entry()


@pytest.mark.parametrize("value", FOREIGN.values(), ids=FOREIGN.keys())
async def test_an_item_that_is_not_this_keys_goes_when_a_state_is_told(daemon: Open, value: bytes) -> None:
    prefix = f"told {value!r}"
    cache = daemon(server(), prefix=prefix)
    plant(prefix, "key", value)
    await cache.apply(entry())

    assert server().ask(b"mg %b v\r\n" % Keys(prefix).of("contract", "key")) == b"EN\r\n"


async def test_caches_with_different_prefixes_do_not_meet(daemon: Open) -> None:
    one, other = daemon(server(), prefix="one"), daemon(server(), prefix="other")
    await one.hold(entry())
    await other.cache.invalidate("contract", ["key"])

    assert await one.get() == Hit(entry())
    assert isinstance(await other.get(), Miss)


async def lease_for_a_writer(cache: CacheUnderTest, generation: int = 1) -> str | None:
    (lease,) = await cache.cache.lease("contract", ["key"], generation=generation, now=cache.now)
    return lease


async def test_a_writer_gets_a_lease_where_there_is_no_copy(daemon: Open) -> None:
    cache = daemon(server(), prefix="writer")
    first = await lease_for_a_writer(cache)
    assert first
    assert await lease_for_a_writer(cache) is None, "a lease is out"
    assert await cache.fill(None, first)

    second = await lease_for_a_writer(cache)

    assert second, "a cached miss gives way"
    assert isinstance(await cache.get(), Miss)
    assert await cache.fill(entry(), second)
    assert await lease_for_a_writer(cache) is None, "there is a copy"
    assert await cache.held() == entry()
    assert await lease_for_a_writer(cache, generation=2), "of another generation"


async def test_a_fill_of_many_keys_counts_those_that_were_stored(daemon: Open) -> None:
    cache = daemon(server(), prefix="count")
    keys = [f"{n}" for n in range(100)]
    leases = await cache.cache.lease("contract", keys, generation=1, now=cache.now)
    await cache.cache.invalidate("contract", keys[:30])

    fills = [Fill(key, entry(key=key), lease or "") for key, lease in zip(keys, leases, strict=True)]

    assert await cache.cache.fill("contract", fills, generation=1, now=cache.now) == 70


async def test_of_several_states_of_a_key_in_one_call_the_newest_stays(daemon: Open) -> None:
    cache = daemon(server(), prefix="several")
    await cache.hold(entry(version=1))
    await cache.apply(*[entry(version=version) for version in (2, 7, 4, 7, 3)])

    assert await cache.held() == entry(version=7)


async def test_any_number_of_states_is_told_in_one_call(daemon: Open) -> None:
    cache = daemon(server(), prefix="many")
    keys = [f"{n}" for n in range(3 * talk.APPLIED_AT_ONCE_MAX + 1)]
    for key in keys:
        await cache.hold(entry(key=key, version=1))
    await cache.apply(*[entry(key=key, version=2) for key in keys])

    answers = await cache.cache.get("contract", keys, generation=1, now=cache.now)
    assert answers == [Hit(entry(key=key, version=2)) for key in keys]


async def test_what_can_not_be_settled_is_deleted(daemon: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = daemon(server(), prefix="unsettled")
    await cache.hold(entry(version=1))
    monkeypatch.setattr(talk, "ROUNDS_MAX", 0)
    await cache.apply(entry(version=2))

    assert isinstance(await cache.get(), Miss)
