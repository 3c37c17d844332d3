"""What is stored: names that can't be confused, and bytes that are not trusted before they verify."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.base import shared
from servers.redis import Redis, RedisCluster
from sidecar.core.errors import DataLoss, StoreCorrupt
from sidecar.core.operations import Append, Change, Check, Increment, Put, Remove
from sidecar.stores.redis.client import RedisClient
from sidecar.stores.redis.store import SHARDS_MAX, RedisStore
from sidecar.stores.redis.store_rows import details, field_of, key_range, names_of, shard_number, shards_of
from sidecar.stores.redis.target import parse_target
from tests.stores.redis.store_support import daemon, place, shard_of
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, request

HEADS, VALUES, REQUESTS, LOG, META = 0, 1, 5, 7, 8
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(names, names)
def test_a_field_is_of_one_key_of_one_namespace(namespace: str, key: str) -> None:
    assert names_of(field_of(namespace, key)) == (namespace, key)


@given(names, names, st.lists(names, max_size=8), names)
def test_a_range_holds_the_keys_with_a_prefix_in_their_order(
    namespace: str, prefix: str, keys: list[str], other: str
) -> None:
    lower, upper = key_range(namespace, prefix, None)

    for key in [*keys, *(prefix + key for key in keys)]:
        within = lower[1:] <= field_of(namespace, key) < upper[1:]
        assert within == key.startswith(prefix)
        assert other == namespace or not lower[1:] <= field_of(other, key) < upper[1:]
    assert sorted(keys, key=lambda key: field_of(namespace, key)) == sorted(keys)


@given(names, names, names)
def test_a_range_goes_on_after_a_key(prefix: str, after: str, key: str) -> None:
    lower, upper = key_range("n", prefix, after)
    field = field_of("n", key)

    within = (field > lower[1:] if lower[:1] == b"(" else field >= lower[1:]) and field < upper[1:]

    assert within == (key.startswith(prefix) and key > after)


def test_details_of_nothing_cost_nothing() -> None:
    assert details("", 0, {}) == b""


READS = {
    "get": lambda store: store.copy("key"),
    "scan": lambda store: store.scan(),
    "scan of keys": lambda store: store.scan(keys_only=True),
    "put": lambda store: store.put("key"),
    "remove": lambda store: store.remove("key"),
    "check": lambda store: store.commit(Check(key="key", expected_version=1)),
    "increment": lambda store: store.commit(Change(key="key", change=Increment(delta=1))),
    "append": lambda store: store.commit(Change(key="key", change=Append(items=(1,)))),
    "touch": lambda store: store.touch("key", ttl_ms=1000),
    "delete_prefix": lambda store: store.delete_prefix("k"),
}


async def flip(server: Redis, key: bytes, field: bytes, position: int) -> None:
    """Change a bit of what a hash holds."""
    with server.client() as connection:
        content = bytearray(connection.hget(key, field) or b"")
        content[position] ^= 1
        connection.hset(key, field, bytes(content))


@pytest.mark.parametrize("read", READS)
async def test_a_spoilt_head_is_data_loss_for_every_call(read: str) -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix) as store:
        await store.put("key", b"5", ttl_ms=60_000, labels={"a": "b"}, content_type="t")
        await flip(server, shard_of(prefix).keys[HEADS], field_of(NAMESPACE, "key"), 20)
        before = server.ask("HGETALL", shard_of(prefix).keys[HEADS])

        with pytest.raises(DataLoss) as caught:
            await READS[read](store)

        assert caught.value.metadata == {"namespace": NAMESPACE, "key": "key"}
        assert server.ask("HGETALL", shard_of(prefix).keys[HEADS]) == before


async def test_every_byte_of_an_entry_is_verified() -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix) as store:
        await store.put("key", b"the value", ttl_ms=60_000, labels={"a": "b"}, content_type="text/plain")
        field = field_of(NAMESPACE, "key")
        for key in shard_of(prefix).keys[HEADS], shard_of(prefix).keys[VALUES]:
            for position in range(server.ask("HSTRLEN", key, field)):
                await flip(server, key, field, position)
                with pytest.raises(DataLoss):
                    await store.copy("key")
                with pytest.raises(DataLoss):
                    await store.scan()
                await flip(server, key, field, position)
        assert await store.value("key") == b"the value"


@pytest.mark.parametrize("increment", [True, False], ids=["added here", "added there"])
async def test_a_spoilt_counter_is_not_added_to(increment: bool) -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix) as store:
        await store.put("key", b"5")
        await flip(server, shard_of(prefix).keys[VALUES], field_of(NAMESPACE, "key"), 0)
        change = Increment(delta=1 if increment else 1 << 60)

        with pytest.raises(DataLoss):
            await store.commit(Change(key="key", change=change))


async def test_a_head_of_another_key_is_data_loss() -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix) as store:
        await store.commit(Put(key="key", value=b"same"), Put(key="other", value=b"same"))
        with server.client() as connection:
            heads = shard_of(prefix).keys[HEADS]
            other = connection.hget(heads, field_of(NAMESPACE, "other"))
            assert other is not None
            connection.hset(heads, field_of(NAMESPACE, "key"), other)

        with pytest.raises(DataLoss):
            await store.copy("key")


async def test_a_value_that_is_gone_is_data_loss_and_no_empty_value() -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix) as store:
        await store.put("key", b"5")
        server.ask("HDEL", shard_of(prefix).keys[VALUES], field_of(NAMESPACE, "key"))

        for read in ("get", "scan", "increment", "append"):
            with pytest.raises(DataLoss):
                await READS[read](store)


@pytest.mark.parametrize("position", [0, 8, 20, 50, -1])
async def test_a_spoilt_record_of_a_request_is_data_loss_and_no_second_effect(position: int) -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix) as store:
        await store.put("p")
        await store.commit(Put(key="key", value=b"1"), request=request("write"))
        await store.delete_prefix("p", request=request("deletion"))
        for request_id in ("write", "deletion"):
            await flip(server, shard_of(prefix).keys[REQUESTS], field_of(NAMESPACE, request_id), position)
        version = await store.put("p")

        with pytest.raises(StoreCorrupt):
            await store.commit(Put(key="key", value=b"2"), request=request("write"))
        with pytest.raises(StoreCorrupt):
            await store.delete_prefix("p", request=request("deletion"))

        assert await store.value("key") == b"1"
        entry = await store.entry("p")
        assert entry is not None
        assert entry.version == version


async def test_a_spoilt_expired_entry_holds_up_no_sweep() -> None:
    server, prefix, clock = shared(Redis), place(), ManualClock()
    async with daemon(server.url, prefix=prefix, server_clock=clock) as store:
        for n in range(5):
            await store.put(f"{n}", ttl_ms=10 + n)
        await flip(server, shard_of(prefix).keys[HEADS], field_of(NAMESPACE, "0"), 20)
        clock.advance(1000)

        swept = [await store.store.sweep(store.sweep_order(limit=1)) for _ in range(6)]

        assert [grave.key for each in swept for grave in each.expired] == ["1", "2", "3", "4"]
        with pytest.raises(DataLoss):
            await store.copy("0")


async def test_nothing_is_left_of_what_was_swept() -> None:
    server, prefix, clock = shared(Redis), place(), ManualClock()
    async with daemon(server.url, prefix=prefix, server_clock=clock) as store:
        for n in range(20):
            await store.commit(
                Put(key=f"{n}", value=b"value", ttl_ms=10), Remove(key=f"{n - 1}"), request=request(f"{n}")
            )
        clock.advance(10)
        order = store.sweep_order(tombstone_retention_ms=0, request_retention_ms=0)
        while (await store.store.sweep(order)).reached(1):
            clock.advance(1)

        left = {key: server.ask("TYPE", key) for key in server.ask("KEYS", f"{prefix}:*")}
        assert set(left) <= {shard_of(prefix).keys[LOG], shard_of(prefix).keys[META]}
        assert server.ask("XLEN", shard_of(prefix).keys[LOG]) == 0


async def test_prefixes_are_stores_of_their_own() -> None:
    server, prefix = shared(Redis), place()
    async with daemon(server.url, prefix=prefix) as one, daemon(server.url, prefix=prefix + "a") as other:
        await one.put("key", b"one")
        assert await other.copy("key") is None
        assert (await other.delete_prefix("")).deleted_count == 0

        assert await one.value("key") == b"one"


@pytest.mark.parametrize("shards", [1, 8])
async def test_a_shard_is_one_slot_of_a_cluster(shards: int) -> None:
    cluster, prefix = shared(RedisCluster), place()
    node = cluster.primaries[0]

    def slots(keys: tuple[bytes, ...]) -> set[int]:
        return {node.ask("CLUSTER", "KEYSLOT", key) for key in keys}

    found = [slots(shard.keys) for shard in shards_of(prefix, shards)]

    assert [len(each) for each in found] == [1] * shards
    assert len(set.union(*found)) == shards
    async with daemon(cluster.url, prefix=prefix, shards=shards) as store:
        namespaces = [f"{n}" for n in range(64)]
        for namespace in namespaces:
            await store.put("key", namespace=namespace)
        held = [bool(node.ask("KEYS", f"{prefix}:*")) for node in cluster.primaries]
        assert sum(held) == (1 if shards == 1 else 3)
        assert {shard_number(namespace, shards) for namespace in namespaces} == set(range(shards))


async def test_one_shard_of_a_cluster_tells_its_changes() -> None:
    async with daemon(shared(RedisCluster).url, prefix=place()) as store:
        cursor = await store.cursor()
        versions = [await store.put("key", namespace=f"{n}") for n in range(8)]

        assert [row.version for row in await store.changes_since(cursor)] == versions


@pytest.mark.parametrize("options", [{"prefix": "a{b"}, {"prefix": "}"}, {"shards": 0}, {"shards": SHARDS_MAX + 1}])
async def test_what_can_not_be_a_place_is_refused(options: dict[str, object]) -> None:
    clock = ManualClock()
    client = RedisClient(parse_target("redis://127.0.0.1"), clock=clock)

    with pytest.raises(ValueError, match=next(iter(options))):
        RedisStore(client, clock=clock, **options)  # type: ignore[arg-type]


def test_a_store_under_test_is_not_durable() -> None:
    clock = ManualClock()
    store = RedisStore(RedisClient(parse_target("redis://127.0.0.1"), clock=clock), clock=clock)

    assert (store.capabilities.durable, store.capabilities.shared) == (False, True)
    assert store.capabilities.value_bytes_max == 512 << 20
