"""Rows of the ledger that are forgotten: they go in silence, under a guard, and leave nothing that comes back."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.entry import Entry
from sidecar.core.errors import VersionConflict
from sidecar.core.ledger import LEDGER
from sidecar.core.operations import Check, Forget, Operation, Put, Remove
from sidecar.core.store import Outcome
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import request

ROW, FENCE = "u/row", "g/fence"
LARGE = bytes(range(256)) * 4_096
"""A megabyte: stored in parts by who has a bound."""


async def given(store: StoreUnderTest, key: str = ROW, value: bytes = b"row", **fields: int) -> int:
    return await store.put(key, value, namespace=LEDGER, **fields)


async def commit(store: StoreUnderTest, *operations: Operation, request_id: str = "") -> Outcome:
    return await store.commit(*operations, namespace=LEDGER, request=request(request_id) if request_id else None)


async def row(store: StoreUnderTest, key: str = ROW) -> Entry | None:
    """Nothing but an entry is ever there: no tombstone."""
    copy = await store.copy(key, namespace=LEDGER)
    assert copy is None or isinstance(copy, Entry), copy
    return copy


@pytest.mark.parametrize("value", [b"row", LARGE], ids=["small", "large"])
async def test_a_forgotten_row_leaves_no_trace(quiet_store: StoreUnderTest, value: bytes) -> None:
    store = quiet_store
    await given(store, value=value)
    await given(store, "u/other")
    cursor = await store.cursor()

    outcome = await commit(store, Forget(key=ROW))

    assert await row(store) is None
    assert (outcome.version, outcome.copies) == (0, ())
    assert [(result.found, result.version) for result in outcome.results] == [(True, 0)]
    assert await store.changes_since(cursor) == []
    assert await store.keys(namespace=LEDGER) == ["u/other"]
    swept = await store.store.sweep(store.sweep_order(tombstone_retention_ms=0))
    assert (swept.expired, swept.tombstones) == ((), 0)


async def test_many_rows_are_forgotten_in_one_commit(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    keys = [f"u/{n:02}" for n in range(60)]
    await asyncio.gather(*[given(store, key) for key in keys])
    fence = await given(store, FENCE)

    outcome = await commit(
        store,
        Check(key=FENCE, expected_version=fence, ledger=True),
        *[Forget(key=key) for key in keys[:-1]],
        Put(key="z/letter", value=b""),
    )

    assert [result.found for result in outcome.results[1:-1]] == [True] * 59
    assert await store.keys(namespace=LEDGER) == [FENCE, keys[-1], "z/letter"]


async def test_under_a_fence_that_was_lost_nothing_is_forgotten(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    fence = await given(store, FENCE)
    taken = await given(store, FENCE, b"another")

    with pytest.raises(VersionConflict) as caught:
        await commit(store, Forget(key=ROW), Check(key=FENCE, expected_version=fence, ledger=True))

    assert (caught.value.key, caught.value.current_version) == (FENCE, taken)
    assert caught.value.metadata["operation"] == "1"
    kept = await row(store)
    assert kept is not None
    assert kept.version == before
    await commit(store, Forget(key=ROW), Check(key=FENCE, expected_version=taken, ledger=True))
    assert await row(store) is None


async def test_only_the_row_that_was_meant_is_forgotten(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    newer = await given(store)

    for wrong in (0, before, newer + 1):
        with pytest.raises(VersionConflict) as caught:
            await commit(store, Put(key="u/other", value=b""), Forget(key=ROW, expected_version=wrong))
        assert (caught.value.key, caught.value.current_version) == (ROW, newer)
    assert await store.keys(namespace=LEDGER) == [ROW]
    await commit(store, Forget(key=ROW, expected_version=newer))

    assert await row(store) is None
    with pytest.raises(VersionConflict):
        await commit(store, Forget(key=ROW, expected_version=newer))


async def test_forgetting_what_is_absent_is_no_error(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    for expected in (None, 0):
        outcome = await commit(store, Forget(key=ROW, expected_version=expected))
        assert (outcome.version, outcome.results[0].found) == (0, False)
    outcome = await commit(store, Forget(key=ROW), Put(key="u/other", value=b""), request_id="r")

    assert [result.found for result in outcome.results] == [False, False]
    assert await store.keys(namespace=LEDGER) == ["u/other"]


async def test_a_repeated_request_does_not_forget_what_came_after(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    await given(store)
    first = await commit(store, Forget(key=ROW), request_id="r")
    await given(store, value=b"new")

    again = await commit(store, Forget(key=ROW), request_id="r")

    assert (again.replayed, again.results) == (True, first.results)
    kept = await row(store)
    assert kept is not None
    assert kept.value == b"new"


async def test_a_tombstone_can_be_forgotten(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    await given(store)
    await store.commit(Remove(key=ROW), namespace=LEDGER)

    assert not (await commit(store, Forget(key=ROW))).results[0].found

    assert await row(store) is None
    assert (await store.store.sweep(store.sweep_order(tombstone_retention_ms=0))).tombstones == 0


@pytest.mark.parametrize("value", [b"row", LARGE], ids=["small", "large"])
async def test_a_row_that_is_put_again_is_a_new_one(quiet_store: StoreUnderTest, value: bytes) -> None:
    store = quiet_store
    before = await given(store, value=value)
    await store.advance(1_000)
    await commit(store, Forget(key=ROW))
    await store.advance(1_000)

    version = await given(store, value=b"again" + value, expected_version=0)

    entry = await row(store)
    assert entry is not None
    assert (entry.version, entry.value) == (version, b"again" + value)
    assert entry.version > before
    assert entry.create_time == store.now()


@pytest.mark.parametrize("there", [False, True], ids=["absent before", "there before"])
@pytest.mark.parametrize("value", [b"row", LARGE], ids=["small", "large"])
async def test_writes_at_the_same_time_see_what_those_before_them_leave(
    quiet_store: StoreUnderTest, value: bytes, *, there: bool
) -> None:
    """Those that wait together may share a transaction: the last of a key's decides what is stored."""
    store = quiet_store
    if there:
        await asyncio.gather(given(store, value=value), given(store, "u/other", value))

    def put(key: str) -> Operation:
        return Put(key=key, value=value)

    answers = await asyncio.gather(
        commit(store, put(ROW)),
        commit(store, put("u/other")),
        commit(store, Forget(key=ROW)),
        commit(store, put("u/other")),
        commit(store, put(ROW)),
        commit(store, Forget(key="u/other"), request_id="r"),
        commit(store, Forget(key="u/other")),
    )

    entry = await row(store)
    assert entry is not None
    assert (entry.version, entry.value) == (answers[4].version, value)
    assert await row(store, "u/other") is None
    assert [answers[n].results[0].found for n in range(7)] == [there, there, True, True, False, True, False]
    assert await store.keys(namespace=LEDGER) == [ROW]


