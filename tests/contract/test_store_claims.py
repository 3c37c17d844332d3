"""What a store claims, its life from open to close, and the generation of the caches that it keeps."""

from __future__ import annotations

from sidecar.core.store import StoreCapabilities
from tests.contract.harnesses import StoreUnderTest


async def test_the_harness_and_the_store_claim_the_same(store: StoreUnderTest) -> None:
    assert isinstance(store.store.capabilities, StoreCapabilities)
    assert store.store.capabilities.durable == store.harness.durable
    assert store.store.capabilities.changes == store.harness.changes
    assert store.store.capabilities.quiet == store.harness.quiet


async def test_opening_again_is_harmless(store: StoreUnderTest) -> None:
    await store.put("key")
    await store.store.open()

    assert await store.value("key") == b"value"


async def test_closing_twice_is_harmless(store: StoreUnderTest) -> None:
    await store.put("key")
    await store.store.close()
    await store.store.close()


async def test_the_clock_is_that_of_the_authority(store: StoreUnderTest) -> None:
    before = store.store.now()
    await store.advance(1234)

    assert store.store.now() == before + 1234


async def test_the_generation_of_a_cache_stays_while_the_cache_does(store: StoreUnderTest) -> None:
    first = await store.store.cache_generation("run 1")

    assert first > 0
    assert await store.store.cache_generation("run 1") == first


async def test_the_generation_rises_with_each_other_cache(store: StoreUnderTest) -> None:
    first = await store.store.cache_generation("run 1")
    second = await store.store.cache_generation("run 2")
    back = await store.store.cache_generation("run 1")

    assert first < second < back


async def test_a_generation_is_kept_over_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    await store.store.cache_generation("run 1")
    second = await store.store.cache_generation("run 2")
    await store.reopen()

    assert await store.store.cache_generation("run 2") == second
    assert await store.store.cache_generation("run 1") > second


async def test_all_is_kept_over_reopening_again_and_again(durable_store: StoreUnderTest) -> None:
    store = durable_store
    versions = []
    for n in range(4):
        versions.append(await store.put(f"{n}"))
        await store.reopen()

    assert [entry.version for entry in (await store.scan()).entries] == versions
    assert versions == sorted(set(versions))
