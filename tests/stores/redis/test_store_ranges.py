"""Long ranges: a script looks at a bounded number of entries, and nobody can tell how many scripts it took."""

from __future__ import annotations

import asyncio

import pytest

from servers.base import shared
from servers.redis import Redis
from sidecar.core.errors import InvalidRequest
from sidecar.core.operations import Put
from sidecar.core.store import Touch, Touched
from sidecar.stores.redis.store_reads import VISITS_MAX
from tests.contract.harnesses import StoreUnderTest
from tests.stores.redis.store_support import daemon, place
from tests.support.clock import ManualClock
from tests.support.factories import request

COUNT = 2 * VISITS_MAX + 100


async def fill(store: StoreUnderTest, ttl_ms: int | None = None) -> None:
    for begin in range(0, COUNT, 100):
        await store.commit(*[Put(key=f"{n:05}", value=b"v", ttl_ms=ttl_ms) for n in range(begin, begin + 100)])


@pytest.mark.parametrize("keys_only", [False, True])
async def test_a_page_after_many_ended_entries_is_full(keys_only: bool) -> None:
    clock = ManualClock()
    async with daemon(shared(Redis).url, prefix=place(), server_clock=clock) as store:
        await fill(store, ttl_ms=10)
        for n in range(3):
            await store.put(f"{VISITS_MAX * n + 50:05}", b"live")
        clock.advance(10)

        page = await store.scan(limit=2, keys_only=keys_only)
        rest = await store.scan(limit=2, keys_only=keys_only, after=page.entries[-1].key)

        assert [entry.key for entry in page.entries] == ["00050", f"{VISITS_MAX + 50:05}"]
        assert page.more
        assert [entry.key for entry in rest.entries] == [f"{2 * VISITS_MAX + 50:05}"]
        assert not rest.more


async def test_the_bytes_of_a_page_count_over_all_scripts() -> None:
    clock = ManualClock()
    async with daemon(shared(Redis).url, prefix=place(), server_clock=clock) as store:
        await fill(store, ttl_ms=10)
        for n in range(3):
            await store.put(f"{VISITS_MAX * n + 50:05}", b"x" * 100)
        clock.advance(10)

        assert len((await store.scan(bytes_max=299)).entries) == 2
        assert len((await store.scan(bytes_max=300)).entries) == 3
        assert len((await store.scan(bytes_max=1)).entries) == 1


async def test_a_large_page_is_whole() -> None:
    async with daemon(shared(Redis).url, prefix=place()) as store:
        await fill(store)

        page = await store.scan(limit=COUNT)

        assert [entry.key for entry in page.entries] == [f"{n:05}" for n in range(COUNT)]
        assert not page.more


@pytest.mark.parametrize("write_id", [None, request("r")], ids=["without an id", "under an id"])
async def test_a_deletion_passes_by_many_newer_entries(write_id: None) -> None:
    async with daemon(shared(Redis).url, prefix=place()) as store:
        await store.put("00000")
        progress = await store.delete_prefix("", limit=1, request=write_id)
        await fill(store)
        horizon = progress.horizon

        progress = await store.delete_prefix("", limit=10, request=write_id, progress=progress)

        assert (progress.done, progress.deleted_count, progress.horizon) == (True, 1, horizon)
        assert len((await store.scan(limit=COUNT)).entries) == COUNT


async def test_more_keys_than_a_script_takes_are_read() -> None:
    async with daemon(shared(Redis).url, prefix=place()) as store:
        await fill(store)
        keys = [f"{n:05}" for n in range(COUNT + 5)]

        copies = await store.store.get("contract", keys)

        assert [copy.key if copy else None for copy in copies] == [*keys[:COUNT], *[None] * 5]


async def test_readers_go_on_between_the_scripts_of_a_long_deletion() -> None:
    async with daemon(shared(Redis).url, prefix=place()) as store:
        await fill(store)
        deleting = asyncio.create_task(store.delete_prefix("", limit=COUNT))
        counts = []
        while not deleting.done():
            counts.append(len(await store.keys(limit=COUNT)))
        progress = await deleting

        assert (progress.done, progress.deleted_count) == (False, COUNT)
        assert counts == sorted(counts, reverse=True)
        assert (await store.delete_prefix("", progress=progress)).done


async def test_an_id_of_a_write_is_none_of_a_deletion_whatever_its_fingerprint() -> None:
    async with daemon(shared(Redis).url, prefix=place()) as store:
        await store.commit(Put(key="key", value=b""), request=request("write", "same"))
        await store.delete_prefix("none", request=request("deletion", "same"))

        with pytest.raises(InvalidRequest, match="another request"):
            await store.delete_prefix("", request=request("write", "same"))
        with pytest.raises(InvalidRequest, match="another request"):
            await store.commit(Put(key="key", value=b"new"), request=request("deletion", "same"))

        assert await store.value("key") == b""


async def test_a_key_that_is_touched_twice_at_once_goes_on_from_the_first() -> None:
    clock = ManualClock()
    async with daemon(shared(Redis).url, prefix=place(), server_clock=clock) as store:
        await store.put("key", ttl_ms=1000)
        cursor = await store.cursor()
        touches = [Touch(key="key", ttl_ms=5000), Touch(key="key"), Touch(key="key", ttl_ms=100, extend_only=True)]

        answers = await store.store.touch("contract", touches, announce=True)

        assert answers == [Touched(found=True, expire_time=clock.now() + 5000)] * 3
        entry = await store.entry("key")
        assert entry is not None
        assert (entry.expire_time, entry.ttl_ms) == (clock.now() + 5000, 5000)
        assert len(await store.changes_since(cursor)) == 1


async def test_a_batch_is_full_though_it_passes_by_what_has_ended() -> None:
    clock = ManualClock()
    async with daemon(shared(Redis).url, prefix=place(), server_clock=clock) as store:
        for key in "abcdefg":
            await store.put(key, ttl_ms=10 if key in "bdf" else None)
        clock.advance(10)

        progress = await store.delete_prefix("", limit=3)

        assert [grave.key for grave in progress.tombstones] == ["a", "c", "e"]
        assert (progress.deleted_count, progress.done) == (3, False)
        assert await store.keys() == ["g"]
