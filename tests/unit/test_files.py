# ruff: noqa: ASYNC220, ASYNC240  # the files are small and local, and nothing else runs
"""What is particular to blobs in files: names on disk, temporary files, outages."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.errors import DataLoss, StoreUnavailable
from sidecar.core.failpoints import armed
from sidecar.stores.files import FileBlobs

ROOT = Path(__file__).parents[2]
parts = st.text("ab-./_09Z", min_size=1, max_size=3) | st.sampled_from(["x" * 199, "x" * 200, "x" * 201, "x" * 400])
parts = parts.filter(lambda part: "/" not in part and part not in (".", ".."))
blob_names = st.lists(parts, min_size=1, max_size=3).map("/".join).filter(lambda name: len(name) <= 512)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[FileBlobs]:
    blobs = FileBlobs(tmp_path / "cold")
    await blobs.open()
    yield blobs
    await blobs.close()


async def listed(blobs: FileBlobs, prefix: str = "") -> list[str]:
    return [name async for name in blobs.names(prefix)]


@settings(max_examples=40)
@given(names=st.sets(blob_names, max_size=12), prefix=st.just("") | blob_names)
def test_any_names_live_side_by_side_and_come_in_order(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], prefix: str
) -> None:
    async def run() -> None:
        blobs = FileBlobs(tmp_path_factory.mktemp("blobs"))
        for name in names:
            assert await blobs.put(name, name.encode())
        assert await listed(blobs) == sorted(names)
        assert await listed(blobs, prefix) == sorted(name for name in names if name.startswith(prefix))
        for name in names:
            assert await blobs.get(name) == name.encode()
            assert await blobs.delete(name)
        assert await listed(blobs) == []

    asyncio.run(run())


async def test_a_name_may_be_the_directory_of_another(blobs: FileBlobs) -> None:
    for name in ("a", "a/b", "a/b/c"):
        await blobs.put(name, name.encode())

    assert await listed(blobs) == ["a", "a/b", "a/b/c"]


async def test_more_names_than_a_page_are_listed(blobs: FileBlobs) -> None:
    names = [f"{n % 7}/{n:04}" for n in range(700)]
    await asyncio.gather(*[blobs.put(name, b"") for name in names])

    assert await listed(blobs) == sorted(names)


async def test_nothing_is_left_but_the_object(blobs: FileBlobs, tmp_path: Path) -> None:
    await blobs.put("a/b", b"content")
    await blobs.put("a/b", b"again")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "cold" / "a=" / "b"]


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:-1], lambda c: c + b"x", lambda c: c[:20], lambda c: b"", lambda c: b"X" + c[1:]]
)
async def test_a_file_of_another_length_or_form_is_data_loss(
    blobs: FileBlobs, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    await blobs.put("name", bytes(1000))
    path = tmp_path / "cold" / "name"
    path.write_bytes(spoil(path.read_bytes()))

    with pytest.raises(DataLoss) as caught:
        await blobs.get("name")

    assert caught.value.reason == "BLOB_CORRUPT"
    assert caught.value.metadata == {"name": "name"}


@pytest.mark.parametrize("position", range(0, 54, 3))
async def test_a_flipped_bit_anywhere_is_data_loss(blobs: FileBlobs, tmp_path: Path, position: int) -> None:
    await blobs.put("name", b"0123456789")
    path = tmp_path / "cold" / "name"
    content = bytearray(path.read_bytes())
    assert len(content) == 54
    content[position] ^= 4
    path.write_bytes(content)

    with pytest.raises(DataLoss):
        await blobs.get("name")


async def test_the_file_of_another_name_is_data_loss(blobs: FileBlobs, tmp_path: Path) -> None:
    await blobs.put("one", b"content")
    (tmp_path / "cold" / "one").rename(tmp_path / "cold" / "two")

    with pytest.raises(DataLoss):
        await blobs.get("two")


async def test_opening_removes_what_dead_writers_left_and_nothing_else(blobs: FileBlobs, tmp_path: Path) -> None:
    temporary = tmp_path / "cold" / "tmp~"
    (temporary / "dead").write_bytes(b"half an obj")
    with (temporary / "alive").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        await blobs.put("name", b"content")

        await FileBlobs(tmp_path / "cold").open()

        assert [path.name for path in temporary.iterdir()] == ["alive"]
    assert await blobs.get("name") == b"content"


# ---- what goes while it is used


class Meanwhile:
    """Makes something happen in the middle of each put, or of the first: the file is written, and has no name yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        """How often a put came there."""
        self._monkeypatch = monkeypatch

    def __call__(self, happens: Callable[[], object], *, always: bool = False) -> None:
        def reached() -> None:
            self.times += 1
            if always or self.times == 1:
                happens()

        self._monkeypatch.setitem(armed, "files.link.before", reached)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    return Meanwhile(monkeypatch)


