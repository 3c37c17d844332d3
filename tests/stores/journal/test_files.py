# the files are small and local, and nothing else runs
"""What is particular to a journal in files: torn and spoilt bytes, formats, segments, locks, modes."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
from pathlib import Path
from zlib import crc32

import pytest

from sidecar.core.errors import StoreCorrupt, StoreUnavailable
from sidecar.core.journal import Settlement
from sidecar.stores.journal import FileJournal
from sidecar.stores.journal.segment import HEADER_BYTES, decode_header, encode_frame
from tests.stores.journal.places import counted, held
from tests.stores.journal.subjects import buffering, opened_files, segments


async def filled(directory: Path, *keys: str, value: bytes = b"value") -> list[int]:
    """A closed journal with a write a key; where each record ends in its one segment."""
    ends = []
    async with opened_files(directory) as journal:
        for key in keys:
            await journal.append(buffering(key, value))
            ends.append(segments(directory)[-1].stat().st_size)
    return ends


async def keys(directory: Path) -> list[str]:
    async with opened_files(directory) as journal:
        return [each.write.operation.key for each in journal.pending()]


async def test_a_file_cut_anywhere_keeps_the_records_that_are_whole(tmp_path: Path) -> None:
    first, second, third = await filled(tmp_path / "j", "a", "b", "c")

    for cut in range(HEADER_BYTES, third):
        shutil.copytree(tmp_path / "j", tmp_path / "cut")
        os.truncate(segments(tmp_path / "cut")[0], cut)

        assert await keys(tmp_path / "cut") == ["a", "b"][: (cut >= first) + (cut >= second)]
        shutil.rmtree(tmp_path / "cut")


@pytest.mark.parametrize(
    "tail", [b"\0" * 5000, b"\xa5" * 333, os.urandom(5000), b"SSJL\0\1" * 50], ids=["zeros", "ones", "noise", "magic"]
)
async def test_garbage_at_the_end_is_cut_off_and_logged(
    tmp_path: Path, tail: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    _, end = await filled(tmp_path, "a", "b")
    with segments(tmp_path)[0].open("ab") as file:
        file.write(tail)

    async with opened_files(tmp_path) as journal:
        assert segments(tmp_path)[0].stat().st_size == end
        await journal.append(buffering("c"))

    assert await keys(tmp_path) == ["a", "b", "c"]
    (record,) = [record for record in caplog.records if "torn end" in record.message]
    assert (record.__dict__["position"], record.__dict__["bytes"]) == (end, len(tail))


async def test_a_last_record_whose_bytes_are_not_all_there_is_cut_off(tmp_path: Path) -> None:
    first, second = await filled(tmp_path / "j", "a", "b")

    for position in range(first, second):
        shutil.copytree(tmp_path / "j", tmp_path / "torn")
        spoil(segments(tmp_path / "torn")[0], position)

        assert await keys(tmp_path / "torn") == ["a"]
        shutil.rmtree(tmp_path / "torn")


async def test_a_spoilt_byte_before_the_last_record_is_told_with_its_file_and_left(tmp_path: Path) -> None:
    _, second, _ = await filled(tmp_path / "j", "a", "b", "c")

    for position in range(second):
        shutil.copytree(tmp_path / "j", tmp_path / "spoilt")
        (path,) = segments(tmp_path / "spoilt")
        spoil(path, position)
        before = path.read_bytes()

        with pytest.raises(StoreCorrupt) as told:
            await keys(tmp_path / "spoilt")

        assert str(path) in told.value.message
        assert told.value.metadata == {"file": str(path)}
        assert path.read_bytes() == before
        shutil.rmtree(tmp_path / "spoilt")


def spoil(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


async def test_what_to_do_about_spoilt_bytes_is_said(tmp_path: Path) -> None:
    end, _ = await filled(tmp_path, "a", "b")
    spoil(segments(tmp_path)[0], end - 1)

    with pytest.raises(
        StoreCorrupt, match=r"spoilt at byte 44.*Put it back from a copy, or move .* away to begin an empty"
    ):
        await keys(tmp_path)

    shutil.move(tmp_path, tmp_path.with_name("away"))
    assert await keys(tmp_path) == []


async def test_a_value_that_holds_the_bytes_of_records_is_not_taken_for_them(tmp_path: Path) -> None:
    """A torn write whose value is another journal's file, or this one's: no frame in it is believed."""
    await filled(tmp_path / "other", "x", "y")
    value = segments(tmp_path / "other")[0].read_bytes() * 2
    async with opened_files(tmp_path / "j") as journal:
        await journal.append(buffering("a"))
        own = segments(tmp_path / "j")[0].read_bytes()
        await journal.append(buffering("b", value + own))
    os.truncate(segments(tmp_path / "j")[0], segments(tmp_path / "j")[0].stat().st_size - 1)

    assert await keys(tmp_path / "j") == ["a"]


@pytest.mark.parametrize("missing", [1, 2])
async def test_a_segment_that_is_missing_or_short_between_others_is_told(tmp_path: Path, missing: int) -> None:
    async with opened_files(tmp_path, segment_bytes=300) as journal:
        for key in "abcd":
            await journal.append(buffering(key, bytes(400)))
    path = segments(tmp_path)[missing]
    kept = tmp_path.with_name("kept")
    shutil.move(path, kept)

    with pytest.raises(StoreCorrupt, match=f"{path} is missing"):
        await keys(tmp_path)

    path.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match=f"{path} is spoilt"):
        await keys(tmp_path)
    shutil.move(kept, path)
    assert await keys(tmp_path) == list("abcd")


async def test_a_newer_format_is_told_as_such_and_left(tmp_path: Path) -> None:
    await filled(tmp_path, "a")
    (path,) = segments(tmp_path)
    content = bytearray(path.read_bytes())
    content[4:6] = struct.pack(">H", 2)
    content[HEADER_BYTES - 4 : HEADER_BYTES] = struct.pack(">I", crc32(content[: HEADER_BYTES - 4]))
    path.write_bytes(content)

    with pytest.raises(StoreCorrupt, match=r"of a release that this one doesn't know.*run that release until"):
        await keys(tmp_path)

    assert path.read_bytes() == content


@pytest.mark.parametrize("contents", [b"\x63" + bytes(16), b"", b"\x01" + bytes(12) + b"\0\0\0\2{}"])
async def test_a_record_of_an_unknown_kind_is_told_as_such(tmp_path: Path, contents: bytes) -> None:
    (end,) = await filled(tmp_path, "a")
    (path,) = segments(tmp_path)
    header = decode_header(path, path.read_bytes())
    with path.open("ab") as file:
        file.write(encode_frame(header, end, end, contents))

    with pytest.raises(StoreCorrupt, match="of a release that this one doesn't know"):
        await keys(tmp_path)


async def test_a_frame_counts_only_where_it_was_written(tmp_path: Path) -> None:
    """What a file system puts back into a file is no record, though it was one elsewhere in it."""
    async with opened_files(tmp_path) as journal:
        sequence = (await journal.append(buffering("a"))).sequence
        (path,) = segments(tmp_path)
        end = path.stat().st_size
        await journal.settle(sequence, Settlement.APPLIED)
        await journal.append(buffering("b"))
    content = path.read_bytes()
    path.write_bytes(content + content[HEADER_BYTES:end])

    assert await keys(tmp_path) == ["b"]


async def test_directory_and_files_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await filled(tmp_path / "j", "a")
    finally:
        os.umask(before)

    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "j").iterdir()} == {
        "lock": 0o600,
        "00000000000000000001.journal": 0o600,
    }


async def test_a_second_journal_on_the_directory_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    async with opened_files(tmp_path) as first:
        second = FileJournal(tmp_path, bytes_max=1000)
        with pytest.raises(StoreUnavailable, match="in use by another process"):
            await second.open()

        await first.append(buffering("a"))
        await first.close()

        await second.open()
        assert len(second.pending()) == 1
        await second.close()


async def test_values_are_stored_as_they_are(tmp_path: Path) -> None:
    value = os.urandom(100_000)

    (end,) = await filled(tmp_path, "a", value=value)

    assert value in segments(tmp_path)[0].read_bytes()
    assert end < len(value) + 600


async def test_writers_that_wait_together_share_one_sync(tmp_path: Path) -> None:
    async with opened_files(tmp_path) as journal:
        with counted("journal.append.after_sync") as syncs:
            await asyncio.gather(*[journal.append(buffering(f"{n}")) for n in range(500)])

            assert len(syncs) == 1
            await asyncio.gather(*[journal.append(buffering(f"{n}", bytes(3 << 20))) for n in range(4)])
            assert len(syncs) == 3


async def test_the_event_loop_goes_on_while_the_disk_does_not(tmp_path: Path) -> None:
    async with opened_files(tmp_path) as journal, held("journal.append.before_sync") as (reached, release):
        task = asyncio.ensure_future(journal.append(buffering("a")))
        await reached.wait()

        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        assert list(journal.pending()) == []
        release.set()
        assert (await task).sequence == 1
        assert len(journal.pending()) == 1
