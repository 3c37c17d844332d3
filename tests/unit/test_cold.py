"""Values in cold: readers and writers above the placement see them in full, or are told the truth."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.entry import Entry
from sidecar.core.errors import (
    ColdUnavailable,
    FailedPrecondition,
    VersionConflict,
)
from sidecar.core.marks import BLOB, WOKEN
from sidecar.core.modes import Tier
from sidecar.core.operations import Append, Change, Check, Increment, MergePatch, Put, Remove, Write, WriteId
from sidecar.core.store import Outcome
from tests.support.factories import NAMESPACE
from tests.unit.cold_support import KEY, LARGE, Deployment, done, idle, large

REQUEST = WriteId(request_id="r", fingerprint=b"f")


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "cold")


# ---- large values


async def test_a_large_value_is_in_cold_and_its_row_points_there(deployment: Deployment) -> None:
    version = await deployment.put(large(), labels={"a": "b"}, content_type="x/y", ttl_ms=5_000)
    row = await deployment.row()

    assert isinstance(row, Entry)
    assert (row.value, row.version) == (b"", version)
    assert await deployment.stored() == [await deployment.blob()]
    entry = (await deployment.lookup()).entry
    assert entry == row._replace(value=large(), labels={"a": "b"})


@pytest.mark.parametrize("size", [LARGE, LARGE + 1])
async def test_the_threshold(deployment: Deployment, size: int) -> None:
    await deployment.put(large(size=size))

    assert len(await deployment.stored()) == (size > LARGE)
    assert await deployment.value(strong=True) == large(size=size)


async def test_no_value_is_large_where_the_policy_says_so(deployment: Deployment) -> None:
    deployment.large_bytes = None
    await deployment.put(large())

    assert await deployment.stored() == []
    assert await deployment.value() == large()


async def test_what_was_written_is_answered_in_full_to_who_learns_from_it(deployment: Deployment) -> None:
    outcome = await deployment.commit(
        Put(key="a", value=large(1)), Put(key="b", value=b"small"), Put(key="c", value=large(2))
    )

    assert [result.version for result in outcome.results] == [outcome.version] * 3
    assert [(copy.key, copy.value, copy.labels) for copy in outcome.copies if isinstance(copy, Entry)] == [
        ("a", large(1), {}),
        ("b", b"small", {}),
        ("c", large(2), {}),
    ]


async def test_the_cache_holds_the_pointer(deployment: Deployment) -> None:
    await deployment.put(large())
    asked = deployment.store.calls["get"]

    first, second = await deployment.lookup(), await deployment.lookup()

    assert (first.tier, second.tier) == (Tier.COLD, Tier.COLD)
    assert deployment.store.calls["get"] == asked
    assert deployment.cache.bytes_held < LARGE
    assert deployment.blobs.gets == 2


async def test_readers_at_the_same_time_share_a_load(deployment: Deployment) -> None:
    await deployment.put(large())

    values = await asyncio.gather(*[deployment.value() for _ in range(20)])

    assert values == [large()] * 20
    assert deployment.blobs.gets == 1


async def test_a_batch_with_a_key_twice(deployment: Deployment) -> None:
    await deployment.put(large())
    await deployment.put(b"small", "other")

    found = await deployment.placement.get(NAMESPACE, [KEY, "other", KEY, "none"], [0] * 4, deadline=None)

    values = [lookup.entry.value if lookup.entry else None for lookup in found.lookups]
    assert values == [large(), b"small", large(), None]


async def test_a_large_cas_that_loses_says_so_and_is_remembered(deployment: Deployment) -> None:
    version = await deployment.put(b"first")
    put = Put(key=KEY, value=large(), expected_version=version + 100)
    with pytest.raises(VersionConflict) as caught:
        await deployment.commit(put, request=REQUEST)
    assert caught.value.metadata == {"expected_version": str(version + 100), "current_version": str(version)}

    await deployment.put(b"second")
    with pytest.raises(VersionConflict) as again:
        await deployment.commit(put, request=REQUEST)

    assert (again.value.current_version, again.value.metadata) == (version, caught.value.metadata)
    assert await deployment.value() == b"second"
    with pytest.raises(VersionConflict):
        await deployment.commit(put)


async def test_a_refusal_in_a_transaction_names_its_operation(deployment: Deployment) -> None:
    lost = [Put(key="a", value=large()), Put(key="b", value=large(), expected_version=7)]
    with pytest.raises(VersionConflict) as caught:
        await deployment.commit(*lost, request=REQUEST, transaction=True)
    assert caught.value.metadata["operation"] == "1"
    with pytest.raises(VersionConflict) as alone:
        await deployment.commit(lost[1], transaction=True)

    assert alone.value.metadata["operation"] == "0"
    assert await deployment.row("a") is None


async def test_a_repeated_request_takes_effect_once(deployment: Deployment) -> None:
    put = Put(key=KEY, value=large())
    first = await deployment.commit(put, request=REQUEST)
    second = await deployment.commit(put, request=REQUEST)

    assert (second.version, second.replayed, second.results) == (first.version, True, first.results)
    assert len(await deployment.stored()) == 2
    await deployment.collect(passes=2)
    assert await deployment.stored() == [await deployment.blob()]
    assert await deployment.value() == large()


async def test_a_write_that_took_too_long_is_told_as_such_and_may_be_repeated(deployment: Deployment) -> None:
    """Between the blob and its pointer, the collection gives the blob up."""
    put, held = Put(key=KEY, value=large()), Held(deployment, "key")
    writer = asyncio.create_task(deployment.commit(put, request=REQUEST))
    await held.reached.wait()
    await deployment.collect(passes=2)
    held.release.set()

    with pytest.raises(ColdUnavailable):
        await writer
    assert await deployment.row() is None
    assert await deployment.stored() == []
    await deployment.commit(put, request=REQUEST)
    assert await deployment.value() == large()


class Held:
    """Holds the next commit that names a key."""

    def __init__(self, deployment: Deployment, key: str) -> None:
        self.reached, self.release = asyncio.Event(), asyncio.Event()
        real = deployment.truth.commit

        async def commit(write: Write) -> Outcome:
            if any(operation.key == key for operation in write.operations) and not self.reached.is_set():
                self.reached.set()
                await self.release.wait()
            return await real(write)

        deployment.truth.commit = commit  # type: ignore[method-assign]


# ---- changes in place


@pytest.mark.parametrize("archived", [False, True])
async def test_a_value_that_is_away_comes_back_to_be_changed(deployment: Deployment, *, archived: bool) -> None:
    value = b"[" + b"1," * LARGE + b"1]"
    deployment.large_bytes = None if archived else LARGE
    before = await idle(deployment, value) if archived else await deployment.put(value)
    assert deployment.blobs.puts == 1

    outcome = await deployment.commit(
        Change(key=KEY, change=Append(items=(2,)), return_value=True), request=REQUEST, value_bytes_max=1 << 20
    )

    assert outcome.results[0].value == value[:-1] + b",2]"
    assert outcome.version > before
    assert await deployment.value() == await deployment.value(strong=True) == value[:-1] + b",2]"
    row = await deployment.row()
    assert isinstance(row, Entry)
    assert BLOB not in row.labels
    await deployment.collect(passes=2)
    assert await deployment.stored() == []


async def test_a_change_that_is_refused_after_the_value_came_back(deployment: Deployment) -> None:
    version = await deployment.put(large())
    await deployment.lookup()  # the cache has the pointer

    with pytest.raises(FailedPrecondition):
        await deployment.commit(Change(key=KEY, change=Increment(delta=1)))
    await deployment.collect(passes=2)

    assert await deployment.stored() == []
    entry = (await deployment.lookup()).entry  # the pointer's blob is gone, so the authority is asked
    assert entry is not None
    assert (entry.version, entry.value) == (version, large())
    await deployment.lookup()
    assert (await deployment.lookup()).tier is Tier.HOT, "the pointer was forgotten"


async def test_many_changes_and_a_large_value_in_one_write(deployment: Deployment) -> None:
    array = b"[" + b"1," * LARGE + b"1]"
    for key in ("a", "b"):
        await deployment.put(array, key)

    await deployment.commit(
        Change(key="a", change=Append(items=(2,))),
        Put(key="c", value=large()),
        Change(key="b", change=MergePatch(patch={"x": 1})),
        request=REQUEST,
        value_bytes_max=1 << 20,
    )

    assert await deployment.value("a") == array[:-1] + b",2]"
    assert await deployment.value("b") == b'{"x":1}'
    assert await deployment.value("c") == large()


async def test_a_check_and_a_deletion_need_no_value(deployment: Deployment) -> None:
    version = await deployment.put(large())
    deployment.blobs.away = True

    await deployment.commit(Check(key=KEY, expected_version=version), Put(key="other", value=b""))
    await deployment.commit(Remove(key=KEY, expected_version=version))

    assert await deployment.value() is None


# ---- archive


async def test_an_idle_value_leaves_and_a_read_brings_it_back(deployment: Deployment) -> None:
    value = large(size=LARGE)
    version = await idle(deployment, value)
    away = await deployment.row()
    assert isinstance(away, Entry)
    assert (away.value, away.version) == (b"", version)

    deployment.clock.advance(1_000)
    first = await deployment.lookup()
    assert (first.tier, first.entry and first.entry.value) == (Tier.COLD, value)
    row = await deployment.row()
    assert isinstance(row, Entry)
    assert (row.value, row.version) == (value, version)
    assert row.labels == {WOKEN: str(deployment.clock.now())}

    assert (await deployment.lookup()).tier is Tier.HOT, "the cache was filled with the full value"
    assert (await deployment.lookup(strong=True)).tier is Tier.WARM
    assert deployment.blobs.gets == 1
    deployment.clock.advance(59_000)
    assert await done(deployment.archive) == {}, "it was used"
    deployment.clock.advance(2_000)
    assert await done(deployment.archive) == {"archived": 1}
    await deployment.collect(passes=2)
    assert await deployment.stored() == [await deployment.blob()]


async def test_it_is_brought_back_by_one_reader(deployment: Deployment) -> None:
    await idle(deployment, large(size=LARGE))

    found = await asyncio.gather(*[deployment.placement.get_strong(NAMESPACE, [KEY], deadline=None) for _ in range(5)])

    assert sorted(len(one.woken) for one in found) == [0, 0, 0, 0, 1]


async def test_a_value_that_nobody_brings_back_stays_readable(deployment: Deployment) -> None:
    await idle(deployment, large(size=LARGE))

    for _ in range(3):
        deployment.cache.clear()
        assert (await deployment.lookup(wake=False)).entry == (await deployment.lookup(strong=True, wake=False)).entry
    deployment.clock.advance(30_001)
    await deployment.lookup(strong=True)  # who was to bring it back has forgotten it
    assert (await deployment.lookup(strong=True)).tier is Tier.WARM


async def test_what_is_overwritten_before_it_is_back_stays_overwritten(deployment: Deployment) -> None:
    await idle(deployment, large(size=LARGE))
    found = await deployment.placement.get_strong(NAMESPACE, [KEY], deadline=None)

    await deployment.put(b"newer")
    [entry] = found.woken
    await deployment.placement.wake(entry)

    assert await deployment.value(strong=True) == b"newer"


@pytest.mark.parametrize(
    ("value", "fields"),
    [(large(size=511), {}), (large(size=1_000), {"ttl_ms": 3_600_000})],
    ids=["small", "ends soon"],
)
async def test_what_is_not_worth_the_way_stays(deployment: Deployment, value: bytes, fields: dict[str, Any]) -> None:
    await deployment.put(value, **fields)
    deployment.clock.advance(60_001)

    assert await done(deployment.archive) == {}
    assert await deployment.stored() == []


async def test_the_archive_goes_through_all_namespaces_in_small_steps(deployment: Deployment) -> None:
    for namespace in ("a", "b", "c"):
        for n in range(20):
            await deployment.commit(Put(key=f"{n:02}", value=large(n, 600)), namespace=namespace)
    deployment.clock.advance(60_001)
    archive = type(deployment.archive)(deployment.placement, deployment.cold, lambda: {"a": 60_000, "c": 1})

    assert await done(archive, dry_run=True) == {"archived": 40}
    assert await deployment.stored() == []
    assert await done(archive) == {"archived": 40}
    assert await done(archive) == {}


async def test_who_lost_the_job_moves_nothing(deployment: Deployment) -> None:
    await deployment.put(large(size=1_000))
    deployment.clock.advance(60_001)

    with pytest.raises(VersionConflict):
        await done(deployment.archive, fence=[Check(key="o/archive", expected_version=5)])

    assert await deployment.stored() == []
    assert await deployment.records() == {}