async def test_of_those_who_forget_a_version_one_succeeds(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    for _ in range(5):
        version = await given(store)
        guarded: list[Operation] = [Forget(key=ROW, expected_version=version) for _ in range(3)]
        guarded.append(Put(key=ROW, value=b"", expected_version=version))

        answers = await asyncio.gather(*[commit(store, one) for one in guarded], return_exceptions=True)

        assert sum(isinstance(answer, VersionConflict) for answer in answers) == 3, answers
        assert sum(isinstance(answer, Outcome) for answer in answers) == 1
        await commit(store, Forget(key=ROW))


async def test_a_forgotten_row_does_not_end(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    await given(store, "u/before its end", ttl_ms=10)
    await given(store, "u/after it", ttl_ms=10)
    await given(store, "u/put again", ttl_ms=10)
    await commit(store, Forget(key="u/before its end"), Forget(key="u/put again"))
    await given(store, "u/put again")
    await store.advance(10)
    await commit(store, Forget(key="u/after it"))

    swept = await store.store.sweep(store.sweep_order())

    assert swept.expired == ()
    assert await store.keys(namespace=LEDGER) == ["u/put again"]


async def test_what_is_forgotten_stays_so_over_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    await given(store)
    await commit(store, Forget(key=ROW))
    await store.reopen()

    assert await row(store) is None
    assert await given(store, expected_version=0)
