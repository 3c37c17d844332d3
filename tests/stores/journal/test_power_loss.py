"""Whatever a loss of power leaves of what was not synced, at any moment: nothing acknowledged is lost or told twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from sidecar.core import failpoints
from sidecar.core.errors import SidecarError
from sidecar.core.journal import Settlement
from sidecar.stores.journal import FileJournal
from tests.stores.journal.disk import Disk, watched
from tests.stores.journal.subjects import BYTES_MAX, buffering
from tests.support.clock import START_MS

PLACES = [
    "journal.append.before_write",
    "journal.append.before_sync",
    "journal.append.after_sync",
    "journal.bury.before_sync",
    "journal.bury.after_sync",
    "journal.segment.created",
    "journal.compact.copied",
    "journal.compact.deleted",
]
SEGMENT_BYTES = 1200
STEPS = 60


@dataclass
class Told:
    """What the caller of a journal knows: of each sequence by key, what it may be found as."""

    certain: dict[str, str] = field(default_factory=dict)
    """pending, dead or gone; settled is pending or gone."""
    under_way: dict[str, set[str]] = field(default_factory=dict)

    def check(self, journal: FileJournal) -> None:
        pending = [each.write.operation.key for each in journal.pending()]
        dead = [each.buffered.write.operation.key for each in journal.dead()]
        assert len({*pending, *dead}) == len(pending) + len(dead)
        assert pending == sorted(pending, key=int)
        for key, state in self.certain.items():
            found = "pending" if key in pending else "dead" if key in dead else "gone"
            allowed = {"pending", "gone"} if state == "settled" else {state}
            assert found in allowed | self.under_way.get(key, set()), (key, state, found)
        assert {*pending, *dead} <= self.certain.keys() | self.under_way.keys()
        assert all(each.write.operation == buffering(each.write.operation.key).operation for each in journal.pending())


class Run:
    """One journal under random load, and power losses at random places in its thread."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = Random(seed)
        self.directory = directory
        self.told = Told()
        self.images: list[tuple[str, Path, Told]] = []
        self.number = 0
        self.reached: set[str] = set()

    def lose_power(self, place: str, disk: Disk) -> None:
        self.reached.add(place)
        if self.random.random() < 0.3:
            image = self.directory / f"image {len(self.images)}"
            disk.image(image, self.random)
            told = Told(self.told.certain.copy(), self.told.under_way.copy())
            self.images.append((place, image, told))

    async def load(self, journal: FileJournal) -> None:
        for _ in range(STEPS):
            await asyncio.gather(*[self.step(journal) for _ in range(self.random.randint(1, 3))])

    async def step(self, journal: FileJournal) -> None:
        states: dict[str, list[int]] = {"pending": [], "dead": []}
        busy = self.told.under_way
        for each in journal.pending():
            if each.write.operation.key not in busy:
                states["pending"].append(each.sequence)
        for dead in journal.dead():
            if dead.buffered.write.operation.key not in busy:
                states["dead"].append(dead.buffered.sequence)
        choice = self.random.random()
        if choice < 0.4 or not states["pending"]:
            self.number += 1
            key = f"{self.number}"
            await self.during(key, {"gone", "pending"}, "pending", journal.append(buffering(key)))
        elif choice < 0.7:
            key, sequence = self.pick(journal, states["pending"])
            self.told.certain[key] = "settled"
            await journal.settle(sequence, Settlement.APPLIED)
        elif choice < 0.85 or not states["dead"]:
            key, sequence = self.pick(journal, states["pending"])
            burial = journal.bury(sequence, reason="R", message="m", now=START_MS)
            await self.during(key, {"pending", "dead"}, "dead", burial)
        else:
            key, sequence = self.pick(journal, states["dead"])
            await self.during(key, {"dead", "gone"}, "gone", journal.remove(sequence))

    def pick(self, journal: FileJournal, sequences: list[int]) -> tuple[str, int]:
        sequence = self.random.choice(sequences)
        writes = [*journal.pending(), *[dead.buffered for dead in journal.dead()]]
        (write,) = [each for each in writes if each.sequence == sequence]
        return write.write.operation.key, sequence

    async def during(self, key: str, ends: set[str], end: str, call: object) -> None:
        self.told.under_way[key] = ends
        await call  # type: ignore[misc]  # one of the journal's calls
        self.told.certain[key] = end
        del self.told.under_way[key]


@contextmanager
def reached_by(run: Run, disk: Disk) -> Iterator[None]:
    try:
        for place in PLACES:
            failpoints.armed[place] = lambda place=place: run.lose_power(place, disk)  # type: ignore[misc]
        yield
    finally:
        failpoints.armed.clear()


async def check_image(image: Path, told: Told) -> None:
    """Opened twice: a recovery may be cut off as well, and what it did is the same."""
    for _ in range(2):
        journal = FileJournal(image, bytes_max=BYTES_MAX, segment_bytes=SEGMENT_BYTES)
        try:
            await journal.open()
            told.check(journal)
        finally:
            await journal.close()


async def lose_power_often(directory: Path, seed: int) -> Run:
    run = Run(directory, seed)
    with watched(directory / "journal") as disk:
        journal = FileJournal(directory / "journal", bytes_max=BYTES_MAX, segment_bytes=SEGMENT_BYTES)
        with reached_by(run, disk):
            await journal.open()
            await run.load(journal)
            await journal.close()
    for place, image, told in run.images:
        try:
            await check_image(image, told)
        except (AssertionError, SidecarError) as error:
            raise AssertionError(f"seed {seed}, {place}, {image.name}: {error}") from error
    return run


def test_nothing_acknowledged_is_lost_or_told_twice() -> None:
    images, reached = 0, set()
    for seed in range(8):
        with tempfile.TemporaryDirectory() as directory:
            run = asyncio.run(lose_power_often(Path(directory), seed))
        images += len(run.images)
        reached |= run.reached

    assert images >= 160
    assert reached == set(PLACES)
