"""Watch with values, and with a snapshot first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.core.errors import DataLoss, LimitExceeded, OutOfRange
from sidecar.core.operations import Put
from sidecar.engine.watching import snapshot as snapshots
from sidecar.engine.watching.snapshot import Memory
from sidecar.engine.watching.watch import VALUES_BYTES, Told
from sidecar.stores.sqlite import SqliteStore
from tests.contract.adapters import SQLITE_STORE
from tests.support.clock import ManualClock
from tests.unit.watching_support import NS, Bench, brief, memory_bench

MIB = 1 << 20


def valued(told: Sequence[Told]) -> list[tuple[str, bytes | None, bool]]:
    return [(one.key, None if one.entry is None else one.entry.value, one.superseded) for one in told]


# ---- values


async def test_a_value_comes_with_its_own_version_or_not_at_all() -> None:
    async with memory_bench() as bench:
        with closing(await bench.watch(include_value=True)) as watch:
            await bench.put("a", b"1")
            await bench.put("b", b"1", labels={"kind": "test"}, content_type="text/plain")
            await bench.put("a", b"2")
            await bench.remove("b")

            told = await bench.told(watch)

        assert valued(told) == [("a", None, True), ("b", None, True), ("a", b"2", False), ("b", None, False)]
        assert told[2].entry is not None
        assert told[2].entry.version == told[2].version


async def test_of_an_expired_key_comes_no_value() -> None:
    async with memory_bench() as bench:
        with closing(await bench.watch(include_value=True)) as watch:
            await bench.put("key", ttl_ms=100)
            bench.clock.advance(100)
            first = await bench.told(watch)
            await bench.expire(0)

            assert valued(first) == [("key", None, True)]
            assert [kind for kind, _, _ in brief(await bench.told(watch))] == ["expire"]


async def test_a_key_is_read_once_for_all_its_changes() -> None:
    async with memory_bench() as bench:
        with closing(await bench.watch(include_value=True)) as watch:
            for number in range(50):
                await bench.put(f"{number % 5}", b"value")
            await bench.told(watch)

        assert bench.store.calls["get"] < 20


async def test_large_values_are_not_held_together(tmp_path: Path) -> None:
    async with memory_bench(tmp_path) as bench:
        with closing(await bench.watch(include_value=True)) as watch:
            for number in range(12):
                await bench.put(f"small {number}", b"s")
            for number in range(12):
                await bench.put(f"large {number}", bytes(VALUES_BYTES // 3))
            for number in range(3):
                await bench.put(f"cold {number}", bytes(2 * MIB + number))
            await bench.read()
            seen: list[Told] = []
            while told := await watch.next():
                sizes = [len(one.entry.value) for one in told if one.entry is not None]
                assert sum(sizes) <= VALUES_BYTES or len(told) == 1
                seen += told

        assert [len(value or b"") for _, value, _ in valued(seen)[-3:]] == [2 * MIB + number for number in range(3)]
        assert [key for key, _, _ in valued(seen)] == [
            *[f"small {number}" for number in range(12)],
            *[f"large {number}" for number in range(12)],
            *[f"cold {number}" for number in range(3)],
        ]


async def test_an_event_is_told_before_one_whose_value_does_not_verify(tmp_path: Path) -> None:
    async with SQLITE_STORE.opened(tmp_path) as under_test:
        assert SQLITE_STORE.spoil is not None
        begin = await under_test.cursor()
        for key in ("good", "bad", "later"):
            await under_test.put(key, b"value", namespace=NS)
        await SQLITE_STORE.spoil(under_test, "bad")
        bench = Bench(under_test.store, under_test.clock)
        with closing(await bench.watch(include_value=True)) as watch:
            watch._place.cursor = begin
            assert [one.key for one in await watch.next()] == ["good"]
            with pytest.raises(DataLoss):
                await watch.next()
            await bench.remove("bad")

            assert [key for _, key, _ in brief(await bench.told(watch))] == ["bad", "later", "bad"]


# ---- snapshots


@pytest.mark.parametrize("values", [False, True])
async def test_a_snapshot_shows_what_is_there_and_then_the_changes(values: bool) -> None:
    async with memory_bench() as bench:
        old = {key: await bench.put(key, key.encode()) for key in ("c", "a", "b", "gone")}
        await bench.remove("gone")
        with closing(await bench.watch(snapshot=True, include_value=values)) as watch:
            shown = await bench.told(watch)
            later = await bench.put("b", b"new")
            rest = await bench.told(watch)

        assert brief(shown) == [*[("put", key, old[key]) for key in "abc"], ("", "", 0)]
        assert [one.token == "" for one in shown] == [True, True, True, False]
        assert [one.complete for one in shown] == [False, False, False, True]
        assert [value for _, value, _ in valued(shown)[:3]] == ([b"a", b"b", b"c"] if values else [None] * 3)
        assert brief(rest) == [("put", "b", later)]


async def test_an_empty_snapshot_is_complete_at_once() -> None:
    async with memory_bench() as bench:
        for asked in ({}, {"key": "k"}, {"key_prefix": "k"}):
            with closing(await bench.watch(snapshot=True, **asked)) as watch:
                [only] = await watch.next()

                assert only.complete
                assert only.token


async def test_a_snapshot_of_a_key_is_its_entry() -> None:
    async with memory_bench() as bench:
        version = await bench.put("key", b"value")
        await bench.put("key2", b"another")
        with closing(await bench.watch(snapshot=True, key="key", include_value=True)) as watch:
            assert valued(await watch.next()) == [("key", b"value", False)]
            [end] = await watch.next()

        assert end.complete
        assert version


async def test_what_changes_during_the_scan_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PAGE_KEYS", 2)
    async with memory_bench() as bench:
        for key in "abcd":
            await bench.put(key)
        with closing(await bench.watch(snapshot=True)) as watch:
            first = await watch.next()
            behind = await bench.put("a")  # shown already: told afterwards
            ahead = await bench.put("d")  # not shown yet: the snapshot shows it
            gone = await bench.remove("b")
            unseen = await bench.remove("c")
            rest = [await watch.next() for _ in range(2)]
            end = rest[-1][0]
            later = await bench.told(watch)

        assert [one.key for one in first] == ["a", "b"]
        assert brief(rest[0]) == [("put", "d", ahead)]
        assert end.complete
        expected = [("put", "a", behind), ("delete", "b", gone), ("delete", "c", unseen)]
        assert brief(later) == expected
        assert brief(await bench.resumed(end)) == expected
        assert brief(await bench.resumed(later[0])) == expected[1:]


async def test_large_values_of_a_snapshot_come_in_full(tmp_path: Path) -> None:
    async with memory_bench(tmp_path) as bench:
        for number in range(3):
            await bench.put(f"{number}", bytes(2 * MIB + number))
        with closing(await bench.watch(snapshot=True, include_value=True)) as watch:
            told = await bench.told(watch)

        assert [len(value or b"") for _, value, _ in valued(told)[:3]] == [2 * MIB + number for number in range(3)]


async def test_a_snapshot_that_takes_longer_than_changes_are_kept_is_out_of_range() -> None:
    async with memory_bench(changes_max=10) as bench:
        await bench.put("key")
        with closing(await bench.watch(snapshot=True)) as watch:
            await watch.next()
            for _ in range(20):
                await bench.put("key")

            with pytest.raises(OutOfRange):
                await watch.next()


async def test_snapshots_remember_a_bounded_number_of_versions() -> None:
    async with memory_bench() as bench:
        memory = bench.engine.watching._memory = Memory(10)
        for number in range(8):
            await bench.put(f"{number}")
        first, second = [await bench.watch(snapshot=True) for _ in range(2)]
        with closing(first), closing(second):
            await first.next()
            with pytest.raises(LimitExceeded):
                await second.next()
            await first.next()
            assert memory.left == 10
        bench.clock.advance(snapshots.LATELY_MS + 1)
        for _ in range(3):  # what changed long ago is not remembered
            with closing(await bench.watch(snapshot=True)) as watch:
                await watch.next()
                assert memory.left == 10


async def test_a_snapshot_that_is_given_up_remembers_nothing() -> None:
    async with memory_bench() as bench:
        await bench.put("key")
        with closing(await bench.watch(snapshot=True)) as watch:
            await watch.next()

        assert bench.engine.watching._memory.left == snapshots.REMEMBERED_MAX


async def test_over_a_file_it_is_the_same(tmp_path: Path) -> None:
    clock = ManualClock()
    store = SqliteStore(tmp_path / "state.db", clock=clock)
    await store.open()
    bench = Bench(store, clock)
    with closing(await bench.watch(snapshot=True, include_value=True)) as watch:
        await bench.told(watch)
        await bench.commit(Put(key="a", value=b"1"), Put(key="b", value=b"2"))
        told = await bench.told(watch)
    await store.close()
    reopened = SqliteStore(tmp_path / "state.db", clock=clock)
    await reopened.open()
    try:
        assert brief(await Bench(reopened, clock).resumed(told[0])) == brief(told[1:])
    finally:
        await reopened.close()
