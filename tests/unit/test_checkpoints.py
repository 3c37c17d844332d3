"""Making and reading checkpoints: what is kept, what it continues, which are found, what is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.core import ledger as names
from sidecar.core.errors import (
    CheckpointNotFound,
    FailedPrecondition,
    InvalidRequest,
    Passthrough,
    VersionConflict,
)
from sidecar.core.limits import Limits
from sidecar.core.operations import Put
from sidecar.core.policy import PolicyTable
from sidecar.engine.checkpoints import taking
from sidecar.engine.engine import Engine
from tests.unit.checkpoints_support import PLAIN, STORES, Bench, request, running

A, B, C = b"first", b"second", b"third"


@pytest.fixture(params=STORES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running("memory", tmp_path) as made:
        yield made


async def test_a_checkpoint_holds_the_entry_as_it_was(bench: Bench) -> None:
    put = Put(key="k", value=b"\0\xff", content_type="x/y", schema_version=7, labels={"a": "b"}, ttl_ms=5_000)
    await bench.write(PLAIN, put)
    before = await bench.entry(PLAIN, "k")

    made = await bench.take(PLAIN, key="k", label="one", metadata={"m": "n"})
    await bench.remove(PLAIN, "k")

    snapshot = await bench.checkpoints.get(PLAIN, made.checkpoint_id)
    assert snapshot.entries == (before,)
    assert snapshot.record == made
    assert (made.label, made.metadata, made.key, made.key_prefix) == ("one", {"m": "n"}, "k", None)
    assert (made.entry_count, made.value_bytes, made.automatic) == (1, 2, False)
    assert made.create_time == bench.clock.now()
    assert made.stored_bytes > 0


async def test_a_prefix_is_kept_with_all_its_keys_in_order(bench: Bench) -> None:
    keys = ["p/\x00", "p/a", "p/ä", "p/\U0001f600"]
    for key in reversed(keys):
        await bench.put(PLAIN, key, key.encode())
    await bench.put(PLAIN, "q", b"another")

    made = await bench.take(PLAIN, key_prefix="p/")

    snapshot = await bench.checkpoints.get(PLAIN, made.checkpoint_id)
    assert [entry.key for entry in snapshot.entries] == keys
    assert [entry.value for entry in snapshot.entries] == [key.encode() for key in keys]
    assert (made.key, made.key_prefix, made.entry_count) == (None, "p/", 4)


async def test_a_prefix_is_of_one_moment_whatever_writers_do(bench: Bench) -> None:
    """Transactions move amounts between keys: each checkpoint has the same sum."""
    accounts = [f"p/{index}" for index in range(10)]
    await bench.write(PLAIN, *[Put(key=key, value=b"100") for key in accounts])
    going = True

    async def move(index: int) -> None:
        source, target = accounts[index], accounts[(index + 3) % 10]
        while going:
            held = {key: await bench.entry(PLAIN, key) for key in (source, target)}
            puts = [
                Put(key=key, value=b"%d" % (int(entry.value) + change), expected_version=entry.version)
                for (key, entry), change in zip(held.items(), (-1, 1), strict=True)
                if entry is not None
            ]
            with contextlib.suppress(VersionConflict):
                await bench.write(PLAIN, *puts)
            await asyncio.sleep(0)

    movers = [asyncio.create_task(move(index)) for index in range(5)]
    ids = []
    for _ in range(20):
        ids.append((await bench.take(PLAIN, key_prefix="p/")).checkpoint_id)
        bench.clock.advance(1)
        await asyncio.sleep(0)
    going = False
    await asyncio.gather(*movers)

    sums = [sum(int(value) for value in (await bench.values(PLAIN, each)).values()) for each in ids]
    assert sums == [1_000] * 20
    assert len({tuple((await bench.values(PLAIN, each)).values()) for each in ids}) > 5
    assert ids == sorted(ids)
    await bench.check_references()


async def test_a_state_that_others_were_faster_to_change_is_not_the_latest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever restores the latest gets the latest state that was kept, not the one whose commit came last."""
    await bench.put(PLAIN, "k", A)
    await bench.take(PLAIN, key="k")
    get_strong = bench.placement.get_strong

    async def late(*given: Any, **named: Any) -> Any:
        found = await get_strong(*given, **named)
        bench.clock.advance(5)
        await bench.put(PLAIN, "k", C)
        await bench.another().take(PLAIN, key="k")
        bench.clock.advance(5)
        return found

    await bench.put(PLAIN, "k", B)
    monkeypatch.setattr(bench.placement, "get_strong", late)
    made = await bench.take(PLAIN, key="k")

    newest, middle, _ = await bench.ids(PLAIN, key="k")
    assert middle == made.checkpoint_id
    assert await bench.values(PLAIN, newest) == {"k": C}
    await bench.check_references()


