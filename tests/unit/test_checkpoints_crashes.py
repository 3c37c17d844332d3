"""A daemon that dies at each place of its code, one after the other: what was acknowledged is there, bit for bit; and of what
was not, nothing is left in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sidecar.core import failpoints
from sidecar.core import ledger as names
from sidecar.core.errors import CheckpointNotFound
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.blob_jobs import GRACE_MS, BlobCollection
from tests.support.clock import ManualClock
from tests.support.confined import confine, confined
from tests.unit.checkpoints_support import EVERY_FIFTH, PLAIN, Bench, request, text

KEYS = ("p/small", "p/large")


class Crash(BaseException):
    """The end of a daemon."""


class Everywhere(dict[str, Callable[[], None]]):
    """Armed at the n-th place that is reached, whichever it is; 0: nowhere, only counted."""

    def __init__(self, at: int) -> None:
        super().__init__({"": lambda: None})
        self.at = at
        self.reached: list[str] = []

    def get(self, name: str, default: object = None) -> Callable[[], None]:
        def effect() -> None:
            self.reached.append(name)
            if len(self.reached) == self.at:
                raise Crash(name)

        return confined(effect)


@dataclass
class Told:
    """What a caller was told, and what it asked for last."""

    made: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    """Acknowledged checkpoints by namespace and id, with what they hold."""
    under_way: str = ""


async def _life(bench: Bench, told: Told) -> None:
    """What a daemon is asked to do until it dies."""
    blobs = bench.placement.blobs
    assert blobs is not None
    for turn in range(3):
        await bench.append(PLAIN, "p/small", text(turn, 300).decode())
        await bench.append(PLAIN, "p/large", text(turn, 40_000).decode())
        for asked in ({"key": KEYS[turn % 2]}, {"key_prefix": "p/"}):
            told.under_way = "take"
            held = {key: await bench.value(PLAIN, key) or b"" for key in KEYS}
            wanted = asked.get("key")
            made = await bench.take(PLAIN, **asked, request=request(f"{turn} {sorted(asked)}"))
            told.made[PLAIN, made.checkpoint_id] = {
                key: value for key, value in held.items() if wanted is None or key == wanted
            }
    told.under_way = "restore"
    oldest = min(checkpoint for _, checkpoint in told.made)
    await bench.restore(PLAIN, checkpoint_id=oldest, request=request("restore"))
    await bench.restore(PLAIN, key_prefix="p/", request=request("latest"))
    told.under_way = "delete"
    doomed = sorted(told.made)[2]
    held_by_it = told.made.pop(doomed)
    await bench.checkpoints.delete(*doomed)
    assert held_by_it
    told.under_way = "automatic"
    for turn in range(10):
        await bench.append(EVERY_FIFTH, "a", text(turn, 6_000).decode())
    for each in await bench.ids(EVERY_FIFTH):
        told.made[EVERY_FIFTH, each] = await bench.values(EVERY_FIFTH, each)
    told.under_way = "jobs"
    await bench.run(limit=3)
    bench.clock.advance(GRACE_MS + 1)
    await bench.run(BlobCollection(blobs, bench.placement.rows))


async def _check(bench: Bench, told: Told, cold: Path) -> None:
    """By another daemon."""
    await bench.check_references()
    for (namespace, checkpoint), held in told.made.items():
        assert await bench.values(namespace, checkpoint) == held
    known = {checkpoint for _, checkpoint in told.made}
    others = [each for each in await bench.ids(PLAIN) if each not in known]
    assert len(others) <= 1, "at most what was under way"
    assert not others or told.under_way in {"take", "delete"}
    for _ in range(2):
        bench.clock.advance(GRACE_MS + 1)
        await bench.run()
        assert bench.placement.blobs is not None
        await bench.run(BlobCollection(bench.placement.blobs, bench.placement.rows))
    again = bench.another()
    await again.check_references()
    for (namespace, checkpoint), held in told.made.items():
        assert await again.values(namespace, checkpoint) == held
    for namespace in (PLAIN, EVERY_FIFTH):
        for each in await again.ids(namespace):
            await again.checkpoints.delete(namespace, each)
    await again.run()
    again.clock.advance(GRACE_MS + 1)
    assert again.placement.blobs is not None
    await again.run(BlobCollection(again.placement.blobs, again.placement.rows))
    left = {row.key for row in await again.rows() if not row.key.startswith(names.REQUESTS)}
    assert left <= {names.SECRET}
    assert _objects(cold) == []


def _objects(cold: Path) -> list[Path]:
    return [path for path in cold.rglob("*") if path.is_file() and path.parent.name != "tmp~"]


def _bench(root: Path) -> Bench:
    clock = ManualClock()
    return Bench(MemoryStore(clock=clock), clock, root / "cold")


async def _places(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    everywhere = Everywhere(0)
    monkeypatch.setattr(failpoints, "armed", everywhere)
    await _life(_bench(root), Told())
    monkeypatch.undo()
    return everywhere.reached


async def test_it_may_die_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    confine()
    places = await _places(tmp_path / "undisturbed", monkeypatch)
    assert {
        "checkpoint.commit.before", "checkpoint.commit.after", "checkpoint.remove.before", "checkpoint.remove.after",
        "settle.commit.before", "settle.commit.after", "content.remove.before", "content.remove.after",
        "restore.choose.after", "restore.commit.before", "restore.commit.after",
        "blob.record.before", "blob.record.after", "blob.put.after",
    } <= set(places)  # fmt: skip

    for at in range(1, len(places) + 1):
        bench, told = _bench(tmp_path / str(at)), Told()
        monkeypatch.setattr(failpoints, "armed", Everywhere(at))
        with pytest.raises(Crash):
            await _life(bench, told)
        monkeypatch.undo()
        await asyncio.sleep(0)

        await _check(bench.another(), told, tmp_path / str(at) / "cold")


async def test_who_repeats_what_a_crash_cut_off_learns_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    confine()
    for place in ("checkpoint.commit.before", "checkpoint.commit.after"):
        bench = _bench(tmp_path / place)
        await bench.append(PLAIN, "k", 1)
        monkeypatch.setitem(failpoints.armed, place, _die)
        with pytest.raises(Crash):
            await bench.take(PLAIN, key="k", request=request("r"))
        monkeypatch.undo()

        made = await bench.another().take(PLAIN, key="k", request=request("r"))

        assert await bench.ids(PLAIN) == [made.checkpoint_id]

    for place in ("restore.choose.after", "restore.commit.before", "restore.commit.after"):
        bench = _bench(tmp_path / place)
        await bench.append(PLAIN, "k", 1)
        first = await bench.take(PLAIN, key="k")
        monkeypatch.setitem(failpoints.armed, place, _die)
        with pytest.raises(Crash):
            await bench.restore(PLAIN, key="k", request=request("r"))
        monkeypatch.undo()
        await bench.append(PLAIN, "k", 2)
        bench.clock.advance(1)
        await bench.take(PLAIN, key="k")

        restored = await bench.another().restore(PLAIN, key="k", request=request("r"))

        assert restored.record.checkpoint_id == first.checkpoint_id
        assert (await bench.value(PLAIN, "k") == b"[1]") == (place != "restore.commit.after")


@confined
def _die() -> None:
    raise Crash


async def test_a_deleted_one_stays_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    confine()
    bench = _bench(tmp_path)
    await bench.append(PLAIN, "k", 1)
    made = await bench.take(PLAIN, key="k")
    monkeypatch.setitem(failpoints.armed, "checkpoint.remove.after", _die)
    with pytest.raises(Crash):
        await bench.checkpoints.delete(PLAIN, made.checkpoint_id)
    monkeypatch.undo()

    with pytest.raises(CheckpointNotFound):
        await bench.another().checkpoints.delete(PLAIN, made.checkpoint_id)
