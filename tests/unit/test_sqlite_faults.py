# ruff: noqa: ASYNC240  # the files are small and local, and nothing else runs
"""Files that can't be opened, read or written: a typed error each, nothing hangs, nothing is overwritten, all heals."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import sidecar
from sidecar.core.errors import DataLoss, LimitExceeded, SidecarError, StoreUnavailable
from sidecar.core.operations import Put, Remove
from sidecar.core.store import Outcome, SweepOrder, Touch
from sidecar.stores.sqlite import SqliteStore
from sidecar.stores.sqlite.connection import Options, connect
from sidecar.stores.sqlite.meta import Meta
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write

PATTERN = b"a value that can be found in the file "
ROOT = Path(__file__).parents[2]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@asynccontextmanager
async def closing(path: Path, clock: ManualClock, **options: int) -> AsyncIterator[SqliteStore]:
    """Not open, but closed afterwards: a thread that is left keeps the process from ending."""
    store = SqliteStore(path, clock=clock, **options)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    """Not open."""
    async with closing(path, clock) as store:
        yield store


async def put(store: SqliteStore, key: str, value: bytes = b"value") -> Outcome:
    return await store.commit(write(Put(key=key, value=value)))


async def value(store: SqliteStore, key: str) -> bytes | None:
    (copy,) = await store.get(NAMESPACE, [key])
    return getattr(copy, "value", None)


async def filled(path: Path, clock: ManualClock, count: int = 20, size: int = 20) -> dict[str, bytes]:
    """A closed database with entries."""
    content = {f"key {n}": PATTERN + b"%d " % n * size for n in range(count)}
    async with closing(path, clock) as store:
        await store.open()
        for key, text in content.items():
            await put(store, key, text)
    return content


def flip(path: Path, position: int, mask: int = 0x10) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ mask]))


# Opening.


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


# Reading what does not verify.


async def test_a_flipped_bit_in_a_value_is_data_loss_naming_the_entry(path: Path, clock: ManualClock) -> None:
    content = await filled(path, clock)
    flip(path, path.read_bytes().index(PATTERN + b"7 ") + 10)
    async with closing(path, clock) as store:
        await store.open()

        with pytest.raises(DataLoss) as caught:
            await store.get(NAMESPACE, ["key 6", "key 7"])
        with pytest.raises(DataLoss):
            await store.scan(NAMESPACE, "", after=None, limit=1000, bytes_max=1 << 20, keys_only=False)

        assert caught.value.reason == "ENTRY_CORRUPT"
        assert caught.value.metadata == {"namespace": NAMESPACE, "key": "key 7"}
        for key in content.keys() - {"key 7"}:
            assert await value(store, key) == content[key]
        await put(store, "key 7", b"written again")
        assert await value(store, "key 7") == b"written again"


async def test_a_flipped_bit_in_a_header_refuses_reads_and_writes(path: Path, clock: ManualClock) -> None:
    await filled(path, clock)
    spoiler = sqlite3.connect(path)
    spoiler.execute("UPDATE entries SET version = version + 64, expire_time = 1 WHERE key = ?", (b"key 7",))
    spoiler.commit()
    spoiler.close()
    async with closing(path, clock) as store:
        await store.open()

        for call in (
            lambda: value(store, "key 7"),
            lambda: put(store, "key 7"),
            lambda: store.touch(NAMESPACE, [Touch(key="key 7", ttl_ms=10)], announce=False),
        ):
            with pytest.raises(DataLoss) as caught:
                await call()
            assert caught.value.metadata["key"] == "key 7"
        swept = await store.sweep(SweepOrder(limit=10, tombstone_retention_ms=0, request_retention_ms=0))

        assert swept.expired == ()
        assert (await put(store, "key 8")).version


async def test_a_spoilt_counter_stops_all_writes(path: Path, clock: ManualClock) -> None:
    await filled(path, clock)
    spoiler = sqlite3.connect(path)
    spoiler.execute("UPDATE meta SET sequence = sequence - 16, reserved = reserved - 16")
    spoiler.commit()
    spoiler.close()
    async with closing(path, clock) as store:
        with pytest.raises(DataLoss, match="own row"):
            await store.open()


async def test_flipped_bits_anywhere_never_give_wrong_bytes(tmp_path: Path, clock: ManualClock) -> None:
    original = tmp_path / "original.db"
    content = await filled(original, clock, count=60, size=100)
    rng = random.Random(7)
    refused = 0

    for n in range(60):
        path = tmp_path / f"{n}.db"
        shutil.copy(original, path)
        for _ in range(8):
            flip(path, rng.randrange(path.stat().st_size), 1 << rng.randrange(8))
        async with closing(path, clock) as store:
            try:
                await store.open()
            except SidecarError:
                refused += 1
                continue
            for key, expected in content.items():
                try:
                    found = await value(store, key)
                except DataLoss:
                    refused += 1
                else:
                    assert found in (expected, None)

    assert refused > 60


# Storage that is full or can't be written.


async def test_a_full_database_refuses_what_is_too_large_alone_and_heals(path: Path, clock: ManualClock) -> None:
    async with closing(path, clock, pages_max=100) as store:
        await store.open()
        written = 0
        refusal: SidecarError | None = None
        while refusal is None:
            try:
                await put(store, f"large {written}", bytes(50_000))
                written += 1
            except LimitExceeded as exc:
                refusal = exc

        assert refusal.reason == "STORAGE_FULL"
        assert 3 <= written < 8
        assert await value(store, "large 0") == bytes(50_000)
        assert await value(store, f"large {written}") is None

        small, too_large, other = await asyncio.gather(
            put(store, "small"), put(store, "too large", bytes(100_000)), put(store, "other"), return_exceptions=True
        )
        assert isinstance(small, Outcome)
        assert isinstance(too_large, LimitExceeded)
        assert isinstance(other, Outcome)

        await store.commit(write(Remove(key="large 0"), Remove(key="large 1")))
        assert (await put(store, "large again", bytes(50_000))).version


def in_child(body: str, path: Path) -> None:
    """Run statements of an async function in a process of its own, where limits and users can be changed for good."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    program = f"""
