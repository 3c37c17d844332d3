"""Removing: chains that are still needed stay whole, and of what nobody needs nothing is left."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.core import ledger as names
from sidecar.core.blob_records import BlobRecord
from sidecar.core.errors import CheckpointNotFound
from sidecar.engine.checkpoints.jobs import Contents
from tests.unit.checkpoints_support import EVERY_FIFTH, PLAIN, STORES, Bench, one_pass, running, text


@pytest.fixture(params=STORES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(request.param, tmp_path) as made:
        yield made


async def _branching(bench: Bench, rng: random.Random, *, turns: int) -> dict[str, dict[str, bytes]]:
    """Checkpoints of a state that grows, is rewritten, and goes back now and then: what each holds, by id."""
    made: dict[str, dict[str, bytes]] = {}
    for turn in range(turns):
        bench.clock.advance(rng.randrange(3))
        match rng.randrange(12):
            case 0 if made:
                await bench.restore(PLAIN, checkpoint_id=rng.choice(list(made)))
            case 1:
                await bench.put(PLAIN, "p/k", b'["' + text(turn, 40_000) + b'"]')
            case 2:
                await bench.put(PLAIN, f"p/{turn}", text(turn, 500))
            case _:
                await bench.append(PLAIN, "p/k", text(turn, 1_500).decode())
        asked = {"key_prefix": "p/"} if rng.randrange(4) == 0 else {"key": "p/k"}
        if await bench.entry(PLAIN, "p/k") is None:
            await bench.put(PLAIN, "p/k", b"[]")
        each = (await bench.take(PLAIN, **asked)).checkpoint_id
        made[each] = await bench.values(PLAIN, each)
    return made


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_left_is_restorable_bit_for_bit_and_in_the_end_nothing_is(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)  # a test's choices
    made = await _branching(bench, rng, turns=80)
    await bench.check_references()

    while made:
        for each in rng.sample(list(made), max(1, len(made) // 3)):
            await bench.checkpoints.delete(PLAIN, each)
            del made[each]
        if rng.randrange(2):
            await bench.run(limit=rng.randrange(1, 20))
        other = bench.another()
        for each, values in made.items():
            assert await other.values(PLAIN, each) == values
        await bench.check_references()
        assert sorted(await other.ids(PLAIN)) == sorted(made)

    await bench.run()
    left = await bench.rows()
    blobs = [row for row in left if row.key.startswith(names.BLOBS)]
    assert {row.key[:2] for row in left if row not in blobs and row.key != names.SECRET} == set()
    contents = {BlobRecord.decode(row.value).owner.content for row in blobs}
    assert contents  # there were some, and none of them has a content that names it any more


async def test_a_deleted_one_is_gone(bench: Bench) -> None:
    await bench.put(PLAIN, "k", b"x")
    made = await bench.take(PLAIN, key="k")

    await bench.checkpoints.delete(PLAIN, made.checkpoint_id)

    for call in (
        bench.checkpoints.get(PLAIN, made.checkpoint_id),
        bench.checkpoints.delete(PLAIN, made.checkpoint_id),
        bench.restore(PLAIN, checkpoint_id=made.checkpoint_id),
        bench.restore(PLAIN, key="k"),
    ):
        with pytest.raises(CheckpointNotFound):
            await call
    assert await bench.ids(PLAIN) == []


async def test_a_content_that_is_needed_again_before_it_is_collected_stays(bench: Bench) -> None:
    await bench.put(PLAIN, "k", text(1, 1_000))
    first = await bench.take(PLAIN, key="k")
    await bench.checkpoints.delete(PLAIN, first.checkpoint_id)
    [count] = await bench.rows(names.REFERENCES)
    assert count.value == b"0"

    again = await bench.take(PLAIN, key="k")

    assert again.content == first.content
    assert await one_pass(Contents(bench.checkpoints, bench.placement)) == {}
    assert await bench.another().values(PLAIN, again.checkpoint_id) == {"k": text(1, 1_000)}


async def test_a_content_that_is_needed_again_while_it_is_collected_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.put(PLAIN, "k", text(1, 1_000))
    first = await bench.take(PLAIN, key="k")
    await bench.checkpoints.delete(PLAIN, first.checkpoint_id)
    home, other = bench.checkpoints.home(bench.placement), bench.another()
    commit, again = home.commit, []

    async def late(*given: Any, **named: Any) -> Any:
        again.append(await other.take(PLAIN, key="k"))
        return await commit(*given, **named)

    monkeypatch.setattr(home, "commit", late)
    assert await one_pass(Contents(bench.checkpoints, bench.placement)) == {}

    [made] = again
    assert await bench.another().values(PLAIN, made.checkpoint_id) == {"k": text(1, 1_000)}
    await bench.check_references()


async def test_makers_removers_and_jobs_at_once(bench: Bench) -> None:
    """Whatever overlaps: counters are exact, and what is there is restorable."""
    held: dict[str, bytes] = {}
    going = True
    await bench.append(PLAIN, "k", "first")

    async def make(seed: int) -> None:
        rng, daemon = random.Random(seed), bench.another()
        for turn in range(25):
            if rng.randrange(3):
                await daemon.append(PLAIN, "k", text(1_000 * seed + turn, 800).decode())
            record = await daemon.take(PLAIN, key="k")
            held[record.checkpoint_id] = (await daemon.values(PLAIN, record.checkpoint_id))["k"]
            await asyncio.sleep(0)
            if rng.randrange(2) and len(held) > 4:
                doomed = rng.choice(list(held))
                del held[doomed]
                await daemon.checkpoints.delete(PLAIN, doomed)

    async def clean() -> None:
        daemon = bench.another()
        while going:
            for job in daemon.jobs():
                await one_pass(job)
            await asyncio.sleep(0)

    cleaners = [asyncio.create_task(clean()) for _ in range(2)]
    await asyncio.gather(*[make(seed) for seed in range(4)])
    going = False
    await asyncio.gather(*cleaners)

    await bench.check_references()
    assert sorted(await bench.ids(PLAIN)) == sorted(held)
    other = bench.another()
    for each, value in held.items():
        assert await other.values(PLAIN, each) == {"k": value}


async def test_a_chain_goes_in_one_pass(bench: Bench) -> None:
    for turn in range(30):
        await bench.append(PLAIN, "k", text(turn, 1_000).decode())
        await bench.take(PLAIN, key="k")
    ids = await bench.ids(PLAIN)
    for each in ids:
        await bench.checkpoints.delete(PLAIN, each)

    assert await one_pass(Contents(bench.checkpoints, bench.placement), limit=100) == {"contents": 30}
    assert await bench.rows(names.CONTENTS) == []


async def test_a_base_outlives_its_checkpoint(bench: Bench) -> None:
    ids = []
    for turn in range(10):
        await bench.append(PLAIN, "k", text(turn, 1_000).decode())
        ids.append((await bench.take(PLAIN, key="k")).checkpoint_id)
    kept = await bench.values(PLAIN, ids[-1])
    for each in ids[:-1]:
        await bench.checkpoints.delete(PLAIN, each)

    assert await bench.run() == {}

    assert await bench.another().values(PLAIN, ids[-1]) == kept
    assert len(await bench.rows(names.CONTENTS)) == 10


async def test_a_checkpoint_outlives_its_key(bench: Bench) -> None:
    for turn in range(5):
        await bench.append(EVERY_FIFTH, "k", turn)
    await bench.remove(EVERY_FIFTH, "k")
    await bench.run()

    await bench.restore(EVERY_FIFTH, key="k")

    assert await bench.value(EVERY_FIFTH, "k") == b"[0,1,2,3,4]"
