"""A version that was handed out never matches again, whatever copy of the database is put back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.core.entry import epoch_of
from sidecar.core.errors import FailedPrecondition, SidecarError, VersionConflict
from sidecar.core.operations import Put
from sidecar.stores.sqlite import SqliteStore
from sidecar.stores.sqlite.highwater import BLOCK, HighwaterFile
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Database]:
    database = Database(tmp_path / "state.db", clock)
    try:
        await database.store.open()
        yield database
    finally:
        await database.store.close()


class Database:
    """A store whose file can be set aside and put back."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.path = path
        self.clock = clock
        self.store = SqliteStore(path, clock=clock)

    @property
    def mark(self) -> Path:
        return self.path.with_name("state.db.highwater")

    async def put(self, key: str = "key", value: bytes = b"value", expected: int | None = None) -> int:
        outcome = await self.store.commit(write(Put(key=key, value=value, expected_version=expected)))
        return outcome.version

    async def reopen(self) -> None:
        await self.store.close()
        self.store = SqliteStore(self.path, clock=self.clock)
        await self.store.open()

    async def set_aside(self) -> Path:
        """A copy of the closed database."""
        await self.store.close()
        copy = self.path.with_name("copy")
        shutil.copy(self.path, copy)
        self.store = SqliteStore(self.path, clock=self.clock)
        await self.store.open()
        return copy

    async def put_back(self, copy: Path, *, crashed: bool = False) -> None:
        """The copy in the place of the database; `crashed`: the store that was ahead left no last word."""
        mark = self.mark.read_bytes()
        await self.store.close()
        if crashed:
            self.mark.write_bytes(mark)
        shutil.copy(copy, self.path)
        await self.reopen()


async def refused(database: Database, version: int) -> SidecarError:
    with pytest.raises((VersionConflict, FailedPrecondition)) as caught:
        await database.put(value=b"wrong", expected=version)
    return caught.value


@pytest.mark.parametrize("crashed", [False, True])
@pytest.mark.parametrize("writes", [1, 100])
async def test_a_version_of_undone_writes_never_matches(database: Database, *, crashed: bool, writes: int) -> None:
    first = await database.put()
    copy = await database.set_aside()
    undone = [await database.put() for _ in range(writes)]

    await database.put_back(copy, crashed=crashed)

    (entry,) = await database.store.get(NAMESPACE, ["key"])
    assert entry is not None
    assert entry.version == first
    for version in undone:
        await refused(database, version)
    made = [await database.put() for _ in range(writes + 10)]
    for version in undone:
        await refused(database, version)
    assert not set(made) & set(undone)
    assert min(made) > max(undone)
    assert epoch_of(made[0]) == 1


async def test_a_copy_of_the_run_that_is_undone_is_recognised_by_its_last_word(database: Database) -> None:
    """It was made while the store ran, so it has the same block of sequences reserved: only less of it used."""
    await database.put()
    copy = database.path.with_name("copy")
    with closing(sqlite3.connect(database.path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    undone = [await database.put() for _ in range(10)]

    await database.put_back(copy)

    made = await database.put()
    assert epoch_of(made) == 1
    assert made > max(undone)
    for version in undone:
        await refused(database, version)


async def test_the_token_of_a_newer_epoch_is_told_so(database: Database) -> None:
    await database.put()
    copy = await database.set_aside()
    await database.put_back(copy)
    newer = await database.put()
    assert epoch_of(newer) == 1
    await database.store.close()
    shutil.copy(copy, database.path)
    database.mark.unlink()  # the whole directory went back
    await database.store.open()

    refusal = await refused(database, newer)

    assert refusal.reason == "EPOCH_CHANGED"


async def test_a_database_that_was_not_put_back_keeps_its_epoch(database: Database) -> None:
    versions = []
    for _ in range(5):
        versions += [await database.put() for _ in range(3)]
        await database.reopen()

    assert [epoch_of(version) for version in versions] == [0] * 15
    assert versions == sorted(set(versions))


async def test_sequences_go_on_after_a_crash(database: Database) -> None:
    """A store that was not closed is opened by another: what it had reserved is not handed out again."""
    before = [await database.put() for _ in range(3)]
    other = SqliteStore(database.path, clock=database.clock)
    try:
        await other.open()
        outcome = await other.commit(write(Put(key="key", value=b"")))
    finally:
        await other.close()

    assert outcome.version > max(before)
    assert epoch_of(outcome.version) == 0
    assert await database.put() > outcome.version


async def test_a_missing_mark_is_made(database: Database) -> None:
    version = await database.put()
    await database.store.close()
    database.mark.unlink()

    await database.store.open()

    assert HighwaterFile(database.path).read() is not None
    assert epoch_of(await database.put()) == 0
    assert await database.put() > version


@pytest.mark.parametrize("content", [b"", b"garbage", b"{}", b"[1]", b'{"database_id": 1}', b"\xff\xfe"])
async def test_a_damaged_mark_raises_the_epoch(database: Database, content: bytes) -> None:
    version = await database.put()
    await database.store.close()
    database.mark.write_bytes(content)

    await database.store.open()

    assert epoch_of(await database.put(expected=version)) == 1


async def test_a_database_made_anew_beside_an_old_mark_begins_after_it(database: Database) -> None:
    old = [await database.put() for _ in range(10)]
    await database.store.close()
    for name in database.path.parent.glob("state.db*"):
        if name != database.mark:
            name.unlink()

    await database.store.open()

    assert await database.put() > max(old)
    for version in old:
        await refused(database, version)


async def test_blocks_follow_each_other(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.stores.sqlite.preparation.BLOCK", 4)
    await database.reopen()

    versions = [await database.put() for _ in range(20)]

    assert versions == list(range(versions[0], versions[0] + 20))
    mark = HighwaterFile(database.path).read()
    assert mark is not None
    assert versions[-1] <= mark.reserved < versions[-1] + 4
    assert versions[0] > BLOCK


async def test_going_back_is_a_gap_to_followers_and_misses_in_caches(database: Database) -> None:
    await database.put()
    generation = await database.store.cache_generation("cache")
    copy = await database.set_aside()
    seen = (await database.store.changes(after=None, limit=1)).cursor
    await database.put("undone")
    undone = (await database.store.changes(after=None, limit=1)).cursor

    await database.put_back(copy)
    await database.put("after")

    for cursor in (seen, undone):
        page = await database.store.changes(after=cursor, limit=10)
        assert page.gap
        assert [row.key for row in page.changes] == ["after"]
        assert page.cursor > undone
        assert not (await database.store.changes(after=page.cursor, limit=10)).gap
    assert await database.store.cache_generation("cache") > generation
