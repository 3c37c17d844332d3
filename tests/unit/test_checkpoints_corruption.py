"""What is stored of a checkpoint is given back as it was, or not at all: DATA_LOSS for every bit that is another one."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core import deltas, marks
from sidecar.core import ledger as names
from sidecar.core.checkpoints import document, entries_of, seal, unseal
from sidecar.core.contents import content_key
from sidecar.core.entry import Entry
from sidecar.core.errors import CheckpointNotFound, DataLoss
from sidecar.core.operations import Remove
from tests.unit.checkpoints_support import EVERY_FIFTH, PLAIN, Bench, running, text


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running("memory", tmp_path) as made:
        yield made


def flips(content: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(content)):
        spoilt = bytearray(content)
        spoilt[bit // 8] ^= 1 << bit % 8
        yield bytes(spoilt)


async def _refused(bench: Bench, namespace: str, checkpoint: str) -> None:
    with pytest.raises(DataLoss) as lost:
        await bench.another().checkpoints.get(namespace, checkpoint)
    assert lost.value.reason == "CHECKPOINT_CORRUPT"


async def _all_flips_are_refused(bench: Bench, row: Entry, namespace: str, checkpoint: str) -> None:
    for spoilt in flips(row.value):
        await bench.spoil(row.key, spoilt)
        await _refused(bench, namespace, checkpoint)
    for cut in (b"", row.value[:-1], row.value + b"\0"):
        await bench.spoil(row.key, cut)
        await _refused(bench, namespace, checkpoint)
    await bench.spoil(row.key, row.value)
    await bench.another().checkpoints.get(namespace, checkpoint)


async def test_every_bit_of_every_row_of_a_chain(bench: Bench) -> None:
    for turn in range(3):
        await bench.append(PLAIN, "k", text(turn, 60).decode())
        await bench.take(PLAIN, key="k")
    [made, *_] = (await bench.page(PLAIN)).records
    rows = await bench.rows(names.CONTENTS)
    assert len(rows) == 3
    assert (await bench.content(made.content)).link.depth == 2

    for row in rows:
        await _all_flips_are_refused(bench, row, PLAIN, made.checkpoint_id)


async def test_every_bit_of_the_record(bench: Bench) -> None:
    await bench.put(PLAIN, "k", b"x")
    made = await bench.take(PLAIN, key="k", label="l", metadata={"a": "b"})
    [row] = await bench.rows(names.CHECKPOINTS)

    await _all_flips_are_refused(bench, row, PLAIN, made.checkpoint_id)


async def test_every_bit_of_what_waits(bench: Bench) -> None:
    for turn in range(5):
        await bench.append(EVERY_FIFTH, "k", turn)
    [checkpoint] = await bench.ids(EVERY_FIFTH)
    [row] = await bench.rows(names.WAITING)

    await _all_flips_are_refused(bench, row, EVERY_FIFTH, checkpoint)


async def test_a_value_in_cold_that_is_another_one_is_refused(bench: Bench) -> None:
    """The object is in order, and not the one whose digest was kept."""
    for turn in range(5):
        await bench.put(EVERY_FIFTH, "k", text(turn, 1_200_000))
    [checkpoint] = await bench.ids(EVERY_FIFTH)
    [row] = await bench.rows(names.WAITING)
    [entry] = entries_of(EVERY_FIFTH, unseal(row.value, row.key))
    pointer = marks.pointer_of(entry)
    await bench.put(PLAIN, "other", text(9, 1_200_000))
    [other] = await bench.placement.rows(PLAIN, ["other"])
    assert isinstance(other, Entry)
    theirs = marks.pointer_of(other)
    assert pointer is not None
    assert theirs is not None

    forged = entry._replace(labels={marks.BLOB: replace(pointer, blob=theirs.blob).text})
    await bench.spoil(row.key, seal(document([forged]), row.key))

    await _refused(bench, EVERY_FIFTH, checkpoint)


async def test_bits_of_a_blob(bench: Bench) -> None:
    await bench.put(PLAIN, "k", text(1, 60_000))
    made = await bench.take(PLAIN, key="k")
    blob = (await bench.content(made.content)).blob
    assert bench.cold is not None
    [path] = [path for path in bench.cold.rglob("*") if path.is_file() and blob.endswith(path.name)]
    content = path.read_bytes()

    for bit in range(0, 8 * len(content), 997):
        spoilt = bytearray(content)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        await _refused(bench, PLAIN, made.checkpoint_id)
    path.unlink()
    await _refused(bench, PLAIN, made.checkpoint_id)


@pytest.mark.parametrize("prefix", [names.CONTENTS, names.CHECKPOINTS])
async def test_a_row_that_the_store_itself_finds_spoilt(tmp_path: Path, prefix: str) -> None:
    async with running("sqlite", tmp_path) as bench:
        await bench.put(PLAIN, "k", b"state")
        made = await bench.take(PLAIN, key="k")
        [row] = await bench.rows(prefix)
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        spoilt = (row.value[:-1] + bytes([row.value[-1] ^ 1]), row.key.encode())
        connection.execute("UPDATE entries SET value = ? WHERE key = ?", spoilt)

    async with running("sqlite", tmp_path) as bench:
        await _refused(bench, PLAIN, made.checkpoint_id)


async def test_a_missing_or_exchanged_part_is_refused(bench: Bench) -> None:
    for turn in range(20):
        await bench.append(PLAIN, "k", text(turn, 300).decode())
        await bench.take(PLAIN, key="k")
    [made, *_] = (await bench.page(PLAIN)).records
    rows = await bench.rows(names.CONTENTS)

    for row, other in itertools.pairwise(rows):
        await bench.spoil(row.key, other.value)
        await _refused(bench, PLAIN, made.checkpoint_id)
        await bench.spoil(row.key, row.value)
    for row in rows:
        await bench.placement.ledger.commit([Remove(key=row.key)])
        await _refused(bench, PLAIN, made.checkpoint_id)
        await bench.spoil(row.key, row.value)
    await bench.another().checkpoints.get(PLAIN, made.checkpoint_id)


async def test_a_content_of_another_namespace_is_refused(bench: Bench) -> None:
    """Somebody who can write rows can't have one namespace's state told to another."""
    for namespace in ("one", "two"):
        await bench.put(namespace, "k", namespace.encode())
    first = await bench.take("one", key="k")
    second = await bench.take("two", key="k")
    [theirs, ours] = await bench.placement.ledger.get([content_key(first.content), content_key(second.content)])
    assert theirs is not None
    assert ours is not None

    await bench.spoil(ours.key, theirs.value)

    await _refused(bench, "two", second.checkpoint_id)


async def test_other_bytes_that_are_in_order_in_themselves_are_refused(bench: Bench) -> None:
    """The row verifies and so does its form, and the content is not the one that was kept."""
    await bench.put(PLAIN, "k", b"state")
    made = await bench.take(PLAIN, key="k")
    content = await bench.content(made.content)
    kept = deltas.decode(content.data, bytes_max=1_000)
    forged = replace(content, data=deltas.encode(kept.replace(b"state", b"other")))

    await bench.spoil(content_key(made.content), forged.encode())

    await _refused(bench, PLAIN, made.checkpoint_id)


async def test_a_corrupt_one_can_be_deleted_and_is_no_base(bench: Bench) -> None:
    await bench.put(PLAIN, "k", text(1, 1_000))
    first = await bench.take(PLAIN, key="k")
    [row] = await bench.rows(names.CONTENTS)
    await bench.spoil(row.key, b"nonsense")

    await bench.put(PLAIN, "k", text(1, 1_000) + b"more")
    other = bench.another()
    second = await other.take(PLAIN, key="k")
    await _refused(bench, PLAIN, first.checkpoint_id)
    await other.checkpoints.delete(PLAIN, first.checkpoint_id)
    await other.run()

    assert await bench.another().values(PLAIN, second.checkpoint_id) == {"k": text(1, 1_000) + b"more"}
    assert len(await bench.rows(names.CONTENTS)) == 1


async def test_what_waits_and_is_corrupt_does_not_hold_up_the_others(bench: Bench) -> None:
    for turn in range(15):
        await bench.append(EVERY_FIFTH, "k", turn)
    newest, middle, oldest = await bench.ids(EVERY_FIFTH)
    await bench.spoil(names.waiting_key(EVERY_FIFTH, middle), b"nonsense")

    other = bench.another()
    assert await other.run() == {"settled": 2}

    assert len(await other.values(EVERY_FIFTH, newest)) == len(await other.values(EVERY_FIFTH, oldest)) == 1
    await _refused(bench, EVERY_FIFTH, middle)
    await other.checkpoints.delete(EVERY_FIFTH, middle)


async def test_one_that_is_deleted_while_it_is_read_is_not_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.put(PLAIN, "k", text(1, 1_000))
    made = await bench.take(PLAIN, key="k")
    other = bench.another()
    load = other.checkpoints.home(other.placement).contents.load

    async def late(*given: object, **named: object) -> bytes:
        await bench.checkpoints.delete(PLAIN, made.checkpoint_id)
        await bench.run()
        return await load(*given, **named)  # type: ignore[arg-type]  # what it was given

    monkeypatch.setattr(other.checkpoints.home(other.placement).contents, "load", late)
    with pytest.raises(CheckpointNotFound):
        await other.checkpoints.get(PLAIN, made.checkpoint_id)


async def test_one_that_is_stored_while_it_is_read_is_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for turn in range(5):
        await bench.append(EVERY_FIFTH, "k", turn)
    [checkpoint] = await bench.ids(EVERY_FIFTH)
    other = bench.another()
    get = other.placement.ledger.get
    settled = False

    async def late(keys: list[str], **named: object) -> object:
        nonlocal settled
        if keys[0].startswith(names.WAITING) and not settled:
            settled = True
            await bench.run()
        return await get(keys, **named)  # type: ignore[arg-type]  # what it was given

    monkeypatch.setattr(other.placement.ledger, "get", late)

    assert await other.values(EVERY_FIFTH, checkpoint) == {"k": b"[0,1,2,3,4]"}
    assert settled
