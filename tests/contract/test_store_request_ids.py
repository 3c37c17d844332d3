"""A repeated request id answers what it did the first time, and takes effect at most once."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.errors import FailedPrecondition, InvalidRequest, VersionConflict
from sidecar.core.operations import Append, Change, Check, Increment, MergePatch, Put, Remove
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import request

ADD_ONE = Change(key="n", change=Increment(delta=1), create=True, return_value=True)


async def test_a_repeated_write_answers_the_same_and_does_nothing(store: StoreUnderTest) -> None:
    first = await store.commit(ADD_ONE, request=request("r"))
    cursor = await store.cursor()

    again = await store.commit(ADD_ONE, request=request("r"))

    assert (again.version, again.results) == (first.version, first.results)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.results[0].value == b"1"
    assert await store.value("n") == b"1"
    assert await store.changes_since(cursor) == []


async def test_a_repeated_write_answers_what_it_did_though_others_wrote_since(store: StoreUnderTest) -> None:
    first = await store.commit(Put(key="key", value=b"mine", ttl_ms=9000), request=request("r"))
    await store.put("key", b"theirs")
    await store.advance(10)

    again = await store.commit(Put(key="key", value=b"mine", ttl_ms=9000), request=request("r"))

    assert (again.version, again.results) == (first.version, first.results)
    assert await store.value("key") == b"theirs"


async def test_a_repeated_delete_still_says_that_it_found_the_entry(store: StoreUnderTest) -> None:
    version = await store.put("key")
    first = await store.commit(Remove(key="key", expected_version=version), request=request("r"))
    await store.put("key", b"new")

    again = await store.commit(Remove(key="key", expected_version=version), request=request("r"))

    assert again.results == first.results
    assert again.results[0].found
    assert await store.value("key") == b"new"


async def test_a_repeated_compare_and_set_is_not_told_of_a_conflict_with_itself(store: StoreUnderTest) -> None:
    version = await store.put("key", b"one")
    operation = Put(key="key", value=b"two", expected_version=version)
    first = await store.commit(operation, request=request("r"))

    again = await store.commit(operation, request=request("r"))

    assert again.version == first.version
    assert again.replayed


async def test_a_write_that_changed_nothing_is_remembered(store: StoreUnderTest) -> None:
    first = await store.commit(Remove(key="key"), request=request("r"))
    await store.put("key")

    again = await store.commit(Remove(key="key"), request=request("r"))

    assert (first.results[0].found, again.results[0].found, again.replayed) == (False, False, True)
    assert await store.value("key") == b"value"


async def test_a_transaction_is_replayed_whole(store: StoreUnderTest) -> None:
    await store.put("gone")
    operations = (
        Put(key="a", value=b"\0\xff", ttl_ms=5000),
        Remove(key="gone"),
        Remove(key="missing"),
        Check(key="nothing", expected_version=0),
        Change(key="list", change=Append(items=("é", None)), create=True, return_value=True),
    )
    first = await store.commit(*operations, request=request("r"))

    again = await store.commit(*operations, request=request("r"))

    assert again.results == first.results
    assert again.version == first.version


async def test_a_conflict_stays_one_when_the_state_would_match_now(store: StoreUnderTest) -> None:
    operation = Put(key="key", value=b"mine", expected_version=0)
    current = await store.put("key", b"theirs")
    with pytest.raises(VersionConflict):
        await store.commit(operation, request=request("r"))
    await store.remove("key")

    with pytest.raises(VersionConflict) as caught:
        await store.commit(operation, request=request("r"))

    conflict = caught.value
    assert (conflict.key, conflict.expected_version, conflict.current_version) == ("key", 0, current)
    assert await store.entry("key") is None


async def test_a_refusal_stays_one_when_the_state_would_allow_it_now(store: StoreUnderTest) -> None:
    await store.put("n", b"text")
    with pytest.raises(FailedPrecondition) as first:
        await store.commit(ADD_ONE, request=request("r"))
    await store.put("n", b"5")

    with pytest.raises(FailedPrecondition) as again:
        await store.commit(ADD_ONE, request=request("r"))

    assert (again.value.reason, again.value.metadata) == (first.value.reason, first.value.metadata)
    assert again.value.reason == "NOT_A_COUNTER"
    assert await store.value("n") == b"5"


async def test_the_refusal_of_a_tentative_write_leaves_its_id_free(store: StoreUnderTest) -> None:
    current = await store.put("key", b"theirs")
    await store.put("n", b"text")
    with pytest.raises(VersionConflict):
        await store.commit(Put(key="key", value=b"", expected_version=0), request=request("r"), tentative=True)
    with pytest.raises(FailedPrecondition):
        await store.commit(ADD_ONE, request=request("r"), tentative=True)

    operation = Put(key="key", value=b"mine", expected_version=current)
    first = await store.commit(operation, request=request("r"), tentative=True)

    assert (await store.commit(operation, request=request("r"), tentative=True)).version == first.version
    assert await store.value("key") == b"mine"


async def test_the_refusal_of_a_transaction_is_replayed_with_its_operation(store: StoreUnderTest) -> None:
    operations = (Put(key="a", value=b""), Check(key="b", expected_version=7))
    seen = []
    for _ in range(2):
        with pytest.raises(VersionConflict) as caught:
            await store.commit(*operations, request=request("r"))
        seen.append(caught.value.metadata)
        await store.put("b")

    assert seen[0] == seen[1]
    assert seen[0]["operation"] == "1"


async def test_a_too_large_update_is_replayed_as_that(store: StoreUnderTest) -> None:
    await store.put("n", b"[]")
    operation = Change(key="n", change=Append(items=("long",)))
    for limit in (3, 1000):
        with pytest.raises(InvalidRequest) as caught:
            await store.commit(operation, request=request("r"), value_bytes_max=limit)
        assert (caught.value.reason, caught.value.field) == ("VALUE_TOO_LARGE", "operation")


@pytest.mark.parametrize("refused_first", [False, True], ids=["after success", "after a conflict"])
async def test_an_id_of_another_request_is_refused(store: StoreUnderTest, refused_first: bool) -> None:
    await store.put("key", b"kept")
    if refused_first:
        with pytest.raises(VersionConflict):
            await store.commit(Put(key="key", value=b"", expected_version=0), request=request("r", "one"))
    else:
        await store.commit(Put(key="other", value=b""), request=request("r", "one"))

    with pytest.raises(InvalidRequest) as caught:
        await store.commit(Put(key="key", value=b"two"), request=request("r", "two"))

    assert (caught.value.reason, caught.value.field) == ("REQUEST_ID_REUSED", "request_id")
    assert await store.value("key") == b"kept"


async def test_a_reused_id_does_not_spoil_the_answer_of_its_owner(store: StoreUnderTest) -> None:
    first = await store.commit(ADD_ONE, request=request("r", "one"))
    with pytest.raises(InvalidRequest):
        await store.commit(ADD_ONE, request=request("r", "two"))

    assert (await store.commit(ADD_ONE, request=request("r", "one"))).results == first.results


async def test_request_ids_are_of_their_namespace(store: StoreUnderTest) -> None:
    for namespace in ("a", "b"):
        outcome = await store.commit(ADD_ONE, namespace=namespace, request=request("r"))
        assert not outcome.replayed

    assert [await store.value("n", namespace=namespace) for namespace in ("a", "b")] == [b"1", b"1"]


@pytest.mark.parametrize("pair", [("r", "R"), ("r", "r "), ("r", "r\0"), ("é", "e\u0301")], ids=repr)
async def test_request_ids_are_exact(store: StoreUnderTest, pair: tuple[str, str]) -> None:
    for request_id in pair:
        await store.commit(ADD_ONE, request=request(request_id))

    assert await store.value("n") == b"2"


async def test_writes_without_an_id_are_each_their_own(store: StoreUnderTest) -> None:
    await store.commit(ADD_ONE)
    await store.commit(ADD_ONE)

    assert await store.value("n") == b"2"


async def test_concurrent_repeats_take_effect_once(store: StoreUnderTest) -> None:
    outcomes = await asyncio.gather(*[store.commit(ADD_ONE, request=request("r")) for _ in range(16)])

    assert await store.value("n") == b"1"
    assert len({(outcome.version, outcome.results) for outcome in outcomes}) == 1
    assert sum(not outcome.replayed for outcome in outcomes) == 1


async def test_a_concurrent_repeat_of_another_request_lets_only_one_in(store: StoreUnderTest) -> None:
    writes = [store.commit(ADD_ONE, request=request("r", f"body {n}")) for n in range(8)]
    answers = await asyncio.gather(*writes, return_exceptions=True)

    refused = [answer for answer in answers if isinstance(answer, InvalidRequest)]
    assert len(refused) == 7
    assert await store.value("n") == b"1"


async def test_answers_are_kept_over_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    patch = Change(key="doc", change=MergePatch(patch={"é": "\0"}), create=True, return_value=True)
    first = await store.commit(patch, Put(key="a", value=b"", ttl_ms=77), request=request("landed"))
    guarded = Put(key="a", value=b"", expected_version=0)
    with pytest.raises(VersionConflict):
        await store.commit(guarded, request=request("lost"))
    await store.remove("a")

    await store.reopen()

    again = await store.commit(patch, Put(key="a", value=b"", ttl_ms=77), request=request("landed"))
    assert (again.version, again.results, again.replayed) == (first.version, first.results, True)
    with pytest.raises(VersionConflict):
        await store.commit(guarded, request=request("lost"))
    with pytest.raises(InvalidRequest):
        await store.commit(guarded, request=request("landed", "another"))
    assert await store.entry("a") is None


async def test_an_id_is_remembered_for_its_retention_and_then_forgotten_by_the_sweep(store: StoreUnderTest) -> None:
    await store.commit(ADD_ONE, request=request("r"))
    order = store.sweep_order(request_retention_ms=10_000)
    await store.advance(9_999)
    assert (await store.store.sweep(order)).requests == 0
    assert (await store.commit(ADD_ONE, request=request("r"))).replayed

    await store.advance(1)
    assert (await store.store.sweep(order)).requests == 1

    assert not (await store.commit(ADD_ONE, request=request("r"))).replayed
    assert await store.value("n") == b"2"
