"""A deletion by prefix goes in batches, leaves alone what was written after it began, and can be resumed."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.entry import Tombstone
from sidecar.core.errors import InvalidRequest
from sidecar.core.operations import Put
from sidecar.core.store import ChangeKind, PrefixProgress
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import request


async def fill(store: StoreUnderTest, count: int = 10) -> None:
    await store.commit(*[Put(key=f"p{n:02}", value=b"") for n in range(count)], Put(key="q", value=b""))


async def finish(store: StoreUnderTest, prefix: str, progress: PrefixProgress, limit: int = 3) -> PrefixProgress:
    for _ in range(100):
        if progress.done:
            return progress
        progress = await store.delete_prefix(prefix, limit=limit, progress=progress)
    raise AssertionError("a deletion by prefix has to come to an end")


async def test_it_deletes_what_begins_with_the_prefix_and_nothing_else(store: StoreUnderTest) -> None:
    await fill(store)
    await store.put("p99", namespace="other")

    progress = await finish(store, "p", await store.delete_prefix("p", limit=3))

    assert progress.deleted_count == 10
    assert await store.keys() == ["q"]
    assert await store.keys(namespace="other") == ["p99"]


async def test_an_empty_prefix_deletes_the_whole_namespace(store: StoreUnderTest) -> None:
    await fill(store)

    progress = await store.delete_prefix("")

    assert (progress.deleted_count, progress.done) == (11, True)
    assert await store.keys() == []


async def test_a_batch_deletes_at_most_its_limit(store: StoreUnderTest) -> None:
    await fill(store)

    progress = await store.delete_prefix("p", limit=4)

    assert (progress.deleted_count, progress.done, len(progress.tombstones)) == (4, False, 4)
    assert len(await store.keys("p")) == 6


async def test_nothing_to_delete_is_done_at_once(store: StoreUnderTest) -> None:
    cursor = await store.cursor()

    progress = await store.delete_prefix("p")

    assert (progress.deleted_count, progress.done, progress.tombstones) == (0, True, ())
    assert await store.changes_since(cursor) == []


@pytest.mark.parametrize("limit", [5, 10], ids=["a batch each", "all in one"])
async def test_a_count_that_is_a_multiple_of_the_limit_comes_to_an_end(store: StoreUnderTest, limit: int) -> None:
    await fill(store, 10)

    progress = await finish(store, "p", await store.delete_prefix("p", limit=limit), limit=limit)

    assert progress.deleted_count == 10


async def test_keys_written_after_it_began_stay(store: StoreUnderTest) -> None:
    await fill(store)
    progress = await store.delete_prefix("p", limit=3)
    left = await store.keys("p")
    await store.put(left[-1], b"written since")
    await store.put("p new", b"new")
    deleted = next(f"p{n:02}" for n in range(10) if f"p{n:02}" not in left)
    await store.put(deleted, b"again")

    progress = await finish(store, "p", progress)

    assert await store.keys("p") == sorted([left[-1], "p new", deleted])
    assert progress.deleted_count == 9
    assert await store.value(deleted) == b"again"


async def test_it_leaves_tombstones_with_fresh_versions(store: StoreUnderTest) -> None:
    await fill(store)
    newest = await store.put("q")

    progress = await store.delete_prefix("p")

    assert {grave.key for grave in progress.tombstones} == {f"p{n:02}" for n in range(10)}
    assert all(grave.version > newest for grave in progress.tombstones)
    assert [await store.copy(grave.key) for grave in progress.tombstones] == list(progress.tombstones)


async def test_it_leaves_a_change_row_for_each_key(feed_store: StoreUnderTest) -> None:
    store = feed_store
    await fill(store, 4)
    cursor = await store.cursor()

    await store.delete_prefix("p")

    rows = await store.changes_since(cursor)
    assert {row.key for row in rows} == {"p00", "p01", "p02", "p03"}
    assert {row.kind for row in rows} == {ChangeKind.DELETE}


async def test_what_has_ended_or_was_deleted_is_not_counted(store: StoreUnderTest) -> None:
    await fill(store, 3)
    await store.put("p ended", ttl_ms=10)
    await store.put("p deleted")
    await store.remove("p deleted")
    await store.advance(10)

    assert (await store.delete_prefix("p")).deleted_count == 3


async def test_under_a_request_id_it_goes_on_where_it_was(store: StoreUnderTest) -> None:
    await fill(store)
    first = await store.delete_prefix("p", limit=4, request=request("r"))
    await store.put("p new")

    second = await store.delete_prefix("p", limit=4, request=request("r"))
    third = await store.delete_prefix("p", limit=4, request=request("r"))

    assert [first.deleted_count, second.deleted_count, third.deleted_count] == [4, 8, 10]
    assert [first.done, second.done, third.done] == [False, False, True]
    assert first.horizon == third.horizon
    assert await store.keys("p") == ["p new"]


async def test_repeated_after_its_end_it_answers_the_same_and_deletes_nothing(store: StoreUnderTest) -> None:
    await fill(store)
    first = await store.delete_prefix("p", request=request("r"))
    await store.put("p new")

    again = await store.delete_prefix("p", request=request("r"))

    assert (again.deleted_count, again.done) == (first.deleted_count, True)
    assert await store.keys("p") == ["p new"]


async def test_a_request_id_of_another_request_is_refused(store: StoreUnderTest) -> None:
    await fill(store)
    await store.commit(Put(key="x", value=b""), request=request("of a write", "write"))
    await store.delete_prefix("p", limit=1, request=request("of a deletion", "deletion"))

    for request_id, body in (("of a write", "deletion"), ("of a deletion", "another")):
        with pytest.raises(InvalidRequest) as caught:
            await store.delete_prefix("p", request=request(request_id, body))
        assert caught.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(InvalidRequest) as reused:
        await store.commit(Put(key="x", value=b""), request=request("of a deletion", "write"))
    assert reused.value.reason == "REQUEST_ID_REUSED"
    assert len(await store.keys("p")) == 9


async def test_it_is_resumed_after_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    await fill(store)
    await store.delete_prefix("p", limit=4, request=request("r"))

    await store.reopen()
    await store.put("p new")
    progress = await store.delete_prefix("p", limit=100, request=request("r"))

    assert (progress.deleted_count, progress.done) == (10, True)
    assert await store.keys("p") == ["p new"]
    assert isinstance(await store.copy("p00"), Tombstone)


@pytest.mark.parametrize("prefix", ["p\U0010ffff", "\ud7ff", "%", "p_"], ids=repr)
async def test_prefixes_are_exact(store: StoreUnderTest, prefix: str) -> None:
    neighbours = ["p", "pa", "q", "\ud7fe", "\ue000", "\U0010ffff", "x%", "pp"]
    await store.commit(*[Put(key=key, value=b"") for key in [*neighbours, prefix, prefix + "x"]])

    assert (await store.delete_prefix(prefix)).deleted_count == 2

    assert await store.keys() == sorted(neighbours)


async def test_writers_and_a_deletion_at_once_leave_only_what_was_written(store: StoreUnderTest) -> None:
    await fill(store, 40)

    async def write(n: int) -> int:
        return await store.put(f"p{n:02}", b"new")

    begun, versions = await asyncio.gather(
        store.delete_prefix("p", limit=10), asyncio.gather(*[write(n) for n in range(40)])
    )
    progress = await finish(store, "p", begun)

    left = {entry.key: entry for entry in (await store.scan("p")).entries}
    kept = {f"p{n:02}" for n, version in enumerate(versions) if version > progress.horizon}
    assert set(left) == kept
    assert all(entry.value == b"new" and entry.version > progress.horizon for entry in left.values())
