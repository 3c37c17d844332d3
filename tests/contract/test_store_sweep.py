"""The sweep ends what has expired and forgets what is old, in small batches, and nobody can tell it by reading."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.entry import Tombstone
from sidecar.core.operations import Put
from sidecar.core.store import Swept
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import request


async def test_a_sweep_of_an_empty_store_cleans_nothing(store: StoreUnderTest) -> None:
    assert await store.store.sweep(store.sweep_order()) == Swept()


async def test_an_expired_entry_becomes_a_tombstone(store: StoreUnderTest) -> None:
    version = await store.put("key", ttl_ms=1000)
    await store.advance(1000)

    swept = await store.store.sweep(store.sweep_order())

    grave = await store.copy("key")
    assert isinstance(grave, Tombstone)
    assert swept.expired == (grave,)
    assert grave.version > version
    assert grave.delete_time == store.now()


async def test_an_entry_is_swept_once(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    await store.advance(1000)
    await store.store.sweep(store.sweep_order())

    assert (await store.store.sweep(store.sweep_order())).expired == ()


@pytest.mark.parametrize("early_ms", [1, 500, 1000])
async def test_an_entry_is_not_swept_before_its_end(store: StoreUnderTest, early_ms: int) -> None:
    await store.put("key", ttl_ms=1000)
    await store.put("endless")
    await store.advance(1000 - early_ms)

    assert (await store.store.sweep(store.sweep_order())).expired == ()
    assert await store.keys() == ["endless", "key"]


async def test_an_entry_written_again_is_not_swept_for_its_old_end(store: StoreUnderTest) -> None:
    await store.put("longer", ttl_ms=1000)
    await store.put("longer", ttl_ms=5000)
    await store.put("endless", ttl_ms=1000)
    await store.put("endless")
    await store.advance(1000)

    assert (await store.store.sweep(store.sweep_order())).expired == ()
    assert await store.keys() == ["endless", "longer"]


async def test_a_sweep_ends_at_most_its_limit(store: StoreUnderTest) -> None:
    await store.commit(*[Put(key=f"{n}", value=b"", ttl_ms=10 + n) for n in range(10)])
    await store.advance(100)
    order = store.sweep_order(limit=4)

    swept = [await store.store.sweep(order) for _ in range(4)]

    assert [len(each.expired) for each in swept] == [4, 4, 2, 0]
    assert [each.reached(4) for each in swept] == [True, True, False, False]
    assert {grave.key for each in swept for grave in each.expired} == {f"{n}" for n in range(10)}


async def test_expired_entries_of_all_namespaces_are_swept(store: StoreUnderTest) -> None:
    for namespace in ("a", "b"):
        await store.put("key", namespace=namespace, ttl_ms=10)
    await store.advance(10)

    swept = await store.store.sweep(store.sweep_order())

    assert {grave.namespace for grave in swept.expired} == {"a", "b"}


async def test_a_tombstone_is_kept_for_its_retention(store: StoreUnderTest) -> None:
    await store.put("key")
    deletion = await store.remove("key")
    order = store.sweep_order(tombstone_retention_ms=5000)
    await store.advance(4999)
    assert (await store.store.sweep(order)).tombstones == 0
    assert isinstance(await store.copy("key"), Tombstone)

    await store.advance(1)

    assert (await store.store.sweep(order)).tombstones == 1
    assert await store.copy("key") is None
    assert await store.put("key", expected_version=0) > deletion.version


async def test_the_tombstone_of_an_expiry_is_kept_from_its_sweep_on(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=1000)
    await store.advance(100_000)
    order = store.sweep_order(tombstone_retention_ms=5000)

    await store.store.sweep(order)

    assert isinstance(await store.copy("key"), Tombstone)


async def test_a_key_created_again_is_not_forgotten_with_its_old_tombstone(store: StoreUnderTest) -> None:
    await store.put("key")
    await store.remove("key")
    await store.advance(10)
    version = await store.put("key", b"new")
    await store.advance(10)

    await store.store.sweep(store.sweep_order(tombstone_retention_ms=0))

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.value, entry.version) == (b"new", version)


async def test_a_newer_tombstone_is_not_forgotten_with_an_older_one(store: StoreUnderTest) -> None:
    await store.put("key")
    await store.remove("key")
    await store.advance(5000)
    await store.put("key")
    await store.remove("key")

    await store.store.sweep(store.sweep_order(tombstone_retention_ms=5000))

    assert isinstance(await store.copy("key"), Tombstone)


async def test_tombstones_and_request_ids_are_forgotten_in_batches(store: StoreUnderTest) -> None:
    for n in range(5):
        await store.put(f"{n}")
        await store.commit(Put(key=f"by id {n}", value=b""), request=request(f"{n}"))
        await store.remove(f"{n}")
    await store.advance(10)
    order = store.sweep_order(limit=2, tombstone_retention_ms=10, request_retention_ms=10)

    swept = [await store.store.sweep(order) for _ in range(3)]

    assert [each.tombstones for each in swept] == [2, 2, 1]
    assert [each.requests for each in swept] == [2, 2, 1]
    assert len(await store.keys("by id")) == 5


async def test_a_sweep_among_writers_ends_only_what_has_expired(store: StoreUnderTest) -> None:
    await store.commit(*[Put(key=f"{n}", value=b"old", ttl_ms=10) for n in range(32)])
    await store.advance(10)

    await asyncio.gather(
        *[store.put(f"{n}", b"new") for n in range(0, 32, 2)],
        store.store.sweep(store.sweep_order()),
        *[store.put(f"{n}", b"new") for n in range(1, 32, 2)],
    )

    assert [entry.value for entry in (await store.scan()).entries] == [b"new"] * 32


async def test_what_was_swept_stays_so_over_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    await store.put("key", ttl_ms=10)
    await store.advance(10)
    swept = await store.store.sweep(store.sweep_order())

    await store.reopen()

    assert [await store.copy("key")] == list(swept.expired)
