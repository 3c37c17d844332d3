# ruff: noqa: ASYNC240  # the files are small and local, and nothing else runs
"""Files that can't be opened: a typed error each, nothing hangs, nothing is overwritten, all heals."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import sidecar
from sidecar.core.errors import DataLoss, LimitExceeded, StoreUnavailable
from sidecar.stores.sqlite import SqliteStore
from sidecar.stores.sqlite.connection import Options, connect
from sidecar.stores.sqlite.meta import Meta
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE
from tests.support.sqlite_files import closing, filled, put, value


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    """Not open."""
    async with closing(path, clock) as store:
        yield store


@pytest.mark.parametrize("content", [b"garbage " * 1000, b"x", b"SQLite format 3\0" + bytes(4080)], ids=len)
async def test_a_garbage_file_is_data_loss_and_left_as_it_is(store: SqliteStore, path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(DataLoss) as caught:
        await store.open()
    for call in (lambda: put(store, "key"), lambda: value(store, "key"), store.open):
        with pytest.raises(DataLoss):
            await call()

    assert caught.value.reason == "STORE_CORRUPT"
    assert path.read_bytes() == content


async def test_a_truncated_file_is_data_loss_and_left_as_it_is(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    await filled(path, clock, count=200)
    content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)

    with pytest.raises(DataLoss, match="corrupt"):
        await store.open()

    assert path.read_bytes() == content


async def test_a_database_of_another_program_is_refused_and_left_as_it_is(store: SqliteStore, path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    content = path.read_bytes()

    with pytest.raises(StoreUnavailable, match="another program"):
        await store.open()

    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


async def test_a_database_of_a_newer_release_is_refused_naming_it(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    await filled(path, clock)
    newer = sqlite3.connect(path)
    newer.execute("UPDATE meta SET release = '9.8.7'")
    newer.execute("PRAGMA user_version = 1000")
    newer.commit()
    newer.close()

    with pytest.raises(StoreUnavailable, match=r"release 9\.8\.7") as caught:
        await store.open()

    assert sidecar.__version__ in str(caught.value)
    assert caught.value.metadata["release"] == "9.8.7"


async def test_a_directory_in_the_place_of_the_file_is_unavailable(store: SqliteStore, path: Path) -> None:
    path.mkdir()

    with pytest.raises(StoreUnavailable):
        await store.open()


async def test_the_file_is_tried_again_once_a_second_and_heals(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    path.mkdir()
    with pytest.raises(StoreUnavailable):
        await store.open()
    path.rmdir()

    clock.advance(999)
    for call in (lambda: put(store, "key"), lambda: value(store, "key")):
        with pytest.raises(StoreUnavailable):
            await call()
    assert not path.exists()

    clock.advance(1)
    assert await value(store, "key") is None
    await put(store, "key")
    assert await value(store, "key") == b"value"


async def test_opening_again_tries_at_once(store: SqliteStore, path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreUnavailable):
        await store.open()
    path.rmdir()

    await store.open()

    assert (await put(store, "key")).version


def _disk_full(*_: object) -> None:
    error = sqlite3.OperationalError("injected")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
    raise error


async def test_an_opening_that_fails_again_and_again_does_not_use_up_epochs(
    store: SqliteStore, path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark beside the database is written first: a database that then can't be written is behind it each time."""
    await filled(path, clock)
    with monkeypatch.context() as patch:
        patch.setattr(Meta, "store", _disk_full)
        for _ in range(5):
            with pytest.raises(LimitExceeded):
                await store.open()

    await store.open()

    assert (await put(store, "key")).version >> 48 == 1


async def test_calls_before_opening_and_after_closing_are_unavailable(store: SqliteStore) -> None:
    with pytest.raises(StoreUnavailable):
        await put(store, "key")
    await store.open()
    await put(store, "key")
    await store.close()
    await store.close()

    with pytest.raises(StoreUnavailable):
        await value(store, "key")
    await store.open()
    assert await value(store, "key") == b"value"


async def test_closing_finishes_what_was_accepted(store: SqliteStore) -> None:
    await store.open()
    writes = [asyncio.create_task(put(store, f"{n}")) for n in range(100)]
    await asyncio.sleep(0)

    await store.close()

    assert all([(await one).version for one in writes])
    await store.open()
    page = await store.scan(NAMESPACE, "", after=None, limit=1000, bytes_max=1 << 20, keys_only=True)
    assert len(page.entries) == 100


def test_connections_sync_each_commit_and_only_one_kind_writes(path: Path) -> None:
    writing = connect(Options(path=path, writes=True))
    writing.execute("PRAGMA journal_mode = WAL")
    reading = connect(Options(path=path, writes=False))

    for connection in (writing, reading):
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA mmap_size").fetchone() == (0,)
    assert reading.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading.execute("CREATE TABLE t (x)")
    reading.close()
    writing.close()
