# ruff: noqa: ASYNC221  # the files are small and local, and nothing else runs
"""A disk that is full, broken or read-only: refused writes are not kept, acknowledged ones are, and it heals."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.core.errors import LimitExceeded, OutcomeUnknown, StoreUnavailable
from sidecar.core.journal import Settlement
from sidecar.stores.journal import FileJournal
from tests.stores.journal.places import failing, held
from tests.stores.journal.subjects import buffering, copy_at_one_moment, opened_files, segments
from tests.support.clock import START_MS

ROOT = Path(__file__).parents[3]


def keys(journal: FileJournal) -> list[str]:
    return [each.write.operation.key for each in journal.pending()]


async def found_by_another(directory: Path) -> list[str]:
    """After a kill now."""
    copy = directory.with_name(f"{directory.name} copy")
    copy_at_one_moment(directory, copy)
    async with opened_files(copy) as journal:
        found = keys(journal)
    shutil.rmtree(copy)
    return found


FULL = """
import asyncio, os, resource, sys
from pathlib import Path
from sidecar.core.errors import StoreUnavailable
from sidecar.core.journal import Settlement
from sidecar.stores.journal import FileJournal
from tests.stores.journal.subjects import buffering

async def main(directory):
    journal = FileJournal(directory, bytes_max=1 << 30)
    await journal.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    kept = await asyncio.gather(*[journal.append(buffering(f"{n}", bytes(20_000))) for n in range(8)], return_exceptions=True)
    refused = [answer for answer in kept if isinstance(answer, Exception)]
    assert len(refused) == 4, kept
    assert {type(answer) for answer in refused} == {StoreUnavailable}
    assert refused[0].metadata == {"errno": "EFBIG"}
    assert "has no room" in refused[0].message
    small = await journal.append(buffering("small"))
    await journal.settle(small.sequence, Settlement.APPLIED)
    await journal.settle(kept[1].sequence, Settlement.APPLIED)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await journal.append(buffering("healed", bytes(200_000)))
    print([each.write.operation.key for each in journal.pending()])
    os.kill(os.getpid(), 9)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_full_disk_refuses_what_does_not_fit_keeps_the_rest_and_heals(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, cwd=ROOT, timeout=60, check=False
    )

    assert child.returncode == -9, child.stderr.decode()
    assert child.stdout == b"['0', '2', '3', 'healed']\n"
    async with opened_files(tmp_path) as journal:
        assert keys(journal) == ["0", "2", "3", "healed"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("place", ["before_write", "before_sync"])
async def test_a_write_that_failed_is_not_found_again_and_later_ones_are_kept(
    tmp_path: Path, place: str, error: int
) -> None:
    async with opened_files(tmp_path / "j") as journal:
        await journal.append(buffering("a"))
        held_before = journal.bytes_held
        with failing(f"journal.append.{place}", error):
            told = await asyncio.gather(*[journal.append(buffering(key)) for key in ("b", "c")], return_exceptions=True)

            assert [type(answer) for answer in told] == [StoreUnavailable] * 2
            assert isinstance(told[0], StoreUnavailable)
            assert told[0].metadata["errno"] == errno.errorcode[error]
            assert told[0].reason == ("STORAGE_READ_ONLY" if error == errno.EROFS else "AUTHORITY_UNAVAILABLE")
            assert journal.bytes_held == held_before
            assert await found_by_another(tmp_path / "j") == keys(journal) == ["a"]

        sequence = (await journal.append(buffering("d"))).sequence
        assert sequence > 3
        assert await found_by_another(tmp_path / "j") == keys(journal) == ["a", "d"]
    async with opened_files(tmp_path / "j") as journal:
        assert keys(journal) == ["a", "d"]


async def test_an_end_that_cannot_be_cut_back_is_unknown_and_never_counts_once_there_is_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_files(tmp_path / "j") as journal:
        await journal.append(buffering("a"))
        with failing("journal.append.before_sync", errno.EIO), monkeypatch.context() as broken:
            broken.setattr(os, "ftruncate", fails)
            with pytest.raises(OutcomeUnknown):
                await journal.append(buffering("b"))

        assert keys(journal) == ["a"]
        assert await found_by_another(tmp_path / "j") == ["a", "b"]  # why it is unknown
        await journal.append(buffering("c"))
        assert len(segments(tmp_path / "j")) == 2
        assert await found_by_another(tmp_path / "j") == keys(journal) == ["a", "c"]
    async with opened_files(tmp_path / "j") as journal:
        assert keys(journal) == ["a", "c"]
        await journal.append(buffering("d"))


def fails(*_: object) -> None:
    raise OSError(errno.EIO, "the disk failed")


async def test_a_burial_that_failed_leaves_the_write_pending(tmp_path: Path) -> None:
    async with opened_files(tmp_path / "j") as journal:
        sequence = (await journal.append(buffering("a"))).sequence
        with failing("journal.bury.before_sync", errno.EIO), pytest.raises(StoreUnavailable):
            await journal.bury(sequence, reason="R", message="m", now=START_MS)

        assert keys(journal) == ["a"]
        assert await found_by_another(tmp_path / "j") == ["a"]
        assert not journal.dead()
        await journal.bury(sequence, reason="R", message="again", now=START_MS)
        assert [dead.message for dead in journal.dead()] == ["again"]


async def test_a_burial_whose_end_is_unknown_leaves_the_write_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_files(tmp_path) as journal:
        sequence = (await journal.append(buffering("a"))).sequence
        with failing("journal.bury.before_sync", errno.EIO), monkeypatch.context() as broken:
            broken.setattr(os, "ftruncate", fails)
            with pytest.raises(StoreUnavailable):
                await journal.bury(sequence, reason="R", message="m", now=START_MS)

        await journal.settle(sequence, Settlement.APPLIED)
    async with opened_files(tmp_path) as journal:
        assert not journal.pending()
        assert not journal.dead()


async def test_what_was_settled_while_the_disk_failed_is_written_with_what_comes_next(tmp_path: Path) -> None:
    async with opened_files(tmp_path / "j") as journal:
        first, second, third = [(await journal.append(buffering(key))).sequence for key in "abc"]
        with failing("journal.append.before_sync", errno.EIO):
            async with held("journal.append.before_write") as (reached, release):
                refused = asyncio.gather(journal.append(buffering("d")), return_exceptions=True)
                await reached.wait()
                await journal.settle(first, Settlement.APPLIED)
                await journal.settle(second, Settlement.MERGED)
                also = asyncio.gather(journal.append(buffering("e")), return_exceptions=True)
                await asyncio.sleep(0)
                release.set()
                assert [type(answer) for answer in [*await refused, *await also]] == [StoreUnavailable] * 2

        assert [each.sequence for each in journal.pending()] == [third]
        assert await found_by_another(tmp_path / "j") == ["a", "b", "c"]
        await journal.append(buffering("f"))
        assert await found_by_another(tmp_path / "j") == keys(journal) == ["c", "f"]


async def test_a_segment_that_cannot_be_begun_refuses_and_nothing_goes_behind_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name may be there with a header that says where the one before ended: that one is never written again."""
    async with opened_files(tmp_path / "j", segment_bytes=200) as journal:
        await journal.append(buffering("a"))
        with monkeypatch.context() as broken:
            broken.setattr("sidecar.stores.journal.log.sync_directory", fails)
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await journal.append(buffering("b"))
            assert await found_by_another(tmp_path / "j") == ["a"]

        await journal.append(buffering("c"))
        assert await found_by_another(tmp_path / "j") == keys(journal) == ["a", "c"]
        assert len(segments(tmp_path / "j")) == 2


async def test_a_long_trouble_leaves_no_trail_of_files_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with opened_files(tmp_path) as journal:
        with failing("journal.append.before_sync", errno.EIO):
            for _ in range(20):
                with pytest.raises(StoreUnavailable):
                    await journal.append(buffering("a"))
        await journal.append(buffering("b"))

        assert len(segments(tmp_path)) == 1
    assert [record.message for record in caplog.records] == [
        "the journal can't be written",
        "the journal can be written again",
    ]


async def test_a_file_that_was_removed_under_it_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    async with opened_files(tmp_path / "j") as journal:
        await journal.append(buffering("a"))
        shutil.rmtree(tmp_path / "j")

        with pytest.raises(StoreUnavailable, match="was removed"):
            await journal.append(buffering("b"))

        assert keys(journal) == ["a"]


async def test_what_could_not_be_opened_is_opened_by_a_later_call(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"in the way")
    journal = FileJournal(tmp_path / "j", bytes_max=1 << 20)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await journal.open()
    (tmp_path / "j").unlink()

    await journal.open()
    await journal.append(buffering("a"))

    assert keys(journal) == ["a"]
    await journal.close()


READ_ONLY = """
import asyncio, sys
from pathlib import Path
from sidecar.core.errors import StoreUnavailable
from sidecar.stores.journal import FileJournal

async def main(directory):
    journal = FileJournal(directory, bytes_max=1 << 20)
    try:
        await journal.open()
    except StoreUnavailable as error:
        print(error.reason)
    directory.chmod(0o700)
    await journal.open()
    print(len(journal.pending()))
    await journal.close()

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_directory_that_cannot_be_written_is_told_and_opens_when_it_can(tmp_path: Path) -> None:
    async with opened_files(tmp_path / "j") as journal:
        await journal.append(buffering("a"))
    (tmp_path / "j" / "lock").unlink()
    (tmp_path / "j").chmod(0o500)
    command = [sys.executable, "-m", "tests.support.limited", "--obey-modes", "--", sys.executable, "-c", READ_ONLY]

    child = subprocess.run([*command, str(tmp_path / "j")], capture_output=True, cwd=ROOT, timeout=60, check=False)

    assert child.stdout == b"STORAGE_READ_ONLY\n1\n", child.stderr.decode()


async def test_appends_that_wait_are_bounded(tmp_path: Path) -> None:
    async with opened_files(tmp_path, queue_max=3) as journal:
        async with held("journal.append.before_sync") as (reached, release):
            waiting = [asyncio.ensure_future(journal.append(buffering(f"{n}"))) for n in range(3)]
            await reached.wait()

            with pytest.raises(LimitExceeded) as refused:
                await journal.append(buffering("more"))

            assert refused.value.reason == "QUEUE_FULL"
            release.set()
            await asyncio.gather(*waiting)
        await journal.append(buffering("later"))
        assert keys(journal) == ["0", "1", "2", "later"]