import asyncio, os, resource, sys, traceback
from pathlib import Path
from sidecar.core.errors import *
from tests.unit.test_sqlite_faults import ManualClock, SqliteStore, as_nobody, put, value
async def main(path):
    await asyncio.to_thread(os.getpid)  # what is imported late is imported now, while this user may
    clock = ManualClock()
{lines}
try:
    asyncio.run(main(Path(sys.argv[1])))
except BaseException:
    traceback.print_exc()
    os._exit(1)  # without waiting for the threads of a store that was not closed
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, cwd=ROOT, timeout=60)


def test_a_file_that_may_not_grow_refuses_writes_reads_on_and_heals(path: Path) -> None:
    """A real error of the disk in mid-write: the process's limit of a file's size."""
    in_child(
        """
store = SqliteStore(path, clock=clock)
await store.open()
await put(store, "kept", b"kept")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
answers = await asyncio.gather(
    put(store, "small"), put(store, "large", bytes(300_000)), put(store, "other"), return_exceptions=True
)
assert [type(answer).__name__ for answer in answers] == ["Outcome", "StoreUnavailable", "Outcome"], answers
assert await value(store, "kept") == b"kept"
assert await value(store, "large") is None
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
clock.advance(1000)
await put(store, "large", bytes(300_000))
await store.close()
store = SqliteStore(path, clock=clock)
await store.open()
assert await value(store, "large") == bytes(300_000)
await store.close()
""",
        path,
    )


def as_nobody() -> None:
    """Root may write everywhere; anybody else is bound by the permissions already."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)


async def test_a_read_only_directory_is_told_so_and_heals(clock: ManualClock) -> None:
    # Not below tmp_path, whose parents only their owner can enter.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o555)
        in_child(
            """
as_nobody()
store = SqliteStore(path, clock=clock)
for _ in range(2):
    try:
        await store.open()
    except StoreUnavailable as exc:
        assert exc.reason == "STORAGE_READ_ONLY", exc.reason
    else:
        raise AssertionError("opened")
assert not path.exists()
await store.close()
""",
            directory / "state.db",
        )
        directory.chmod(0o755)


async def test_a_read_only_file_is_told_so_and_left_as_it_is(clock: ManualClock) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "state.db"
        await filled(path, clock)
        path.chmod(0o444)
        path.parent.chmod(0o555)
        content = path.read_bytes()
        in_child(
            """
as_nobody()
store = SqliteStore(path, clock=clock)
for call in (store.open, lambda: put(store, "key"), lambda: value(store, "key")):
    try:
        await call()
    except StoreUnavailable as exc:
        assert exc.reason == "STORAGE_READ_ONLY", exc.reason
    else:
        raise AssertionError("opened")
await store.close()
""",
            path,
        )
        path.parent.chmod(0o755)
        assert path.read_bytes() == content