async def test_absent_keys_and_prefixes_are_refused(bench: Bench) -> None:
    await bench.put(PLAIN, "gone", b"x")
    await bench.remove(PLAIN, "gone")

    for asked in ({"key": "gone"}, {"key": "never"}, {"key_prefix": "gon"}):
        with pytest.raises(FailedPrecondition) as refused:
            await bench.take(PLAIN, **asked)
        assert refused.value.reason == "KEY_NOT_FOUND"
    assert await bench.rows() == []


async def test_an_expired_key_is_absent(bench: Bench) -> None:
    await bench.write(PLAIN, Put(key="k", value=b"x", ttl_ms=10))
    bench.clock.advance(10)

    with pytest.raises(FailedPrecondition):
        await bench.take(PLAIN, key="k")


@pytest.mark.parametrize(
    ("asked", "reason", "field"),
    [
        ({}, "KEY_INVALID", "key"),
        ({"key": "k", "key_prefix": "k"}, "KEY_INVALID", "key"),
        ({"key": "k" * 1025}, "KEY_INVALID", "key"),
        ({"key_prefix": "k" * 1025}, "KEY_INVALID", "key_prefix"),
        ({"key": "k", "label": "l" * 257}, "FIELD_TOO_LONG", "label"),
        ({"key": "k", "metadata": {"": "x"}}, "LABELS_INVALID", "metadata"),
        ({"key": "k", "metadata": {str(n): "x" for n in range(65)}}, "LABELS_INVALID", "metadata"),
        ({"key": "k", "request": request("r" * 129)}, "REQUEST_ID_INVALID", "request_id"),
    ],
)
async def test_what_no_checkpoint_can_be_asked_for(memory: Bench, asked: dict, reason: str, field: str) -> None:  # type: ignore[type-arg]  # keyword arguments
    await memory.put(PLAIN, "k", A)

    with pytest.raises(InvalidRequest) as refused:
        await memory.take(PLAIN, **asked)

    assert (refused.value.reason, refused.value.field) == (reason, field)


async def test_bounds_of_a_prefix(memory: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "MEMBERS_MAX", 3)
    monkeypatch.setattr(taking, "VALUES_BYTES_MAX", 10)
    for index in range(3):
        await memory.put(PLAIN, f"p/{index}", b"xyz")
    assert (await memory.take(PLAIN, key_prefix="p/")).entry_count == 3

    await memory.put(PLAIN, "p/0", b"12345")
    with pytest.raises(InvalidRequest) as too_large:
        await memory.take(PLAIN, key_prefix="p/")
    await memory.put(PLAIN, "p/0", b"")
    await memory.put(PLAIN, "p/3", b"")
    with pytest.raises(InvalidRequest) as too_many:
        await memory.take(PLAIN, key_prefix="p/")

    assert {too_large.value.reason, too_many.value.reason} == {"CHECKPOINT_TOO_LARGE"}


