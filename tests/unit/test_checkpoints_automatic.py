"""Automatic checkpoints: exactly each that many changes, restorable at once, stored by change later, kept as long as wanted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.core import ledger as names
from sidecar.core import marks
from sidecar.core.errors import VersionConflict
from sidecar.core.operations import Check, Put
from sidecar.engine.checkpoints.jobs import Retention, Settle
from tests.unit.checkpoints_support import (
    AGING,
    EVERY_FIFTH,
    KEEP,
    MAX_AGE_MS,
    PLAIN,
    STORES,
    Bench,
    one_pass,
    running,
    text,
)

WRITERS = 200


@pytest.fixture(params=STORES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(request.param, tmp_path) as made:
        yield made


async def test_each_fifth_change_has_one_whatever_number_of_writers_there_is(bench: Bench) -> None:
    """And it is, bit for bit, the value of that version."""
    seen: dict[int, bytes] = {}

    async def append(writer: int) -> None:
        for _ in range(2):
            version = await bench.append(EVERY_FIFTH, "k", f"writer {writer}")
            entry = await bench.entry(EVERY_FIFTH, "k")
            if entry is not None and entry.version == version:
                seen[version] = entry.value
            await asyncio.sleep(0)

    await asyncio.gather(*[append(writer) for writer in range(WRITERS)])

    ids = await bench.ids(EVERY_FIFTH, key="k")
    assert len(ids) == 2 * WRITERS // 5
    final = json.loads(await bench.value(EVERY_FIFTH, "k") or b"")
    for count, each in enumerate(reversed(ids), start=1):
        [entry] = (await bench.checkpoints.get(EVERY_FIFTH, each)).entries
        assert json.loads(entry.value) == final[: 5 * count]
        assert seen.get(entry.version, entry.value) == entry.value
        assert entry.labels == {}


async def test_they_survive_being_stored_by_change_bit_for_bit(bench: Bench) -> None:
    for turn in range(5 * KEEP):
        await bench.append(EVERY_FIFTH, "k", text(turn, 1_500).decode())
    before = {each: await bench.values(EVERY_FIFTH, each) for each in await bench.ids(EVERY_FIFTH, key="k")}
    parents = [record.parent_id for record in (await bench.page(EVERY_FIFTH, key="k")).records]

    assert await bench.run() == {"settled": KEEP}

    other = bench.another()
    assert {each: await other.values(EVERY_FIFTH, each) for each in before} == before
    records = (await bench.page(EVERY_FIFTH, key="k")).records
    assert [record.parent_id for record in records] == parents == [*list(before)[1:], ""]
    assert all(record.automatic and record.stored_bytes for record in records)
    assert await bench.rows(names.WAITING) == []
    state = len(await bench.value(EVERY_FIFTH, "k") or b"")
    assert sum(record.stored_bytes for record in records) < 1.5 * state
    await bench.check_references()


async def test_several_keys_of_one_commit_have_one_each(bench: Bench) -> None:
    for _ in range(5):
        await bench.write(EVERY_FIFTH, *[Put(key=f"k{index}", value=b"%d" % index) for index in range(20)])

    for index in range(20):
        [each] = await bench.ids(EVERY_FIFTH, key=f"k{index}")
        assert await bench.values(EVERY_FIFTH, each) == {f"k{index}": b"%d" % index}
    assert len(await bench.ids(EVERY_FIFTH)) == 20


async def test_only_the_last_are_kept_and_what_was_asked_for_stays(bench: Bench) -> None:
    asked = []
    for turn in range(5 * (KEEP + 10)):
        await bench.append(EVERY_FIFTH, "k", turn)
        if turn % 25 == 0:
            asked.append((await bench.take(EVERY_FIFTH, key="k")).checkpoint_id)
        if turn == 60:
            await bench.run()

    await bench.run()

    records = (await bench.page(EVERY_FIFTH, key="k", page_size=1_000)).records
    assert sum(record.automatic for record in records) == KEEP
    assert {record.checkpoint_id for record in records if not record.automatic} == set(asked)
    lengths = [len(json.loads((await bench.values(EVERY_FIFTH, r.checkpoint_id))["k"])) for r in records if r.automatic]
    assert lengths == list(range(5 * (KEEP + 10), 5 * 10, -5))
    await bench.check_references()


async def test_those_that_nobody_keeps_are_removed_without_being_stored(bench: Bench) -> None:
    for turn in range(5 * (KEEP + 10)):
        await bench.append(EVERY_FIFTH, "k", turn)

    assert await bench.run(bench.settle()) == {"settled": KEEP, "checkpoints": 10}


async def test_the_old_are_removed_whoever_made_them(bench: Bench) -> None:
    await bench.put(AGING, "k", b"1")
    await bench.take(AGING, key="k")
    bench.clock.advance(MAX_AGE_MS - 1)
    await bench.put(AGING, "k", b"2")
    await bench.put(PLAIN, "k", b"1")
    await bench.take(PLAIN, key="k")
    assert await bench.run(Retention(bench.checkpoints, bench.placement)) == {}

    bench.clock.advance(1)
    retention = Retention(bench.checkpoints, bench.placement)
    assert await one_pass(retention, dry_run=True) == {"checkpoints": 2}
    assert await bench.run(retention) == {"checkpoints": 2}

    [left] = await bench.ids(AGING)
    assert await bench.values(AGING, left) == {"k": b"2"}
    assert len(await bench.ids(PLAIN)) == 1
    await bench.run()
    await bench.check_references()


async def test_one_that_waits_can_be_restored_listed_and_deleted(bench: Bench) -> None:
    for turn in range(10):
        await bench.append(EVERY_FIFTH, "k", turn)
    newest, oldest = await bench.ids(EVERY_FIFTH, key="k")

    restored = await bench.restore(EVERY_FIFTH, checkpoint_id=oldest)
    assert json.loads(await bench.value(EVERY_FIFTH, "k") or b"") == [0, 1, 2, 3, 4]
    assert restored.record.parent_id == ""
    [record, _] = (await bench.page(EVERY_FIFTH, key="k")).records
    assert (record.automatic, record.stored_bytes, record.parent_id) == (True, 0, oldest)

    for each in (oldest, newest):
        await bench.checkpoints.delete(EVERY_FIFTH, each)
    assert await bench.ids(EVERY_FIFTH) == []
    assert await bench.rows(names.WAITING) == []


async def test_one_made_after_a_restore_continues_what_was_restored(bench: Bench) -> None:
    for turn in range(14):
        await bench.append(EVERY_FIFTH, "k", turn)
    newest, oldest = await bench.ids(EVERY_FIFTH, key="k")

    await bench.restore(EVERY_FIFTH, checkpoint_id=oldest)  # the fifteenth change
    for turn in range(5):
        await bench.append(EVERY_FIFTH, "k", turn)
    told = (await bench.page(EVERY_FIFTH, key="k")).records
    await bench.run()

    records = (await bench.page(EVERY_FIFTH, key="k")).records
    assert [record.parent_id for record in records] == [record.parent_id for record in told]
    assert [record.parent_id for record in records] == [records[1].checkpoint_id, oldest, oldest, ""]
    assert [record.checkpoint_id for record in records[2:]] == [newest, oldest]


async def test_a_large_value_is_held_until_it_is_stored(bench: Bench) -> None:
    """Its blob is needed after the key has another value; then the hold ends."""
    values = [text(turn, 1_200_000) for turn in range(5)]
    for value in values:
        await bench.put(EVERY_FIFTH, "k", value)
    await bench.put(EVERY_FIFTH, "k", b"small again")
    [each] = await bench.ids(EVERY_FIFTH, key="k")
    holds = [row.key for row in await bench.rows(names.BLOBS) if row.key.endswith("+" + each)]
    assert len(holds) == 1
    assert await bench.another().values(EVERY_FIFTH, each) == {"k": values[-1]}

    await bench.run()

    assert await bench.another().values(EVERY_FIFTH, each) == {"k": values[-1]}
    assert not [row.key for row in await bench.rows(names.BLOBS) if row.key.endswith("+" + each)]
    await bench.checkpoints.delete(EVERY_FIFTH, each)
    await bench.run()
    assert await bench.rows(names.CONTENTS) == []


async def test_one_that_was_asked_for_beside_those_that_wait_costs_what_changed(bench: Bench) -> None:
    stored = 0
    for turn in range(50):
        await bench.append(EVERY_FIFTH, "k", text(turn, 1_000).decode())
        stored += (await bench.take(EVERY_FIFTH, key="k")).stored_bytes

    state = len(await bench.value(EVERY_FIFTH, "k") or b"")
    assert stored < 1.6 * state
    await bench.run()
    records = (await bench.page(EVERY_FIFTH, key="k", page_size=1_000)).records
    assert sum(record.stored_bytes for record in records) == stored, "the automatic ones are of states that are there"
    await bench.check_references()


async def test_while_cold_is_away_what_waits_goes_on_waiting(bench: Bench) -> None:
    for turn in range(5):
        await bench.append(EVERY_FIFTH, "large", text(turn, 20_000).decode())
        await bench.append(EVERY_FIFTH, "small", turn)
    before = {each: await bench.values(EVERY_FIFTH, each) for each in await bench.ids(EVERY_FIFTH)}
    assert bench.cold is not None
    bench.cold.mkdir(exist_ok=True)
    bench.cold.rename(bench.cold.with_name("away"))
    bench.cold.touch()

    assert await bench.another().run() == {"settled": 1}
    assert {each: await bench.another().values(EVERY_FIFTH, each) for each in before} == before
    bench.cold.unlink()
    assert await bench.another().run() == {"settled": 1}

    assert {each: await bench.another().values(EVERY_FIFTH, each) for each in before} == before
    await bench.check_references()


@pytest.mark.parametrize("count", [1, KEEP + 2])
async def test_a_job_that_was_lost_changes_nothing(bench: Bench, count: int) -> None:
    for turn in range(5 * count):
        await bench.append(EVERY_FIFTH, "k", turn)
    made = await bench.take(EVERY_FIFTH, key="k")
    await bench.append(EVERY_FIFTH, "k", "another")
    await bench.take(EVERY_FIFTH, key="k")
    await bench.checkpoints.delete(EVERY_FIFTH, made.checkpoint_id)
    await bench.put(PLAIN, "k", b"x")
    await bench.checkpoints.delete(PLAIN, (await bench.take(PLAIN, key="k")).checkpoint_id)
    fence = Check(key="o/settle", expected_version=123, ledger=True)
    before = {row.key: row.version for row in await bench.rows()}

    settle, retention, contents = bench.jobs()
    for job in (settle, retention, contents) if count > KEEP else (settle, contents):
        with pytest.raises(VersionConflict) as lost:
            await job.step("", limit=1_000, fence=(fence,), dry_run=False)
        assert lost.value.key == "o/settle"

    assert {row.key: row.version for row in await bench.rows()} == before


async def test_a_dry_run_counts_and_changes_nothing(bench: Bench) -> None:
    for turn in range(5 * (KEEP + 2)):
        await bench.append(EVERY_FIFTH, "k", turn)
    made = await bench.take(EVERY_FIFTH, key="k")
    await bench.checkpoints.delete(EVERY_FIFTH, made.checkpoint_id)
    before = {row.key: row.version for row in await bench.rows()}

    counted = [await one_pass(job, limit=3, dry_run=True) for job in bench.jobs()]

    assert counted == [{"settled": KEEP + 2}, {"checkpoints": 2}, {"contents": 1}]
    assert {row.key: row.version for row in await bench.rows()} == before


async def test_two_that_settle_at_once_do_it_once(bench: Bench) -> None:
    for turn in range(5 * KEEP):
        await bench.append(EVERY_FIFTH, "k", text(turn, 500).decode())

    counts = await asyncio.gather(
        *[one_pass(Settle(other.checkpoints, other.placement)) for other in (bench.another() for _ in range(4))]
    )

    assert sum(each.get("settled", 0) for each in counts) == KEEP
    await bench.check_references()


async def test_updates_are_counted_in_a_mark_that_nobody_sees(bench: Bench) -> None:
    for turn in range(3):
        await bench.append(EVERY_FIFTH, "k", turn)

    entry = await bench.entry(EVERY_FIFTH, "k")

    assert entry is not None
    assert marks.updates_of(entry) == 3
    assert marks.callers_labels(entry.labels) == {}
