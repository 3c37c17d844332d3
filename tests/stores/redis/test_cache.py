"""What the cache promises beyond the contract: exact names and versions, bounded lives, bytes that verify."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.base import shared
from servers.redis import Redis, RedisCluster, Valkey
from sidecar.core.cache import CacheUnavailable, Hit, Miss
from sidecar.core.entry import Entry
from sidecar.stores.redis import codec
from sidecar.stores.redis.cache import LIFE_JITTER, SLACK_MS, RedisCache
from sidecar.stores.redis.codec import Lease, Names, NotOurs
from tests.contract.harnesses import CacheUnderTest
from tests.stores.redis.support import cache_of, new_prefix
from tests.support.clock import START_MS
from tests.support.factories import NAMESPACE, entry, tombstone

LIFE_MS = 1_000_000


def name_of(cache: CacheUnderTest, key: str = "key") -> bytes:
    """Its Redis key."""
    assert isinstance(cache.cache, RedisCache)
    return cache.cache._names.space(NAMESPACE) + key.encode()


# ---- versions


@pytest.mark.parametrize("base", [1 << 53, 7 << 48, (1 << 63) - 3], ids=["2^53", "epoch 7", "the last"])
@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_versions_that_are_one_double_are_two_versions(kind: type[Valkey], base: int) -> None:
    async with cache_of(shared(kind).url) as cache:
        await cache.hold(entry(version=base + 1, value=b"old"))
        await cache.apply(entry(version=base, value=b"older"))
        assert await cache.held() == entry(version=base + 1, value=b"old")

        await cache.apply(entry(version=base + 2, value=b"new"))

        assert await cache.held() == entry(version=base + 2, value=b"new")


@pytest.mark.parametrize(
    ("old", "new"), [(1 << 32, (1 << 32) + 1), ((1 << 32) - 1, 1 << 32), (1, 1 << 33), (0x80, 0x7F00)]
)
async def test_halves_of_versions_are_compared_in_their_order(old: int, new: int) -> None:
    async with cache_of(shared(Valkey).url) as cache:
        await cache.hold(entry(version=old))
        await cache.apply(entry(version=new))
        assert await cache.held() == entry(version=new)

        await cache.apply(entry(version=old))

        assert await cache.held() == entry(version=new)


# ---- names

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text("{}:%1a", max_size=8)


@given(st.lists(st.tuples(texts, texts, texts), min_size=2, max_size=2, unique=True))
def test_no_two_keys_have_one_name(pair: list[tuple[str, str, str]]) -> None:
    one, other = (Names(prefix).space(namespace) + key.encode() for prefix, namespace, key in pair)

    assert one != other


@given(texts, texts, st.integers(0, 1 << 60))
def test_no_mark_has_the_name_of_a_copy(prefix: str, namespace: str, number: int) -> None:
    names = Names(prefix)
    space = names.space(namespace)

    for mark in (names.marker(None), names.marker(number), names.turn, names.channel):
        assert not mark.startswith(space)
        assert not space.startswith(mark)


@given(st.text("{}ab", min_size=1, max_size=6))
def test_no_prefix_puts_all_keys_into_one_slot(prefix: str) -> None:
    assert b"{" not in Names(prefix).space("n")


@pytest.mark.parametrize("key", ["a{b}c", "{}", "{", "a\0b", "a\r\nb", "*", "é" * 500])
@pytest.mark.parametrize("kind", [Valkey, RedisCluster])
async def test_any_key_will_do(kind: Any, key: str) -> None:
    async with cache_of(shared(kind).url) as cache:
        await cache.hold(entry(key=key, value=b"\0"))
        await cache.apply(entry(key=key, version=2))

        assert await cache.held(key) == entry(key=key, version=2)


async def test_caches_of_two_prefixes_are_apart() -> None:
    async with cache_of(shared(Valkey).url) as one, cache_of(shared(Valkey).url) as other:
        await one.hold(entry())

        assert isinstance(await other.get(), Miss)
        await other.cache.invalidate(NAMESPACE, ["key"])
        assert await one.held() == entry()


# ---- lives


async def test_what_is_kept_has_an_end_in_redis() -> None:
    """Every kind of slot, after every kind of step; a copy's life is bounded though it has no expire time."""
    server = shared(Valkey)
    async with cache_of(server.url, lease_ms=3_000, negative_ms=2_000, life_ms_max=LIFE_MS) as cache:
        await cache.lease("placeholder")
        (lease,) = await cache.cache.lease(NAMESPACE, ["writer's"], generation=1, now=cache.now)
        assert lease
        await cache.hold(None, key="missing")
        await cache.hold(tombstone(key="gone"))
        await cache.hold(entry(key="endless"))
        await cache.hold(entry(key="long", expire_time=START_MS + 10 * LIFE_MS))
        await cache.hold(entry(key="short", expire_time=START_MS + 10_000))
        await cache.hold(entry(key="over", expire_time=START_MS))
        await cache.hold(entry(key="replaced"))
        await cache.apply(entry(key="replaced", version=2, expire_time=START_MS + 10_000, ttl_ms=10_000))
        bounds = {
            "placeholder": (3_000, 3_000 + SLACK_MS),
            "writer's": (3_000, 3_000 + SLACK_MS),
            "missing": (2_000, 2_000 + SLACK_MS),
            "gone": (2_000, 2_000 + SLACK_MS),
            "endless": (LIFE_MS * (1 - LIFE_JITTER) - 1_000, LIFE_MS),
            "long": (LIFE_MS * (1 - LIFE_JITTER) - 1_000, LIFE_MS),
            "short": (10_000, 10_000 + SLACK_MS),
            "over": (0, SLACK_MS),
            "replaced": (10_000, 10_000 + SLACK_MS),
        }
        for key, (least, most) in bounds.items():
            assert least <= server.ask("PTTL", name_of(cache, key)) <= most, key


