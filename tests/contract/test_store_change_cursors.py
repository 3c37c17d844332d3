"""Each change has a cursor that continues after it, and what follows a cursor is the same whoever asks, and how."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.operations import Put, Remove
from sidecar.core.store import ChangePage, ChangeRow
from tests.contract.harnesses import StoreUnderTest


async def _workload(store: StoreUnderTest) -> int:
    """Single writes, a transaction, a deletion, a touch and an expiry; the cursor before them."""
    begin = await store.cursor()
    await store.put("a")
    await store.commit(*(Put(key=f"many {n}", value=b"") for n in range(5)), Remove(key="a"))
    await store.put("ends", ttl_ms=10)
    await store.put("touched", ttl_ms=60_000)
    await store.touch("touched", announce=True, ttl_ms=90_000)
    await store.advance(10)
    await store.store.sweep(store.sweep_order())
    await asyncio.gather(*[store.put(f"{n}") for n in range(16)])
    return begin


async def _page(store: StoreUnderTest, after: int, limit: int = 10_000) -> ChangePage:
    page = await store.store.changes(after=after, limit=limit)
    assert not page.gap
    return page


async def _told(store: StoreUnderTest, after: int, limit: int) -> list[tuple[int, ChangeRow]]:
    """Page by page, until there is no more."""
    told: list[tuple[int, ChangeRow]] = []
    while (page := await _page(store, after, limit)).changes:
        told += zip(page.cursors, page.changes, strict=True)
        after = page.cursor
    return told


async def test_cursors_rise_and_the_last_is_at_most_the_pages(feed_store: StoreUnderTest) -> None:
    begin = await _workload(feed_store)

    page = await _page(feed_store, begin)

    assert len(page.changes) == 27
    assert len(page.cursors) == len(page.changes)
    assert begin < page.cursors[0]
    assert list(page.cursors) == sorted(set(page.cursors))
    assert page.cursors[-1] <= page.cursor


async def test_every_cursor_continues_after_its_change(feed_store: StoreUnderTest) -> None:
    begin = await _workload(feed_store)
    page = await _page(feed_store, begin)

    for index, cursor in enumerate(page.cursors):
        assert (await _page(feed_store, cursor)).changes == page.changes[index + 1 :]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_what_follows_a_cursor_does_not_depend_on_the_page(feed_store: StoreUnderTest, limit: int) -> None:
    begin = await _workload(feed_store)
    page = await _page(feed_store, begin)

    assert await _told(feed_store, begin, limit) == list(zip(page.cursors, page.changes, strict=True))


async def test_all_that_is_committed_comes_before_the_cursor_that_is_ahead(feed_store: StoreUnderTest) -> None:
    begin = await _workload(feed_store)

    newest = await feed_store.store.changes(after=None, limit=1)

    ahead = newest.cursor if newest.ahead is None else newest.ahead
    assert newest.cursor <= ahead
    assert (await _page(feed_store, begin)).cursors[-1] <= ahead
    await feed_store.put("later")
    assert (await _page(feed_store, newest.cursor)).cursors[-1] > newest.cursor


async def test_a_cursor_beyond_the_newest_is_a_gap(feed_store: StoreUnderTest) -> None:
    """It is of a database that this one is an older copy of, or of another."""
    await _workload(feed_store)
    cursor = await feed_store.cursor()

    page = await feed_store.store.changes(after=cursor + (1 << 20), limit=10)

    assert page.gap
