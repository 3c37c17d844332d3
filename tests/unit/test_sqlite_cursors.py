"""Cursors of a database whose whole directory was put back: nothing beside it tells, so the ids themselves have to."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sidecar.core.operations import Put
from sidecar.stores.sqlite import SqliteStore
from tests.support.clock import ManualClock
from tests.support.factories import write

MINUTES = 120_000
"""Longer than the sequences last that an opening sets aside."""


@asynccontextmanager
async def opened(directory: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(directory / "state.db", clock=clock)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def put(store: SqliteStore, key: str) -> int:
    return (await store.commit(write(Put(key=key, value=b"")))).version


async def newest(store: SqliteStore) -> int:
    return (await store.changes(after=None, limit=1)).cursor


async def test_a_cursor_of_what_an_older_copy_does_not_know_is_a_gap_however_it_goes_on(tmp_path: Path) -> None:
    directory, copy, clock = tmp_path / "data", tmp_path / "copy", ManualClock()
    async with opened(directory, clock) as store:
        await put(store, "kept")
        kept = await newest(store)
    shutil.copytree(directory, copy)
    undone: list[int] = []
    for _ in range(3):
        clock.advance(1_000)
        async with opened(directory, clock) as store:
            for n in range(3):
                await put(store, f"undone {n}")
                undone.append(await newest(store))
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)

    clock.advance(1_000)
    async with opened(directory, clock) as store:
        for count in (0, 1, 30):
            for n in range(count):
                await put(store, f"other {n}")
            for cursor in undone:
                page = await store.changes(after=cursor, limit=100)
                assert page.gap
            page = await store.changes(after=kept, limit=100)
            assert not page.gap
            assert not [row.key for row in page.changes if row.key.startswith("undone")]


async def test_versions_of_what_was_undone_are_not_handed_out_again(tmp_path: Path) -> None:
    directory, copy, clock = tmp_path / "data", tmp_path / "copy", ManualClock()
    async with opened(directory, clock) as store:
        await put(store, "kept")
    shutil.copytree(directory, copy)
    clock.advance(MINUTES)
    async with opened(directory, clock) as store:
        undone = {await put(store, "key") for _ in range(9)}
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)

    clock.advance(MINUTES)
    async with opened(directory, clock) as store:
        assert not undone & {await put(store, "key") for _ in range(9)}


async def test_a_reader_goes_on_over_openings_without_a_gap(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        cursor = await newest(store)
    told = []
    for n in range(4):
        clock.advance(1_000)
        async with opened(tmp_path, clock) as store:
            cursors = {cursor, await newest(store)}
            await put(store, f"{n}")
            for each in cursors:
                page = await store.changes(after=each, limit=9)
                assert not page.gap
                assert [row.key for row in page.changes] == [f"{n}"]
            cursor = await newest(store)
            told.append(cursor)

    assert told == sorted(set(told))
    assert all(0 < number < 1 << 63 for number in told)


async def test_a_clock_that_is_far_ahead_leaves_room(tmp_path: Path) -> None:
    clock = ManualClock()
    clock.advance(1 << 52)
    async with opened(tmp_path, clock) as store:
        cursor, version = await newest(store), await put(store, "key")

        assert version < 1 << 48
        assert [row.version for row in (await store.changes(after=cursor, limit=9)).changes] == [version]
