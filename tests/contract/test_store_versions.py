"""Versions: greater for a later state of a key, unique in the store, never handed out twice."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sidecar.core.entry import Tombstone, epoch_of, version_of
from sidecar.core.errors import FailedPrecondition
from sidecar.core.limits import VERSION_MAX
from sidecar.core.operations import Change, Increment, Put, Remove
from tests.contract.harnesses import StoreUnderTest
from tests.support.clock import START_MS


async def test_a_version_is_a_positive_int64(store: StoreUnderTest) -> None:
    version = await store.put("key")

    assert 0 < version <= VERSION_MAX


async def test_each_write_of_a_key_has_a_greater_version(store: StoreUnderTest) -> None:
    versions = [await store.put("key") for _ in range(20)]

    assert all(before < after for before, after in pairwise(versions))


async def test_writing_the_same_value_again_is_a_new_version(store: StoreUnderTest) -> None:
    first = await store.put("key", b"same")

    assert await store.put("key", b"same") > first


async def test_a_deletion_has_a_version_of_its_own_above_the_entry(store: StoreUnderTest) -> None:
    version = await store.put("key")
    deletion = await store.remove("key")

    grave = await store.copy("key")

    assert deletion.version > version
    assert isinstance(grave, Tombstone)
    assert (grave.version, grave.key) == (deletion.version, "key")
    assert grave.delete_time == START_MS


async def test_deleting_and_creating_again_does_not_begin_anew(store: StoreUnderTest) -> None:
    versions = []
    for _ in range(5):
        versions += [await store.put("key", expected_version=0), (await store.remove("key")).version]

    assert all(before < after for before, after in pairwise(versions))


async def test_an_update_has_a_greater_version(store: StoreUnderTest) -> None:
    version = await store.put("key", b"1")

    outcome = await store.commit(Change(key="key", change=Increment(delta=1)))

    assert outcome.version > version
    assert outcome.results[0].version == outcome.version


async def test_versions_are_unique_in_the_store(store: StoreUnderTest) -> None:
    versions = [await store.put(f"key {n % 7}", namespace=f"namespace {n % 3}") for n in range(60)]

    assert len(set(versions)) == 60


async def test_the_changes_of_a_transaction_share_one_version(store: StoreUnderTest) -> None:
    await store.put("gone")

    outcome = await store.commit(
        Put(key="a", value=b""), Remove(key="gone"), Change(key="n", change=Increment(delta=1), create=True)
    )

    assert {result.version for result in outcome.results} == {outcome.version}
    copies = [await store.copy(key) for key in ("a", "gone", "n")]
    assert [copy.version for copy in copies if copy] == [outcome.version] * 3


async def test_a_read_answers_the_version_that_the_write_was_told(store: StoreUnderTest) -> None:
    version = await store.put("key")

    entry = await store.entry("key")

    assert entry is not None
    assert entry.version == version


async def test_a_sweep_gives_what_it_ends_a_fresh_version(store: StoreUnderTest) -> None:
    await store.put("key", ttl_ms=10)
    newest = await store.put("other")
    await store.advance(10)

    swept = await store.store.sweep(store.sweep_order())

    assert [grave.version > newest for grave in swept.expired] == [True]
    assert await store.put("key") > swept.expired[0].version


async def test_a_key_that_was_forgotten_entirely_still_gets_a_greater_version(store: StoreUnderTest) -> None:
    await store.put("key")
    deletion = await store.remove("key")
    await store.advance(1)
    await store.store.sweep(store.sweep_order(tombstone_retention_ms=0))
    assert await store.copy("key") is None

    assert await store.put("key", expected_version=0) > deletion.version


async def test_the_epoch_of_a_store_that_never_went_back_stays(store: StoreUnderTest) -> None:
    first, last = await store.put("key"), await store.put("key")

    assert epoch_of(first) == epoch_of(last)
    assert first >= version_of(epoch_of(first), 1)


async def test_versions_go_on_where_they_were_after_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    entry = await store.put("key")
    await store.put("gone")
    deletion = await store.remove("gone")
    assert deletion.version > entry

    await store.reopen()

    assert await store.put("gone", expected_version=0) > deletion.version
    kept = await store.entry("key")
    assert kept is not None
    assert kept.version == entry


async def test_a_refused_write_costs_no_one_its_guard(store: StoreUnderTest) -> None:
    version = await store.put("key", b"text")
    for _ in range(3):
        with pytest.raises(FailedPrecondition):
            await store.commit(Change(key="key", change=Increment(delta=1)))

    assert await store.put("key", expected_version=version) > version
