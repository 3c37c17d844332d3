"""Cursors of change rows are good for ever: the same rows follow one, or it is told that they can't be known any more.

Over pages of any size: `test_store_change_cursors.py`.
"""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.operations import Put
from sidecar.core.store import ChangeRow
from tests.contract.harnesses import StoreUnderTest


async def page(store: StoreUnderTest, cursor: int, limit: int = 10_000) -> list[ChangeRow]:
    """The rows of one page."""
    found = await store.store.changes(after=cursor, limit=limit)
    assert not found.gap
    return list(found.changes)


async def test_what_was_told_while_others_wrote_is_told_again(feed_store: StoreUnderTest) -> None:
    store = feed_store
    cursor = begin = await store.cursor()
    pages: list[tuple[int, list[ChangeRow]]] = []

    async def work(worker: int) -> None:
        for n in range(6):
            await store.commit(Put(key=f"{worker}", value=b""), Put(key=f"{worker} {n}", value=b""))
            await asyncio.sleep(0)

    writers = asyncio.gather(*[work(worker) for worker in range(6)])
    while not writers.done():
        found = await store.store.changes(after=cursor, limit=5)
        pages.append((cursor, list(found.changes)))
        cursor = found.cursor
        await asyncio.sleep(0)
    await writers

    whole = await page(store, begin)
    assert len(whole) == 72
    for cursor, told in pages:
        assert (await page(store, cursor))[: len(told)] == told


async def test_a_cursor_of_what_was_lost_is_a_gap(feed_store: StoreUnderTest) -> None:
    """A store in the place of one that is gone has rows of its own, and as many after a while."""
    store = feed_store
    cursors = [await store.cursor()]
    for _ in range(5):
        await store.put("lost")
        cursors.append(await store.cursor())
    await store.advance(1_000)
    await store.begin_anew()

    for count in (0, 3, 30):
        for n in range(count):
            await store.put(f"{n}")
        for cursor in cursors:
            found = await store.store.changes(after=cursor, limit=10_000)
            assert found.gap, "other rows were told as if they were those that follow"
            assert "lost" not in [row.key for row in found.changes]
            assert not (await store.store.changes(after=found.cursor, limit=10)).gap


async def test_a_cursor_beyond_the_newest_row_hides_none(feed_store: StoreUnderTest) -> None:
    store = feed_store
    await store.put("before")
    found = await store.store.changes(after=await store.cursor() + (1 << 20), limit=10)
    assert found.gap
    last = await store.cursor()
    await store.put("after")

    again = await store.store.changes(after=last + (1 << 20), limit=10)
    assert again.gap
    assert [row.key for row in await page(store, found.cursor)][-1:] == ["after"]
    assert [row.key for row in await page(store, last)] == ["after"]


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_gap_within_a_row_of_pages_is_told(feed_store: StoreUnderTest, limit: int) -> None:
    """A reader that pauses in the middle of a transaction's rows, until they are forgotten."""
    store = feed_store
    begin = await store.cursor()
    await store.commit(*[Put(key=f"{n}", value=b"") for n in range(3)])
    middle = (await store.store.changes(after=begin, limit=limit)).cursor
    await store.harness.forget_changes(store)
    await store.put("kept")

    found = await store.store.changes(after=middle, limit=10_000)

    assert found.gap
    assert not {"0", "1", "2"} & {row.key for row in found.changes}
