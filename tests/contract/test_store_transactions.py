"""A write of many keys lands whole, as one version, or not at all."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.entry import Entry, Tombstone
from sidecar.core.errors import FailedPrecondition, SidecarError, VersionConflict
from sidecar.core.operations import Change, Check, Increment, Operation, Put, Remove
from tests.contract.harnesses import StoreUnderTest

A_FAILING_OPERATION: dict[str, tuple[Operation, type[SidecarError]]] = {
    "a lost put": (Put(key="x", value=b"", expected_version=99), VersionConflict),
    "a lost delete": (Remove(key="x", expected_version=99), VersionConflict),
    "a lost check": (Check(key="x", expected_version=99), VersionConflict),
    "a refused update": (Change(key="text", change=Increment(delta=1)), FailedPrecondition),
    "an update of nothing": (Change(key="x", change=Increment(delta=1)), FailedPrecondition),
}


@pytest.mark.parametrize("position", [0, 1, 3])
@pytest.mark.parametrize("failing", A_FAILING_OPERATION)
async def test_one_refusal_undoes_all(store: StoreUnderTest, failing: str, position: int) -> None:
    await store.put("text", b"text")
    await store.put("doomed", b"kept")
    before, cursor = (await store.scan()).entries, await store.cursor()
    operation, kind = A_FAILING_OPERATION[failing]
    operations: list[Operation] = [
        Put(key="a", value=b"new"),
        Remove(key="doomed"),
        Change(key="n", change=Increment(delta=1), create=True),
    ]
    operations.insert(position, operation)

    with pytest.raises(kind) as caught:
        await store.commit(*operations)

    assert caught.value.metadata["operation"] == str(position)
    assert (await store.scan()).entries == before
    assert await store.copy("a") is None
    assert await store.changes_since(cursor) == []


async def test_all_operations_land_together(store: StoreUnderTest) -> None:
    guard = await store.put("guard")
    await store.put("doomed")
    version = await store.put("swapped", b"old")

    outcome = await store.commit(
        Check(key="guard", expected_version=guard),
        Check(key="absent", expected_version=0),
        Put(key="swapped", value=b"new", expected_version=version),
        Remove(key="doomed"),
        Remove(key="missing"),
        Change(key="n", change=Increment(delta=5), create=True, return_value=True),
    )

    assert [result.found for result in outcome.results] == [True, False, True, True, False, False]
    assert [result.version for result in outcome.results] == [0, 0, *[outcome.version] * 2, 0, outcome.version]
    assert outcome.results[5].value == b"5"
    assert await store.keys() == ["guard", "n", "swapped"]
    kinds = {copy.key: type(copy) for copy in outcome.copies}
    assert kinds == {"swapped": Entry, "doomed": Tombstone, "n": Entry}


async def test_the_refusal_of_a_single_operation_names_no_position(store: StoreUnderTest) -> None:
    with pytest.raises(VersionConflict) as caught:
        await store.commit(Check(key="key", expected_version=1))

    assert "operation" not in caught.value.metadata


async def test_many_operations_land_as_one_version(store: StoreUnderTest) -> None:
    outcome = await store.commit(*[Put(key=f"{n:03}", value=b"%d" % n) for n in range(store.many)])

    entries = (await store.scan()).entries
    assert [entry.value for entry in entries] == [b"%d" % n for n in range(store.many)]
    assert {entry.version for entry in entries} == {outcome.version}


async def test_only_one_of_two_transactions_over_the_same_guard_lands(store: StoreUnderTest) -> None:
    version = await store.put("guard")
    writes = [
        store.commit(Put(key="guard", value=name, expected_version=version), Put(key=f"by {name.decode()}", value=b""))
        for name in (b"a", b"b")
    ]

    answers = await asyncio.gather(*writes, return_exceptions=True)

    assert sum(isinstance(answer, VersionConflict) for answer in answers) == 1
    winner = await store.value("guard")
    assert winner is not None
    assert await store.keys("by ") == [f"by {winner.decode()}"]


async def test_money_moved_between_accounts_is_neither_made_nor_lost(store: StoreUnderTest) -> None:
    await store.commit(*[Put(key=f"{n}", value=b"10") for n in range(4)])

    async def move(source: int, target: int) -> None:
        try:
            await store.commit(
                Change(key=f"{source}", change=Increment(delta=-3, minimum=0)),
                Change(key=f"{target}", change=Increment(delta=3)),
            )
        except FailedPrecondition as error:
            assert error.reason == "COUNTER_OUT_OF_BOUNDS"  # noqa: PT017  # the other outcome is none

    await asyncio.gather(*[move(n % 4, (n * 3 + 1) % 4) for n in range(64) if n % 4 != (n * 3 + 1) % 4])

    balances = [int(entry.value) for entry in (await store.scan()).entries]
    assert sum(balances) == 40
    assert min(balances) >= 0


async def test_a_transaction_survives_reopening_whole(durable_store: StoreUnderTest) -> None:
    store = durable_store
    await store.put("doomed")
    outcome = await store.commit(*[Put(key=f"{n}", value=b"") for n in range(10)], Remove(key="doomed"))

    await store.reopen()

    entries = (await store.scan()).entries
    assert [entry.key for entry in entries] == [f"{n}" for n in range(10)]
    assert {entry.version for entry in entries} == {outcome.version}