async def test_lives_that_began_together_do_not_end_together() -> None:
    server = shared(Valkey)
    async with cache_of(server.url, life_ms_max=LIFE_MS, random=Random(3)) as cache:
        for number in range(50):
            await cache.hold(entry(key=f"{number}"))
        lives = [server.ask("PTTL", name_of(cache, f"{number}")) for number in range(50)]

    assert max(lives) - min(lives) > LIFE_MS * LIFE_JITTER / 2


async def test_the_life_of_a_copy_is_its_end() -> None:
    async with cache_of(shared(Valkey).url, life_ms_max=10, lease_ms=10_000) as cache:
        await cache.hold(entry())
        shared(Valkey).ask("BLPOP", f"nothing {new_prefix()}", "0.05")

        assert isinstance(await cache.get(), Miss)


# ---- bytes


async def test_a_copy_of_another_key_does_not_verify() -> None:
    """What a connection that lost count would bring: the reply of another call."""
    server = shared(Valkey)
    async with cache_of(server.url) as cache:
        for key in ("one", "other"):
            await cache.hold(entry(key=key, value=key.encode()))
        server.ask("SET", name_of(cache, "one"), server.ask("GET", name_of(cache, "other")))

        with pytest.raises(CacheUnavailable, match="did not verify, and was dropped"):
            await cache.get("one")
        assert await cache.lease("one")
        assert await cache.held("other") == entry(key="other", value=b"other")


async def test_a_reply_of_another_kind_is_no_copy_and_its_connection_is_not_believed() -> None:
    async with cache_of(shared(Valkey).url) as cache:
        await cache.hold(entry())
        client: Any = cache.cache._client  # type: ignore[attr-defined]  # the adapter's own
        connection = client._node and client._node.ready()
        assert connection is not None
        read = client.read

        async def out_of_step(names: Sequence[bytes]) -> Any:
            _, processes = await read(names)
            return [1], processes

        client.read = out_of_step  # what a connection that lost count brings
        with pytest.raises(CacheUnavailable, match="something else"):
            await cache.get()
        client.read = read

        assert not connection.usable
        assert await cache.held("key") == entry()


async def test_a_copy_with_a_wrong_bit_is_dropped() -> None:
    server = shared(Valkey)
    async with cache_of(server.url) as cache:
        await cache.hold(entry())
        slot = server.ask("GET", name_of(cache))
        for at in range(len(slot)):
            if at == 4:  # the format: another release's
                continue
            server.ask("SET", name_of(cache), slot[:at] + bytes([slot[at] ^ 0x10]) + slot[at + 1 :])
            with pytest.raises(CacheUnavailable):
                await cache.get()
            assert server.ask("EXISTS", name_of(cache)) == 0, at


@pytest.mark.parametrize("slot", [b"", b"x", b"x" * 29, b"\0\0\0\0\x01E" + b"x" * 24])
async def test_what_somebody_else_put_there_is_dropped(slot: bytes) -> None:
    server = shared(Valkey)
    async with cache_of(server.url) as cache:
        server.ask("SET", name_of(cache), slot)
        with pytest.raises(CacheUnavailable):
            await cache.get()

        assert await cache.lease()


