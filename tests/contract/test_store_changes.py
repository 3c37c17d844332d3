"""Change rows tell every committed change once, in commit order; what can't be told any more is said to be a gap."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.operations import Change, Increment, Put, Remove
from sidecar.core.store import ChangeKind
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import request


async def test_a_new_reader_begins_after_the_newest_change(feed_store: StoreUnderTest) -> None:
    store = feed_store
    await store.put("key")

    page = await store.store.changes(after=None, limit=10)

    assert (page.changes, page.gap) == ((), False)
    assert (await store.store.changes(after=page.cursor, limit=10)).changes == ()


async def test_each_change_is_told_with_its_kind_and_version(feed_store: StoreUnderTest) -> None:
    store = feed_store
    cursor = await store.cursor()
    created = await store.put("key", b"1")
    updated = (await store.commit(Change(key="key", change=Increment(delta=1)))).version
    deleted = (await store.remove("key")).version

    rows = await store.changes_since(cursor)

    assert [(row.namespace, row.key, row.version, row.kind) for row in rows] == [
        ("contract", "key", created, ChangeKind.PUT),
        ("contract", "key", updated, ChangeKind.PUT),
        ("contract", "key", deleted, ChangeKind.DELETE),
    ]


async def test_an_expiry_is_told_when_it_is_swept(feed_store: StoreUnderTest) -> None:
    store = feed_store
    await store.put("key", ttl_ms=10)
    cursor = await store.cursor()
    await store.advance(10)

    swept = await store.store.sweep(store.sweep_order())

    rows = await store.changes_since(cursor)
    assert [(row.key, row.version, row.kind) for row in rows] == [("key", swept.expired[0].version, ChangeKind.EXPIRE)]


async def test_changes_of_all_namespaces_are_in_one_order(feed_store: StoreUnderTest) -> None:
    store = feed_store
    cursor = await store.cursor()
    versions = [await store.put("key", namespace=f"namespace {n % 3}") for n in range(9)]

    rows = await store.changes_since(cursor)

    assert [row.version for row in rows] == versions
    assert [row.namespace for row in rows] == [f"namespace {n % 3}" for n in range(9)]


async def test_a_transaction_is_told_by_a_row_for_each_changed_key(feed_store: StoreUnderTest) -> None:
    store = feed_store
    await store.put("gone")
    cursor = await store.cursor()

    outcome = await store.commit(Put(key="a", value=b""), Remove(key="gone"), Remove(key="missing"))

    rows = await store.changes_since(cursor)
    assert {(row.key, row.kind) for row in rows} == {("a", ChangeKind.PUT), ("gone", ChangeKind.DELETE)}
    assert {row.version for row in rows} == {outcome.version}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_of_changes_are_the_whole_once(feed_store: StoreUnderTest, limit: int) -> None:
    store = feed_store
    cursor = await store.cursor()
    versions = [await store.put("key") for _ in range(7)]

    told: list[int] = []
    for _ in range(20):
        page = await store.store.changes(after=cursor, limit=limit)
        assert len(page.changes) <= limit
        told += [row.version for row in page.changes]
        if not page.changes:
            assert page.cursor == cursor
            break
        cursor = page.cursor

    assert told == versions


async def test_a_cursor_can_be_used_again(feed_store: StoreUnderTest) -> None:
    store = feed_store
    cursor = await store.cursor()
    await store.put("key")

    assert await store.changes_since(cursor) == await store.changes_since(cursor) != []


async def test_a_repeated_request_leaves_no_second_row(feed_store: StoreUnderTest) -> None:
    store = feed_store
    cursor = await store.cursor()
    for _ in range(3):
        await store.commit(Put(key="key", value=b""), request=request("r"))

    assert len(await store.changes_since(cursor)) == 1


async def test_the_rows_of_a_key_come_in_version_order_whoever_writes(feed_store: StoreUnderTest) -> None:
    store = feed_store
    cursor = await store.cursor()
    outcomes = await asyncio.gather(*[store.put(f"{n % 4}") for n in range(64)])

    rows = await store.changes_since(cursor)

    assert sorted(row.version for row in rows) == sorted(outcomes)
    for key in "0123":
        versions = [row.version for row in rows if row.key == key]
        assert versions == sorted(versions)


async def test_no_row_is_told_late(feed_store: StoreUnderTest) -> None:
    """A reader that follows while others write misses nothing: an outbox polled by `id > last` lost 20 %."""
    store = feed_store
    cursor = await store.cursor()
    told: list[int] = []
    versions: list[int] = []

    async def write(worker: int) -> None:
        for n in range(16):
            version = await store.put(f"{worker} {n}")
            versions.append(version)

    writers = asyncio.gather(*[write(worker) for worker in range(8)])
    while not writers.done() or len(told) < len(versions):
        page = await store.store.changes(after=cursor, limit=5)
        assert page.changes or not writers.done(), f"{len(versions) - len(told)} changes were never told"
        told += [row.version for row in page.changes]
        cursor = page.cursor
        await asyncio.sleep(0)

    assert sorted(told) == sorted(versions)


async def test_changes_and_cursors_are_kept_over_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    cursor = await store.cursor()
    first = await store.put("key")
    middle = await store.cursor()

    await store.reopen()
    second = await store.put("key")

    assert [row.version for row in await store.changes_since(cursor)] == [first, second]
    assert [row.version for row in await store.changes_since(middle)] == [second]


async def test_a_reader_that_comes_too_late_is_told_of_the_gap(feed_store: StoreUnderTest) -> None:
    store = feed_store
    begin = await store.cursor()
    await store.put("forgotten")
    await store.harness.forget_changes(store)
    kept = await store.put("kept")

    page = await store.store.changes(after=begin, limit=10_000)

    assert page.gap
    assert "forgotten" not in [row.key for row in page.changes]
    rest = await store.store.changes(after=page.cursor, limit=10_000)
    assert not rest.gap
    assert [row.version for row in page.changes + rest.changes][-1:] == [kept]


async def test_a_reader_that_is_up_to_date_sees_no_gap(feed_store: StoreUnderTest) -> None:
    store = feed_store
    await store.put("forgotten")
    await store.harness.forget_changes(store)
    cursor = await store.cursor()
    assert not (await store.store.changes(after=cursor, limit=10)).gap
    kept = await store.put("kept")

    page = await store.store.changes(after=cursor, limit=10)

    assert not page.gap
    assert [row.version for row in page.changes] == [kept]
