# the files are small and local, and nothing else runs
"""Segments come and go: what they take on disk is bounded by what is live in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sidecar.core.journal import Settlement
from sidecar.stores.journal import FileJournal
from sidecar.stores.journal.segment import HEADER_BYTES
from tests.stores.journal.places import armed, counted
from tests.stores.journal.subjects import buffering, opened_files, segments
from tests.support.clock import START_MS

SEGMENT_BYTES = 4_000


def bytes_on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in segments(directory))


def keys(journal: FileJournal) -> list[str]:
    return [each.write.operation.key for each in journal.pending()]


async def churn(journal: FileJournal, count: int) -> None:
    """Writes that are kept and settled at once."""
    for _ in range(count):
        buffered = await journal.append(buffering("churn", bytes(500)))
        await journal.settle(buffered.sequence, Settlement.APPLIED)


async def test_a_full_segment_is_followed_by_another(tmp_path: Path) -> None:
    async with opened_files(tmp_path, segment_bytes=SEGMENT_BYTES) as journal:
        for number in range(30):
            await journal.append(buffering(f"{number}", bytes(500)))

        assert [path.name for path in segments(tmp_path)] == [f"{n:020}.journal" for n in range(1, 7)]
        assert max(path.stat().st_size for path in segments(tmp_path)) < SEGMENT_BYTES + 1000
    async with opened_files(tmp_path) as journal:
        assert keys(journal) == [f"{n}" for n in range(30)]


async def test_segments_without_live_writes_are_deleted_oldest_first(tmp_path: Path) -> None:
    async with opened_files(tmp_path, segment_bytes=SEGMENT_BYTES) as journal:
        sequences = [(await journal.append(buffering(f"{n}", bytes(500)))).sequence for n in range(30)]
        for sequence in sequences[6:24]:
            await journal.settle(sequence, Settlement.APPLIED)
        for key in ("last", "more"):  # what the first one's batch leaves to delete is deleted before the second
            await journal.append(buffering(key))
        assert len(segments(tmp_path)) == 7  # the oldest is still needed, and what settled a write outlives the write

        for sequence in sequences[:6]:
            await journal.settle(sequence, Settlement.APPLIED)
        await journal.close()

        assert len(segments(tmp_path)) == 3
    async with opened_files(tmp_path) as journal:
        assert keys(journal) == [*[f"{n}" for n in range(24, 30)], "last", "more"]


async def test_nothing_of_what_was_settled_is_left_when_all_is(tmp_path: Path) -> None:
    async with opened_files(tmp_path, segment_bytes=SEGMENT_BYTES) as journal:
        await churn(journal, 100)

    async with opened_files(tmp_path, segment_bytes=SEGMENT_BYTES) as journal:
        assert bytes_on_disk(tmp_path) == HEADER_BYTES
        assert (await journal.append(buffering("a"))).sequence == 101
    async with opened_files(tmp_path) as journal:
        assert (await journal.append(buffering("a"))).sequence == 102


async def test_live_writes_in_segments_that_are_mostly_dead_are_moved_and_keep_all_they_were(tmp_path: Path) -> None:
    async with opened_files(tmp_path, segment_bytes=SEGMENT_BYTES) as journal:
        kept = await journal.append(buffering("kept", bytes(range(256))))
        dead = await journal.append(buffering("dead"))
        await journal.bury(dead.sequence, reason="SUPERSEDED", message="a later one won", now=START_MS)
        graves = list(journal.dead())
        with counted("journal.compact.copied") as copied, counted("journal.compact.deleted") as deleted:
            for _ in range(20):
                await churn(journal, 30)
                assert bytes_on_disk(tmp_path) < 2 * journal.bytes_held + 4 * SEGMENT_BYTES
        held = journal.bytes_held

        assert len(copied) == len(deleted) > 5
        assert list(journal.pending()) == [kept]
    async with opened_files(tmp_path, segment_bytes=SEGMENT_BYTES) as journal:
        assert list(journal.pending()) == [kept]
        assert list(journal.dead()) == graves
        assert journal.bytes_held == held
        await journal.settle(kept.sequence, Settlement.APPLIED)
        await journal.remove(dead.sequence)
    async with opened_files(tmp_path) as journal:
        assert not journal.pending()
        assert not journal.dead()


@pytest.mark.parametrize("place", ["journal.compact.copied", "journal.compact.deleted", "journal.segment.created"])
async def test_a_kill_between_the_steps_of_a_compaction_changes_nothing(tmp_path: Path, place: str) -> None:
    images: list[Path] = []

    def copy() -> None:
        images.append(tmp_path / f"image {len(images)}")
        shutil.copytree(tmp_path / "j", images[-1])

    async with opened_files(tmp_path / "j", segment_bytes=SEGMENT_BYTES) as journal:
        kept = await journal.append(buffering("kept"))
        with armed(place, copy):
            await churn(journal, 200)

    assert len(images) > 5
    for image in images:
        async with opened_files(image, segment_bytes=SEGMENT_BYTES) as journal:
            assert journal.pending()[0] == kept
            assert keys(journal).count("kept") == 1
            assert len(keys(journal)) <= 2  # one that was settled may be found again
            assert not (image / "new~").exists()


async def test_many_dead_writes_with_long_messages_are_not_copied_for_ever(tmp_path: Path) -> None:
    async with opened_files(tmp_path, segment_bytes=SEGMENT_BYTES) as journal:
        for _ in range(100):
            buffered = await journal.append(buffering("dead", b""))
            await journal.bury(buffered.sequence, reason="MERGE_CONFLICT", message="\u00e9" * 500, now=START_MS)
        with counted("journal.compact.copied") as copied:
            for _ in range(100):
                await journal.append(buffering("a", b""))

        assert len(copied) < 50
        assert len(journal.dead()) == 100


async def test_the_oldest_segment_goes_before_what_settled_its_writes(tmp_path: Path) -> None:
    """A deletion that could not be made durable is made again before the next one."""
    async with opened_files(tmp_path, segment_bytes=1000) as journal:
        for n in range(9):
            buffered = await journal.append(buffering(f"{n}", bytes(800)))
        with armed("journal.append.after_sync", lambda: found.append([path.name for path in segments(tmp_path)])):
            found: list[list[str]] = []
            for buffered in list(journal.pending()):
                await journal.settle(buffered.sequence, Settlement.APPLIED)
                await journal.append(buffering("next", bytes(800)))

    firsts = [int(names[0].removesuffix(".journal")) for names in found]
    assert firsts == sorted(firsts)
    assert firsts[-1] > firsts[0]
    for names in found:
        ordinals = [int(name.removesuffix(".journal")) for name in names]
        assert ordinals == list(range(ordinals[0], ordinals[0] + len(ordinals)))
