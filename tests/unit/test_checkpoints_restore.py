"""Restoring: ordinary writes with new versions, guarded or not, all or nothing, beside writers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core import marks
from sidecar.core.errors import CheckpointNotFound, InvalidRequest, OutcomeUnknown, Unsupported, VersionConflict
from sidecar.core.hlc import HLC_LABEL
from sidecar.core.operations import Put
from sidecar.core.policy import Policy, PolicyTable
from sidecar.core.store import StoreCapabilities
from sidecar.engine.checkpoints import restoring
from tests.unit.checkpoints_support import PLAIN, STORES, Bench, request, running, text, values_of

A, B, C = b"first", b"second", b"third"


@pytest.fixture(params=STORES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(request.param, tmp_path) as made:
        yield made


async def test_a_key_is_as_it_was_under_a_new_version(bench: Bench) -> None:
    put = Put(key="k", value=A, content_type="x/y", schema_version=7, labels={"a": "b"}, ttl_ms=5_000)
    await bench.write(PLAIN, put)
    made = await bench.take(PLAIN, key="k")
    bench.clock.advance(4_000)
    later = await bench.put(PLAIN, "k", B)

    restored = await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id)

    entry = await bench.entry(PLAIN, "k")
    assert entry is not None
    assert (entry.value, entry.content_type, entry.schema_version) == (A, "x/y", 7)
    assert entry.version == restored.version > later
    assert (entry.ttl_ms, entry.expire_time) == (5_000, bench.clock.now() + 5_000)
    assert restored.record == made
    [told] = restored.entries
    assert told == entry._replace(labels={"a": "b"})
    assert told.create_time < told.update_time == bench.clock.now()


async def test_a_deleted_key_comes_back(bench: Bench) -> None:
    await bench.put(PLAIN, "k", A)
    await bench.take(PLAIN, key="k")
    await bench.remove(PLAIN, "k")

    restored = await bench.restore(PLAIN, key="k")

    assert await bench.value(PLAIN, "k") == A
    assert restored.entries[0].create_time == bench.clock.now()


async def test_the_latest_is_the_one_that_was_made_last(bench: Bench) -> None:
    for value in (A, B):
        await bench.write(PLAIN, Put(key="p/1", value=value), Put(key="p/2", value=value))
        await bench.take(PLAIN, key="p/1")
        await bench.take(PLAIN, key_prefix="p/")
    await bench.write(PLAIN, Put(key="p/1", value=C), Put(key="p/2", value=C))

    await bench.restore(PLAIN, key="p/1")
    assert [await bench.value(PLAIN, key) for key in ("p/1", "p/2")] == [B, C]

    await bench.restore(PLAIN, key_prefix="p/")
    assert [await bench.value(PLAIN, key) for key in ("p/1", "p/2")] == [B, B]

    for nothing in ({"key": "p/2"}, {"key_prefix": "p"}):
        with pytest.raises(CheckpointNotFound):
            await bench.restore(PLAIN, **nothing)


async def test_a_prefix_is_as_it_was_with_what_was_made_since_deleted(bench: Bench) -> None:
    await bench.write(PLAIN, *[Put(key=f"p/{name}", value=name.encode()) for name in ("kept", "changed", "gone")])
    await bench.put(PLAIN, "other", A)
    made = await bench.take(PLAIN, key_prefix="p/")
    await bench.put(PLAIN, "p/changed", B)
    await bench.remove(PLAIN, "p/gone")
    for index in range(5):
        await bench.put(PLAIN, f"p/new{index}", C)

    restored = await bench.restore(PLAIN, key_prefix="p/")

    listed = await bench.engine.reads.list(PLAIN, "", page_size=0, page_token="", keys_only=False, deadline=None)
    assert values_of(listed.entries) == {
        "other": A, "p/changed": b"changed", "p/gone": b"gone", "p/kept": b"kept",
    }  # fmt: skip
    assert {entry.version for entry in restored.entries} == {restored.version}
    assert [entry.key for entry in restored.entries] == ["p/changed", "p/gone", "p/kept"]
    assert restored.record == made


async def test_a_guard_lets_it_be_or_refuses_it(bench: Bench) -> None:
    first = await bench.put(PLAIN, "k", A)
    made = await bench.take(PLAIN, key="k")
    second = await bench.put(PLAIN, "k", B)

    with pytest.raises(VersionConflict) as lost:
        await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id, expected_version=first)
    assert (lost.value.key, lost.value.current_version) == ("k", second)
    assert await bench.value(PLAIN, "k") == B

    await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id, expected_version=second)
    assert await bench.value(PLAIN, "k") == A
    await bench.remove(PLAIN, "k")
    await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id, expected_version=0)
    assert await bench.value(PLAIN, "k") == A


async def test_what_no_restore_can_ask_for(bench: Bench) -> None:
    await bench.put(PLAIN, "k", A)
    made = await bench.take(PLAIN, key_prefix="k")

    for asked, reason in [
        ({}, "KEY_INVALID"),
        ({"key": "k", "key_prefix": "k"}, "KEY_INVALID"),
        ({"checkpoint_id": made.checkpoint_id, "key": "k"}, "KEY_INVALID"),
        ({"checkpoint_id": made.checkpoint_id, "expected_version": 1}, "VERSION_INVALID"),
        ({"checkpoint_id": made.checkpoint_id, "expected_version": -1}, "VERSION_INVALID"),
        ({"key": "k", "request": request("r" * 129)}, "REQUEST_ID_INVALID"),
    ]:
        with pytest.raises(InvalidRequest) as refused:
            await bench.restore(PLAIN, **asked)  # type: ignore[arg-type]  # keyword arguments
        assert refused.value.reason == reason


async def test_a_value_that_is_too_large_by_now_is_refused(bench: Bench) -> None:
    await bench.put(PLAIN, "k", text(1, 1_000))
    await bench.take(PLAIN, key="k")
    smaller = Bench(bench.store, bench.clock, bench.cold, policies=PolicyTable({PLAIN: Policy(value_bytes_max=999)}))

    with pytest.raises(InvalidRequest) as refused:
        await smaller.restore(PLAIN, key="k")

    assert refused.value.reason == "VALUE_TOO_LARGE"


async def test_many_entries_are_one_commit(bench: Bench) -> None:
    """More than a transaction of a caller may have."""
    for index in range(0, 500, 100):
        await bench.write(PLAIN, *[Put(key=f"p/{at:04}", value=b"%d" % at) for at in range(index, index + 100)])
    made = await bench.take(PLAIN, key_prefix="p/")
    await bench.engine.writes.delete_prefix(PLAIN, "p/", all_keys=False, request=None)

    restored = await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id)

    assert len(restored.entries) == 500
    assert len({entry.version for entry in restored.entries}) == 1
    assert await bench.value(PLAIN, "p/0499") == b"499"


async def test_a_store_with_a_bound_says_so(bench: Bench) -> None:
    await bench.write(PLAIN, *[Put(key=f"p/{index}", value=A) for index in range(5)])
    await bench.take(PLAIN, key_prefix="p/")
    bounded: StoreCapabilities = replace(bench.store.capabilities, operations_max=4)
    bench.store.capabilities = bounded  # type: ignore[misc]  # as a store of another backend

    with pytest.raises(Unsupported) as refused:
        await bench.restore(PLAIN, key_prefix="p/")

    assert refused.value.metadata["operations_max"] == "4"


async def test_large_values_are_restored_large(bench: Bench) -> None:
    value = text(1, 2_500_000)
    await bench.put(PLAIN, "k", value)
    await bench.take(PLAIN, key="k")
    await bench.put(PLAIN, "k", A)

    await bench.another().restore(PLAIN, key="k")

    assert await bench.another().value(PLAIN, "k") == value


async def test_the_time_of_a_buffered_write_is_not_restored(bench: Bench) -> None:
    await bench.write(PLAIN, Put(key="k", value=A, labels={HLC_LABEL: "1.00000000", "a": "b"}))
    await bench.take(PLAIN, key="k")

    restored = await bench.restore(PLAIN, key="k")

    entry = await bench.entry(PLAIN, "k")
    assert entry is not None
    assert restored.entries[0].labels == marks.callers_labels(entry.labels) == {"a": "b"}


# ---- request ids


async def test_a_request_id_restores_once_and_the_same_one(bench: Bench) -> None:
    await bench.put(PLAIN, "k", A)
    first = await bench.take(PLAIN, key="k")
    restored = await bench.restore(PLAIN, key="k", request=request("r"))
    bench.clock.advance(1)
    await bench.put(PLAIN, "k", B)
    await bench.take(PLAIN, key="k")

    again = await bench.another().restore(PLAIN, key="k", request=request("r"))

    assert again.version == restored.version
    assert again.record.checkpoint_id == first.checkpoint_id
    assert (again.entries[0].value, again.entries[0].version) == (A, restored.version)
    assert await bench.value(PLAIN, "k") == B
    with pytest.raises(InvalidRequest) as reused:
        await bench.restore(PLAIN, key="k", request=request("r", b"other"))
    assert reused.value.reason == "REQUEST_ID_REUSED"


async def test_a_repetition_answers_exactly_what_it_did_while_nobody_wrote(bench: Bench) -> None:
    await bench.write(PLAIN, Put(key="p/1", value=A, ttl_ms=1_000), Put(key="p/2", value=A))
    made = await bench.take(PLAIN, key_prefix="p/")
    await bench.put(PLAIN, "p/3", A)
    restored = await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id, request=request("r"))
    bench.clock.advance(500)

    again = await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id, request=request("r"))

    assert again == restored


async def test_a_refusal_is_repeated_under_its_request_id(bench: Bench) -> None:
    first = await bench.put(PLAIN, "k", A)
    await bench.take(PLAIN, key="k")
    await bench.put(PLAIN, "k", B)
    with pytest.raises(VersionConflict):
        await bench.restore(PLAIN, key="k", expected_version=first, request=request("r"))

    with pytest.raises(VersionConflict):
        await bench.restore(PLAIN, key="k", expected_version=first, request=request("r"))


async def test_a_lost_reply_is_found_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.put(PLAIN, "k", A)
    await bench.take(PLAIN, key="k")
    commit = bench.placement.commit

    async def lost(write: object) -> object:
        await commit(write)  # type: ignore[arg-type]  # a Write
        raise OutcomeUnknown("the reply was lost")

    monkeypatch.setattr(bench.placement, "commit", lost)
    with pytest.raises(OutcomeUnknown):
        await bench.restore(PLAIN, key="k", request=request("r"))
    monkeypatch.undo()
    version = (await bench.entry(PLAIN, "k") or pytest.fail("it is there")).version

    restored = await bench.restore(PLAIN, key="k", request=request("r"))

    assert restored.version == version
    assert restored.entries[0].version == version


# ---- beside others


async def test_guarded_restores_and_writers_are_one_order(bench: Bench) -> None:
    """Each success moves the key by exactly one version that somebody was told."""
    await bench.put(PLAIN, "k", b"0")
    made = await bench.take(PLAIN, key="k")
    told: list[tuple[int, int]] = []

    async def work(index: int) -> None:
        for _ in range(10):
            entry = await bench.entry(PLAIN, "k")
            assert entry is not None
            with contextlib.suppress(VersionConflict):
                if index % 2:
                    restored = await bench.restore(
                        PLAIN, checkpoint_id=made.checkpoint_id, expected_version=entry.version
                    )
                    told.append((entry.version, restored.version))
                else:
                    written = await bench.write(
                        PLAIN, Put(key="k", value=b"%d" % index, expected_version=entry.version)
                    )
                    told.append((entry.version, written.version))

    begun = (await bench.entry(PLAIN, "k") or pytest.fail("it is there")).version
    await asyncio.gather(*[work(index) for index in range(8)])

    told.sort()
    assert [before for before, _ in told] == [begun, *[after for _, after in told[:-1]]]


async def test_a_prefix_is_restored_beside_writers_of_its_other_keys(bench: Bench) -> None:
    await bench.put(PLAIN, "p/kept", A)
    made = await bench.take(PLAIN, key_prefix="p/")
    for index in range(4):
        await bench.put(PLAIN, f"p/other{index}", A)
    going = True

    async def write(index: int) -> None:
        for count in range(30):
            await bench.put(PLAIN, f"p/other{index}", b"%d" % count)
            await asyncio.sleep(0)

    writers = [asyncio.create_task(write(index)) for index in range(4)]
    with contextlib.suppress(VersionConflict):  # they never rested
        restored = await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id)
        assert restored.version
    going = False
    await asyncio.gather(*writers)

    assert not going
    assert await bench.value(PLAIN, "p/kept") == A


async def test_a_key_that_changes_between_the_scan_and_the_commit_is_looked_at_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.put(PLAIN, "p/kept", A)
    made = await bench.take(PLAIN, key_prefix="p/")
    await bench.put(PLAIN, "p/other", A)
    present = restoring._present
    rounds = 0

    async def disturbed(*given: object) -> dict[str, int]:
        nonlocal rounds
        found = await present(*given)  # type: ignore[arg-type]  # what it was given
        rounds += 1
        if rounds < 3:
            await bench.put(PLAIN, "p/other", b"%d" % rounds)
        return found

    monkeypatch.setattr(restoring, "_present", disturbed)
    await bench.restore(PLAIN, checkpoint_id=made.checkpoint_id, request=request("r"))

    assert rounds == 3
    assert await bench.value(PLAIN, "p/other") is None