async def test_without_an_authority_there_are_no_checkpoints() -> None:
    engine = Engine(policies=PolicyTable(), limits=Limits(), hot=None, warm=None)

    for call in (
        engine.checkpoints.take(PLAIN, key="k"),
        engine.checkpoints.get(PLAIN, "0" * 28),
        engine.checkpoints.list(PLAIN),
        engine.checkpoints.delete(PLAIN, "0" * 28),
        engine.checkpoints.restore(PLAIN, key="k"),
    ):
        with pytest.raises(Passthrough):
            await call


# ---- ids and what they continue


async def test_ids_sort_by_time_also_within_a_millisecond_and_when_the_clock_goes_back(bench: Bench) -> None:
    ids = []
    for round_ in range(6):
        await bench.put(PLAIN, "k", b"%d" % round_)
        ids += [(await bench.take(PLAIN, key="k")).checkpoint_id for _ in range(2)]
        if round_ == 2:
            bench.clock.set_back(10_000)
        if round_ == 4:
            bench.clock.advance(20_000)

    assert ids == sorted(ids)
    assert len(set(ids)) == 12
    assert all(names.is_checkpoint_id(each) for each in ids)
    assert await bench.ids(PLAIN, key="k") == ids[::-1]


async def test_a_checkpoint_continues_the_one_before_it(bench: Bench) -> None:
    await bench.put(PLAIN, "k", A)
    await bench.put(PLAIN, "other", A)

    first = await bench.take(PLAIN, key="k")
    await bench.take(PLAIN, key="other")
    second = await bench.take(PLAIN, key="k")
    of_prefix = await bench.take(PLAIN, key_prefix="k")

    assert (first.parent_id, second.parent_id, of_prefix.parent_id) == ("", first.checkpoint_id, "")


async def test_after_a_restore_it_continues_what_was_restored(bench: Bench) -> None:
    ids = []
    for value in (A, B, C):
        await bench.put(PLAIN, "k", value)
        ids.append((await bench.take(PLAIN, key="k")).checkpoint_id)

    await bench.restore(PLAIN, checkpoint_id=ids[0])
    branch = await bench.take(PLAIN, key="k")
    await bench.put(PLAIN, "k", b"on the branch")
    next_of_it = await bench.take(PLAIN, key="k")
    await bench.restore(PLAIN, checkpoint_id=ids[1])
    await bench.put(PLAIN, "k", b"on another branch")
    another = await bench.take(PLAIN, key="k")

    assert branch.parent_id == ids[0]
    assert next_of_it.parent_id == branch.checkpoint_id
    assert another.parent_id == ids[1]


async def test_after_a_restore_of_a_prefix_it_continues_that(bench: Bench) -> None:
    await bench.write(PLAIN, Put(key="p/1", value=A), Put(key="p/2", value=A))
    first = await bench.take(PLAIN, key_prefix="p/")
    await bench.put(PLAIN, "p/1", B)
    await bench.take(PLAIN, key_prefix="p/")
    of_key = await bench.take(PLAIN, key="p/2")

    await bench.restore(PLAIN, checkpoint_id=first.checkpoint_id)
    await bench.restore(PLAIN, checkpoint_id=of_key.checkpoint_id)
    branch = await bench.take(PLAIN, key_prefix="p/")
    after = await bench.take(PLAIN, key_prefix="p/")

    assert branch.parent_id == first.checkpoint_id
    assert after.parent_id == branch.checkpoint_id


async def test_a_parent_that_is_given_is_it_if_there_is_one(bench: Bench) -> None:
    await bench.put(PLAIN, "k", A)
    first = await bench.take(PLAIN, key="k")
    await bench.take(PLAIN, key="k")

    given = await bench.take(PLAIN, key="k", parent_id=first.checkpoint_id)

    assert given.parent_id == first.checkpoint_id
    for missing in ("0" * 28, "no id", "\0"):
        with pytest.raises(CheckpointNotFound):
            await bench.take(PLAIN, key="k", parent_id=missing)


# ---- lists