async def test_a_slot_of_another_format_is_a_miss_and_gives_way() -> None:
    """A rollout: the next release's copies are nothing to this one, and stale ones do not stay."""
    server = shared(Valkey)
    async with cache_of(server.url) as cache:
        for tell in (False, True):
            server.ask("SET", name_of(cache), b"\0\0\0\0\x02E" + bytes(100))
            if tell:
                await cache.apply(entry(version=1))
                assert server.ask("EXISTS", name_of(cache)) == 0
            assert await cache.lease()
            await cache.cache.invalidate(NAMESPACE, ["key"])


@given(
    copy=st.none()
    | st.builds(
        entry,
        value=st.binary(max_size=50),
        version=st.integers(0, (1 << 63) - 1),
        create_time=st.integers(0, 1 << 50),
        update_time=st.integers(0, 1 << 50),
        expire_time=st.none() | st.integers(START_MS + 1, 1 << 60),
        ttl_ms=st.none() | st.integers(1, 1 << 60),
        content_type=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
        schema_version=st.integers(0, (1 << 63) - 1),
        labels=st.dictionaries(texts, texts, max_size=3),
    )
    | st.builds(tombstone, version=st.integers(0, (1 << 63) - 1), delete_time=st.integers(0, 1 << 50)),
    generation=st.integers(0, 1 << 60),
)
def test_a_slot_reads_as_what_was_written(copy: Any, generation: int) -> None:
    slot = codec.encode(b"name", copy, generation=generation, end=START_MS + 1)

    answers, missing = codec.read_all([b"name"], [slot], NAMESPACE, ["key"], generation=generation, now=START_MS)
    assert (answers, missing) == ([Hit(copy)], [])
    _, missing = codec.read_all([b"name"], [slot], NAMESPACE, ["key"], generation=generation + 1, now=START_MS)
    assert missing == [0]
    if not (isinstance(copy, Entry) and copy.expire_time != START_MS + 1):
        _, missing = codec.read_all([b"name"], [slot], NAMESPACE, ["key"], generation=generation, now=START_MS + 1)
        assert missing == [0]
    with pytest.raises(NotOurs):
        codec.read_all([b"other"], [slot], NAMESPACE, ["key"], generation=generation, now=START_MS)


@given(st.integers(0, 1 << 59), st.integers(0, 1 << 59), st.text("0123456789abcdef", min_size=1))
def test_a_lease_reads_as_it_was_written(generation: int, deadline: int, holder: str) -> None:
    lease = Lease(generation, deadline, holder)

    assert Lease.parse(str(lease)) == lease


@pytest.mark.parametrize("text", ["", ".", "1", "1.2", "x.1.y", "1.-2.y", "1.2.é", "².1.a", "1" * 30 + ".1.a"])
async def test_what_is_no_lease_fills_nothing(text: str) -> None:
    async with cache_of(shared(Valkey).url) as cache:
        await cache.lease()

        assert not await cache.fill(entry(), text)
        await cache.cache.release(NAMESPACE, [("key", text)])
        assert await cache.get() == Miss(None)


async def test_large_values_are_kept_up_to_the_bound() -> None:
    async with cache_of(shared(Valkey).url, value_bytes_max=100_000) as cache:
        await cache.hold(entry(version=1, value=bytes(100_000)))
        await cache.apply(entry(version=2, value=bytes(100_001)))
        assert await cache.lease()

        await cache.cache.invalidate(NAMESPACE, ["key"])
        assert not await cache.fill(entry(value=bytes(100_001)), await cache.lease())
        assert await cache.lease(), "the place is free again"


async def test_of_a_value_that_redis_does_not_take_nothing_old_stays() -> None:
    """It hangs up; the repairer, who knows no values, then tells that there is a newer version."""
    with Redis("--proto-max-bulk-len", "1mb") as server:
        async with cache_of(server.url) as cache:
            large = entry(version=2, value=bytes(2 << 20))
            await cache.hold(entry(version=1))
            with pytest.raises(CacheUnavailable):
                await cache.apply(large)
            await cache.apply(tombstone(version=2))
            lease = await cache.lease()

            with pytest.raises(CacheUnavailable):
                await cache.fill(large, lease)
            assert await cache.get() == Miss(None)
