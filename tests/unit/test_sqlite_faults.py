# ruff: noqa: ASYNC240  # the files are small and local, and nothing else runs
"""Files that can't be read or written in mid-life: a typed error each, nothing hangs, nothing is overwritten, all heals."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sidecar.core.errors import DataLoss, LimitExceeded, SidecarError
from sidecar.core.operations import Remove
from sidecar.core.store import Outcome, SweepOrder, Touch
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write
from tests.support.sqlite_files import PATTERN, closing, filled, flip, put, value

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


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
from tests.support.sqlite_files import ManualClock, SqliteStore, put, value
from tests.unit.test_sqlite_faults import as_nobody
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