async def test_lists_are_of_a_key_or_of_a_prefix_exactly_or_of_all(bench: Bench) -> None:
    await bench.write(PLAIN, Put(key="k", value=A), Put(key="kk", value=A))
    made = {}
    for name, asked in {"k": {"key": "k"}, "kk": {"key": "kk"}, "k*": {"key_prefix": "k"}}.items():
        bench.clock.advance(1)
        made[name] = (await bench.take(PLAIN, **asked)).checkpoint_id

    assert await bench.ids(PLAIN, key="k") == [made["k"]]
    assert await bench.ids(PLAIN, key_prefix="k") == [made["k*"]]
    assert await bench.ids(PLAIN, key_prefix="kk") == []
    assert await bench.ids(PLAIN) == [made["k*"], made["kk"], made["k"]]
    assert await bench.ids("elsewhere") == []


@pytest.mark.parametrize("asked", [{"key": "k"}, {}])
async def test_pages_go_on_where_the_last_one_ended(bench: Bench, asked: dict[str, str]) -> None:
    await bench.put(PLAIN, "k", A)
    ids = [(await bench.take(PLAIN, key="k")).checkpoint_id for _ in range(7)][::-1]

    found, token, pages = [], "", 0
    while not pages or token:
        page = await bench.page(PLAIN, page_size=3, page_token=token, **asked)
        found += [record.checkpoint_id for record in page.records]
        token, pages = page.next_page_token, pages + 1
        if pages == 1:  # neither a new one nor the end of one that was told moves the rest
            await bench.take(PLAIN, key="k")
            await bench.checkpoints.delete(PLAIN, ids[0])

    assert found == ids
    assert pages == 3


async def test_a_page_is_bounded_in_bytes(tmp_path: Path) -> None:
    async with running("memory", tmp_path, limits=Limits(page_bytes_max=3_000)) as bench:
        await bench.put(PLAIN, "k", A)
        for _ in range(5):
            await bench.take(PLAIN, key="k", metadata={"m": "x" * 1_000})

        for asked in ({"key": "k"}, {}):
            page = await bench.page(PLAIN, **asked)
            assert len(page.records) == 2
            assert page.next_page_token


async def test_a_token_of_another_list_is_refused(memory: Bench) -> None:
    await memory.put(PLAIN, "k", A)
    for _ in range(2):
        await memory.take(PLAIN, key="k")
    token = (await memory.page(PLAIN, key="k", page_size=1)).next_page_token

    for asked in ({"key": "other"}, {"key_prefix": "k"}, {}):
        with pytest.raises(InvalidRequest) as refused:
            await memory.page(PLAIN, page_token=token, **asked)
        assert refused.value.reason == "PAGE_TOKEN_INVALID"
    with pytest.raises(InvalidRequest) as size:
        await memory.page(PLAIN, page_size=1_001)
    assert size.value.reason == "PAGE_SIZE_INVALID"


@pytest.mark.parametrize("missing", ["", "x", "0" * 28, "0" * 27 + "g", "../" * 9])
async def test_what_is_not_there_is_not_found(bench: Bench, missing: str) -> None:
    for call in (bench.checkpoints.get(PLAIN, missing), bench.checkpoints.delete(PLAIN, missing)):
        with pytest.raises(CheckpointNotFound):
            await call
    if missing:
        with pytest.raises(CheckpointNotFound):
            await bench.restore(PLAIN, checkpoint_id=missing)


async def test_another_namespace_has_others(bench: Bench) -> None:
    await bench.put(PLAIN, "k", A)
    made = await bench.take(PLAIN, key="k")

    for call in (
        bench.checkpoints.get("other", made.checkpoint_id),
        bench.checkpoints.delete("other", made.checkpoint_id),
        bench.restore("other", checkpoint_id=made.checkpoint_id),
        bench.restore("other", key="k"),
    ):
        with pytest.raises(CheckpointNotFound):
            await call