def once_listed(monkeypatch: pytest.MonkeyPatch, temporary: Path, happens: Callable[[], object]) -> None:
    """Make something happen when the temporary files were listed for the first time, before any of them is looked at."""
    list_files, waiting = Path.iterdir, [happens]

    def iterdir(directory: Path) -> Iterator[Path]:
        found = list(list_files(directory))
        if directory == temporary and waiting:
            assert found
            waiting.pop()()
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", iterdir)


def put_by_another(root: Path) -> bool:
    return asyncio.run(FileBlobs(root).put("a/b", b"content"))


def open_by_another(root: Path) -> None:
    asyncio.run(FileBlobs(root).open())


async def test_a_writer_that_ends_once_its_file_was_listed_does_not_disturb_who_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile
) -> None:
    written, listed_too = threading.Event(), threading.Event()

    def hold() -> None:
        written.set()
        assert listed_too.wait(10)

    meanwhile(hold)
    with ThreadPoolExecutor() as threads:
        writing = threads.submit(put_by_another, tmp_path)
        assert written.wait(10)

        def end() -> None:
            listed_too.set()
            assert writing.result(10)

        once_listed(monkeypatch, tmp_path / "tmp~", end)

        assert await FileBlobs(tmp_path).get("a/b") == b"content"


async def test_two_that_open_remove_the_same_leftover(
    blobs: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cold"
    (root / "tmp~" / "dead").write_bytes(b"half an obj")
    once_listed(monkeypatch, root / "tmp~", lambda: open_by_another(root))

    await asyncio.to_thread(open_by_another, root)

    assert list((root / "tmp~").iterdir()) == []


async def test_who_opens_leaves_alone_what_another_writes(
    blobs: FileBlobs, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    meanwhile(lambda: open_by_another(tmp_path / "cold"))

    assert await blobs.put("a/b", b"content")

    assert meanwhile.times == 1


@pytest.mark.parametrize("always", [False, True])
async def test_a_file_that_is_taken_for_a_leftover_before_its_writer_locks_it_is_made_again(
    blobs: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile, always: bool
) -> None:
    """By whoever opens the directory between a file's creation and its lock. Nothing is written to it."""
    meanwhile(lambda: None)
    make, made = tempfile.NamedTemporaryFile, 0

    def making(**given: Any) -> Any:
        nonlocal made
        made += 1
        file = make(**given)
        if always or made == 1:
            open_by_another(tmp_path / "cold")
        return file

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", making)

    if always:
        with pytest.raises(StoreUnavailable):
            await blobs.put("a/b", b"content")
        assert 2 < made < 100
    else:
        assert await blobs.put("a/b", b"content")
        assert made == 2
    assert meanwhile.times == (0 if always else 1)
    assert await blobs.get("a/b") == (None if always else b"content")


def remove_files(root: Path) -> None:
    """As a machine does that shares the directory, and does not see our locks."""
    for path in (root / "tmp~").iterdir():
        path.unlink()


def remove_temporary(root: Path) -> None:
    shutil.rmtree(root / "tmp~")


def remove_empty(root: Path) -> None:
    """As `find -empty -delete` does."""
    (root / "a=").rmdir()


def remove_all(root: Path) -> None:
    remove_temporary(root)
    remove_empty(root)


@pytest.mark.parametrize("remove", [remove_files, remove_temporary, remove_empty, remove_all])
async def test_what_is_removed_in_the_middle_of_a_put_is_made_again(
    blobs: FileBlobs, tmp_path: Path, meanwhile: Meanwhile, remove: Callable[[Path], None]
) -> None:
    root = tmp_path / "cold"
    meanwhile(lambda: remove(root))

    assert await blobs.put("a/b", b"content")

    assert meanwhile.times == 2
    assert [path for path in root.rglob("*") if path.is_file()] == [root / "a=" / "b"]
    assert await blobs.get("a/b") == b"content"


async def test_a_put_whose_files_are_removed_always_gives_up(
    blobs: FileBlobs, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    root = tmp_path / "cold"
    meanwhile(lambda: remove_files(root), always=True)

    with pytest.raises(StoreUnavailable) as caught:
        await blobs.put("a/b", b"content")

    assert caught.value.metadata["errno"] == "ENOENT"
    assert 2 < meanwhile.times < 100
    assert [path for path in root.rglob("*") if path.is_file()] == []


async def test_nothing_is_made_in_another_directory_than_was_opened(
    blobs: FileBlobs, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    """As when a file system was unmounted: what its mount point is given would be acknowledged, and gone with the mount."""
    root, away = tmp_path / "cold", tmp_path / "away"

    def unmount() -> None:
        root.rename(away)
        root.mkdir()

    meanwhile(unmount)
    for name in ("a/b", "c/d"):
        with pytest.raises(StoreUnavailable, match="is its file system mounted"):
            await blobs.put(name, b"content")
        assert list(root.iterdir()) == []

    root.rmdir()
    away.rename(root)
    assert await blobs.put("a/b", b"content")


async def test_a_directory_that_is_away_is_not_read_as_a_miss_and_heals(blobs: FileBlobs, tmp_path: Path) -> None:
    await blobs.put("name", b"content")
    root = tmp_path / "cold"
    root.rename(tmp_path / "away")

    for call in (
        blobs.get("name"),
        blobs.get("other/name"),
        blobs.delete("name"),
        blobs.put("name", b""),
        listed(blobs),
    ):
        with pytest.raises(StoreUnavailable):
            await call

    assert not root.exists()
    (tmp_path / "away").rename(root)
    assert await blobs.get("name") == b"content"


async def test_what_could_not_be_opened_is_opened_by_a_later_call(tmp_path: Path) -> None:
    (tmp_path / "cold").write_bytes(b"in the way")
    blobs = FileBlobs(tmp_path / "cold")
    for call in (blobs.open(), blobs.get("name"), blobs.put("name", b"")):
        with pytest.raises(StoreUnavailable):
            await call
    (tmp_path / "cold").unlink()

    assert await blobs.put("name", b"content")
    assert await blobs.get("name") == b"content"


def test_a_file_that_may_not_grow_is_refused_whole_and_heals(tmp_path: Path) -> None:
    program = """
import asyncio, resource, sys
from pathlib import Path
from sidecar.core.errors import LimitExceeded
from sidecar.stores.files import FileBlobs
async def main(root):
    blobs = FileBlobs(root)
    await blobs.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        await blobs.put("name", bytes(200_000))
    except LimitExceeded as exc:
        assert exc.reason == "STORAGE_FULL"
    else:
        raise AssertionError("written")
    assert await blobs.get("name") is None
    assert list((root / "tmp~").iterdir()) == []
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await blobs.put("name", bytes(200_000))
asyncio.run(main(Path(sys.argv[1])))
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "cold")], check=True, cwd=ROOT, timeout=60)


async def test_objects_of_a_killed_writer_are_whole_or_absent(tmp_path: Path) -> None:
    program = """
import asyncio, os, sys
from pathlib import Path
from sidecar.stores.files import FileBlobs
async def main(root):
    blobs = FileBlobs(root)
    await blobs.open()
    async def write(worker):
        n = 0
        while True:
            await blobs.put(f"{worker}/{n}", bytes([worker]) * 100_000)
            os.write(1, f"{worker}/{n}\\n".encode())
            n += 1
    await asyncio.gather(*[write(worker) for worker in range(4)])
asyncio.run(main(Path(sys.argv[1])))
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(40)]
    process.kill()
    lines += process.stdout.readlines()
    process.wait()
    process.stdout.close()

    blobs = FileBlobs(tmp_path)
    await blobs.open()

    assert list((tmp_path / "tmp~").iterdir()) == []
    written = {line.decode().strip() for line in lines if line.endswith(b"\n")}
    names = await listed(blobs)
    assert written <= set(names)
    for name in names:
        content = await blobs.get(name)
        assert content is not None
        assert hashlib.sha256(content).digest() == hashlib.sha256(bytes([int(name[0])]) * 100_000).digest()
