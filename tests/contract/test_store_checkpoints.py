"""Checkpoints on every store that can be an authority: its ordinary rows and commits are all that they need."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar.core.errors import InvalidRequest, VersionConflict
from sidecar.core.ledger import CONTENTS
from sidecar.core.operations import Put
from tests.contract.harnesses import StoreUnderTest
from tests.unit.checkpoints_support import EVERY_FIFTH, KEEP, PLAIN, Bench, request, text


def bench_of(store: StoreUnderTest) -> Bench:
    """A daemon's engine on the store, with a cold tier beside it."""
    return Bench(store.store, store.clock, Path(store.directory) / "cold")


async def test_a_key_is_kept_and_restored(store: StoreUnderTest) -> None:
    bench = bench_of(store)
    await bench.write(PLAIN, Put(key="k\0", value=b"\xff\0", content_type="x/y", labels={"a": "b"}, ttl_ms=3_600_000))
    made = await bench.take(PLAIN, key="k\0", label="one")
    await bench.put(PLAIN, "k\0", b"other")

    [kept] = (await bench.another().checkpoints.get(PLAIN, made.checkpoint_id)).entries
    restored = await bench.restore(PLAIN, key="k\0")

    entry = await bench.entry(PLAIN, "k\0")
    assert entry is not None
    assert (kept.value, kept.content_type, kept.labels, kept.ttl_ms) == (b"\xff\0", "x/y", {"a": "b"}, 3_600_000)
    assert (entry.value, entry.version, entry.ttl_ms) == (kept.value, restored.version, kept.ttl_ms)
    assert entry.version > kept.version
    [told] = restored.entries
    assert told == entry._replace(labels={"a": "b"})
    assert (await bench.take(PLAIN, key="k\0")).parent_id == made.checkpoint_id


async def test_a_prefix_is_kept_and_restored(store: StoreUnderTest) -> None:
    bench = bench_of(store)
    await bench.write(PLAIN, *[Put(key=f"p/{index}", value=b"%d" % index) for index in range(20)])
    made = await bench.take(PLAIN, key_prefix="p/")
    await bench.remove(PLAIN, "p/3")
    await bench.put(PLAIN, "p/4", b"other")
    await bench.put(PLAIN, "p/new", b"new")

    restored = await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id)

    assert len({entry.version for entry in restored.entries}) == 1
    page = await store.scan("p/", namespace=PLAIN)
    assert {entry.key: entry.value for entry in page.entries} == {f"p/{index}": b"%d" % index for index in range(20)}
    assert await bench.ids(PLAIN, key_prefix="p/") == [made.checkpoint_id]


async def test_a_prefix_is_of_one_moment(store: StoreUnderTest) -> None:
    """Also on a store whose pages are not: then it says that it never rested."""
    bench = bench_of(store)
    keys = [f"p/{index}" for index in range(8)]
    await bench.write(PLAIN, *[Put(key=key, value=b"0") for key in keys])
    going = True

    async def move(index: int) -> None:
        number = 0
        while going:
            number += 1
            await bench.write(PLAIN, *[Put(key=key, value=b"%d %d" % (index, number)) for key in keys])
            await asyncio.sleep(0)

    movers = [asyncio.create_task(move(index)) for index in range(2)]
    made = []
    for _ in range(6):
        try:
            made.append(await bench.take(PLAIN, key_prefix="p/"))
        except VersionConflict:
            assert not store.store.capabilities.snapshots
        await asyncio.sleep(0)
    going = False
    await asyncio.gather(*movers)
    made.append(await bench.take(PLAIN, key_prefix="p/"))

    for record in made:
        assert len(set((await bench.values(PLAIN, record.checkpoint_id)).values())) == 1


async def test_request_ids_make_one(store: StoreUnderTest) -> None:
    bench = bench_of(store)
    await bench.put(PLAIN, "k", b"one")
    made = await asyncio.gather(*[bench.another().take(PLAIN, key="k", request=request("r")) for _ in range(4)])
    restored = await bench.restore(PLAIN, key="k", request=request("restore"))
    await bench.put(PLAIN, "k", b"two")

    assert len({record.checkpoint_id for record in made}) == 1
    assert await bench.take(PLAIN, key="k", request=request("r")) == made[0]
    assert (await bench.restore(PLAIN, key="k", request=request("restore"))).version == restored.version
    assert await bench.value(PLAIN, "k") == b"two"
    with pytest.raises(InvalidRequest):
        await bench.take(PLAIN, key="k", request=request("r", b"other"))


async def test_a_chain_is_pruned_and_in_the_end_nothing_is_left(store: StoreUnderTest) -> None:
    bench = bench_of(store)
    held = {}
    for turn in range(14):
        await bench.append(PLAIN, "k", text(turn, 1_500).decode())
        record = await bench.take(PLAIN, key="k")
        held[record.checkpoint_id] = await bench.value(PLAIN, "k")
    for each in [*list(held)[:9], list(held)[11]]:
        await bench.checkpoints.delete(PLAIN, each)
        del held[each]
    await bench.run()

    for each, value in held.items():
        assert await bench.another().values(PLAIN, each) == {"k": value}
    await bench.check_references()
    for each in held:
        await bench.checkpoints.delete(PLAIN, each)
    await bench.run()
    assert await bench.rows(CONTENTS) == []
    await bench.check_references()


async def test_automatic_ones_are_exact_with_many_writers(quiet_store: StoreUnderTest) -> None:
    bench = bench_of(quiet_store)
    await asyncio.gather(*[bench.append(EVERY_FIFTH, "k", writer) for writer in range(5 * (KEEP + 2))])
    final = (await bench.value(EVERY_FIFTH, "k") or b"")[1:-1].split(b",")

    ids = await bench.ids(EVERY_FIFTH, key="k")
    assert len(ids) == KEEP + 2
    waiting = {each: await bench.values(EVERY_FIFTH, each) for each in ids}
    for count, each in enumerate(reversed(ids), start=1):
        assert waiting[each]["k"][1:-1].split(b",") == final[: 5 * count]

    assert await bench.run(bench.settle()) == {"settled": KEEP, "checkpoints": 2}

    left = ids[:KEEP]
    assert await bench.ids(EVERY_FIFTH, key="k") == left
    assert {each: await bench.another().values(EVERY_FIFTH, each) for each in left} == {
        each: waiting[each] for each in left
    }
    await bench.check_references()


async def test_several_keys_of_one_commit_have_one_each(quiet_store: StoreUnderTest) -> None:
    bench = bench_of(quiet_store)
    for _ in range(5):
        await bench.write(EVERY_FIFTH, *[Put(key=f"k{index}", value=b"%d" % index) for index in range(6)])

    for index in range(6):
        [each] = await bench.ids(EVERY_FIFTH, key=f"k{index}")
        assert await bench.values(EVERY_FIFTH, each) == {f"k{index}": b"%d" % index}
