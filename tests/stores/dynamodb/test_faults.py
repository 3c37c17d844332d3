"""A call that goes wrong before or after its effect: what the caller is told is what happened."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from sidecar.core.errors import InvalidRequest, LimitExceeded, OutcomeUnknown, SidecarError, StoreUnavailable
from sidecar.core.operations import Put, Remove
from sidecar.core.store import Touch
from sidecar.stores.dynamodb import DynamoStore
from sidecar.stores.dynamodb.feed import GAP_S
from tests.stores.dynamodb.conftest import ADD_ONE, Opener, Table, add_one, put, value
from tests.stores.dynamodb.faults import (
    Fault,
    FaultProxy,
    answers,
    arrives_late,
    cuts,
    fails_late,
    loses_reply,
    waits,
)
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, request, write

NOT_DONE: dict[str, Fault] = {
    "cut": cuts,
    "failed": answers("InternalServerError", 500),
    "away": answers("ServiceUnavailable", 503),
    "a gateway's": lambda _: (502, b"<html>Bad Gateway</html>"),
}
DONE: dict[str, Fault] = {
    "lost": loses_reply,
    "failed": fails_late("InternalServerError"),
    "away": fails_late("ServiceUnavailable", 503),
}
THROTTLED = ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"]


def cancelled(*reasons: str) -> Fault:
    return answers("TransactionCanceledException", CancellationReasons=[{"Code": reason} for reason in reasons])


@pytest.mark.parametrize("fault", NOT_DONE)
async def test_a_write_that_was_not_done_is_told_as_that(faulty: DynamoStore, proxy: FaultProxy, fault: str) -> None:
    proxy.add("TransactWriteItems", NOT_DONE[fault])

    with pytest.raises(StoreUnavailable):
        await put(faulty, "key")

    assert await value(faulty, "key") is None
    assert await put(faulty, "key") > 0


@pytest.mark.parametrize("fault", DONE)
async def test_a_write_that_was_done_is_answered_though_its_reply_was_not_heard(
    faulty: DynamoStore, proxy: FaultProxy, fault: str
) -> None:
    cursor = (await faulty.changes(after=None, limit=1)).cursor
    proxy.add("TransactWriteItems", DONE[fault])

    version = await put(faulty, "key", b"done")

    (copy,) = await faulty.get(NAMESPACE, ["key"])
    assert copy is not None
    assert copy.version == version
    assert [row.version for row in (await faulty.changes(after=cursor, limit=10)).changes] == [version]


@pytest.mark.parametrize("fault", ["lost", "cut"])
async def test_a_write_of_which_nothing_can_be_found_out_is_unknown_and_its_id_tells_later(
    faulty: DynamoStore, proxy: FaultProxy, fault: str
) -> None:
    proxy.add("TransactWriteItems", loses_reply if fault == "lost" else cuts)
    proxy.add("PutItem", answers("InternalServerError", 500), times=3)  # the fence, and the void after it

    with pytest.raises(OutcomeUnknown):
        await add_one(faulty, "r")

    again = await add_one(faulty, "r")
    assert again.replayed == (fault == "lost")
    assert await value(faulty, "n") == b"1"


async def test_a_transaction_that_arrives_after_its_fence_does_not_land(faulty: DynamoStore, proxy: FaultProxy) -> None:
    go, done = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", arrives_late(go, done))
    with pytest.raises(StoreUnavailable):
        await put(faulty, "key", b"late")

    go.set()
    assert await asyncio.to_thread(done.wait, 10)

    assert await value(faulty, "key") is None


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem"])
async def test_a_failure_before_the_transaction_leaves_nothing(
    faulty: DynamoStore, proxy: FaultProxy, operation: str
) -> None:
    proxy.add(operation, answers("InternalServerError", 500))

    with pytest.raises(StoreUnavailable):
        await put(faulty, "key")

    assert "TransactWriteItems" not in proxy.operations
    assert await value(faulty, "key") is None


async def test_a_read_is_asked_again_after_its_connection_was_lost(faulty: DynamoStore, proxy: FaultProxy) -> None:
    await put(faulty, "key")
    proxy.add("GetItem", cuts)

    assert await value(faulty, "key") == b"value"


async def test_a_read_that_fails_is_no_miss(faulty: DynamoStore, proxy: FaultProxy) -> None:
    for operation, keys in (("GetItem", ["key"]), ("TransactGetItems", ["key", "other"])):
        proxy.add(operation, answers("InternalServerError", 500))
        with pytest.raises(StoreUnavailable):
            await faulty.get(NAMESPACE, keys)
    proxy.add("Query", answers("InternalServerError", 500))
    with pytest.raises(StoreUnavailable):
        await faulty.scan(NAMESPACE, "", after=None, limit=1, bytes_max=1, keys_only=False)


@pytest.mark.parametrize("code", THROTTLED)
@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem", "TransactWriteItems"])
async def test_a_throttled_write_is_tried_again(
    faulty: DynamoStore, proxy: FaultProxy, operation: str, code: str
) -> None:
    proxy.add(operation, answers(code), times=2)

    assert await put(faulty, "key") > 0
    assert await value(faulty, "key") == b"value"
    assert not proxy.pending


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem", "TransactWriteItems"])
async def test_a_write_that_is_throttled_all_the_time_says_to_slow_down(
    opener: Opener, proxy: FaultProxy, operation: str
) -> None:
    store = await opener(endpoint_url=proxy.endpoint_url, timeout_s=1.0)
    proxy.add(operation, answers(THROTTLED[0]), times=1000)

    with pytest.raises(LimitExceeded) as caught:
        await put(store, "key")

    assert caught.value.retry_after_s > 0
    proxy.clear()
    assert await value(store, "key") is None


async def test_a_read_that_is_throttled_all_the_time_says_to_slow_down(faulty: DynamoStore, proxy: FaultProxy) -> None:
    for operation, keys in (("GetItem", ["a"]), ("TransactGetItems", ["a", "b"])):
        proxy.add(operation, answers(THROTTLED[0]), times=1000)
        with pytest.raises(LimitExceeded):
            await faulty.get(NAMESPACE, keys)


@pytest.mark.parametrize("reason", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
async def test_a_transaction_in_the_way_of_others_is_tried_again_under_the_same_version(
    faulty: DynamoStore, proxy: FaultProxy, reason: str
) -> None:
    cursor = (await faulty.changes(after=None, limit=1)).cursor
    proxy.add("TransactWriteItems", cancelled("None", reason), times=2)

    version = await put(faulty, "key")

    assert proxy.operations.count("UpdateItem") == 1
    assert [row.version for row in (await faulty.changes(after=cursor, limit=10)).changes] == [version]


async def test_a_read_in_the_way_of_a_transaction_is_tried_again(faulty: DynamoStore, proxy: FaultProxy) -> None:
    await put(faulty, "a")
    proxy.add("TransactGetItems", cancelled("None", "TransactionConflict"), times=3)

    assert [copy is not None for copy in await faulty.get(NAMESPACE, ["a", "b"])] == [True, False]


async def test_a_lost_condition_is_decided_again_and_never_told(faulty: DynamoStore, proxy: FaultProxy) -> None:
    proxy.add("TransactWriteItems", cancelled("None", "ConditionalCheckFailed"), times=3)

    assert (await add_one(faulty, "r")).results[0].value == b"1"


async def test_what_dynamodb_finds_too_large_is_told_as_that(faulty: DynamoStore, proxy: FaultProxy) -> None:
    message = "Item size has exceeded the maximum allowed size"
    for fault in (answers("ValidationException", message=message), cancelled("None", "ValidationError")):
        proxy.add("TransactWriteItems", fault)
        with pytest.raises(InvalidRequest) as caught:
            await put(faulty, "key")
        assert caught.value.reason == "VALUE_TOO_LARGE"


async def test_writes_that_are_too_large_together_are_written_one_by_one(
    faulty: DynamoStore, proxy: FaultProxy
) -> None:
    proxy.add("TransactWriteItems", answers("ValidationException", message="size exceeded"))

    await asyncio.gather(*[put(faulty, f"{n}") for n in range(5)])

    assert proxy.operations.count("TransactWriteItems") == 6


async def test_a_part_of_a_batch_that_was_not_read_is_asked_for_again(
    faulty: DynamoStore, proxy: FaultProxy, table: Table
) -> None:
    await asyncio.gather(*[put(faulty, f"{n}", b"%d" % n) for n in range(3)])
    keys = [{"p": {"S": f"entry#{NAMESPACE}"}, "k": {"B": "Mg=="}}]
    left = {table.target.table: {"Keys": keys, "ConsistentRead": True}}

    def cut_short(deliver: object) -> tuple[int, bytes]:
        status, body = deliver()  # type: ignore[operator]  # a Deliver
        reply = json.loads(body)
        items = reply["Responses"][table.target.table]
        reply["Responses"][table.target.table] = [item for item in items if item["k"]["B"] != "Mg=="]
        return status, json.dumps(reply | {"UnprocessedKeys": left}).encode()

    proxy.add("BatchGetItem", cut_short)

    assert await asyncio.gather(*[value(faulty, f"{n}") for n in range(3)]) == [b"0", b"1", b"2"]
    assert not proxy.pending


async def test_a_lost_draw_leaves_a_hole_that_readers_pass_over_in_time(opener: Opener, proxy: FaultProxy) -> None:
    clock = ManualClock()
    store = await opener(clock, endpoint_url=proxy.endpoint_url, timeout_s=4.0)
    cursor = (await store.changes(after=None, limit=1)).cursor
    proxy.add("UpdateItem", loses_reply)
    with pytest.raises(StoreUnavailable):
        await put(store, "lost")
    version = await put(store, "key")

    assert (await store.changes(after=cursor, limit=10)).changes == ()
    clock.advance(int(GAP_S * 1000) - 1)
    assert (await store.changes(after=cursor, limit=10)).changes == ()
    clock.advance(1)
    assert [row.version for row in (await store.changes(after=cursor, limit=10)).changes] == [version]


async def test_a_version_that_was_refused_is_no_hole(faulty: DynamoStore, proxy: FaultProxy) -> None:
    cursor = (await faulty.changes(after=None, limit=1)).cursor
    proxy.add("TransactWriteItems", cuts)
    with pytest.raises(StoreUnavailable):
        await put(faulty, "not written")
    version = await put(faulty, "key")

    assert [row.version for row in (await faulty.changes(after=cursor, limit=10)).changes] == [version]


@pytest.mark.parametrize("announce", [False, True], ids=["quiet", "announced"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_touch_that_fails_changes_no_more_than_the_end(
    faulty: DynamoStore, proxy: FaultProxy, announce: bool, when: str
) -> None:
    version = await put(faulty, "key", ttl_ms=60_000)
    fault = answers("InternalServerError", 500) if when == "before" else fails_late("InternalServerError")
    proxy.add("TransactWriteItems" if announce else "UpdateItem", fault)
    touches = [Touch(key="key", ttl_ms=120_000)]

    try:
        (touched,) = await faulty.touch(NAMESPACE, touches, announce=announce)
        assert touched.found
        assert (announce, when) == (True, "after")
    except StoreUnavailable:
        assert (announce, when) == (True, "before")
    except OutcomeUnknown:
        assert not announce

    (copy,) = await faulty.get(NAMESPACE, ["key"])
    assert copy is not None
    assert copy.version == version


OPERATIONS = ["GetItem", "BatchGetItem", "UpdateItem", "TransactWriteItems", "PutItem"]


@pytest.mark.parametrize("fault", [*[f"not done: {name}" for name in NOT_DONE], *[f"done: {name}" for name in DONE]])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_whatever_call_goes_wrong_an_id_counts_once(
    faulty: DynamoStore, proxy: FaultProxy, operation: str, fault: str
) -> None:
    kind, _, name = fault.partition(": ")
    for n in range(4):
        proxy.add(operation, (DONE if kind == "done" else NOT_DONE)[name])
        told: SidecarError | None = None
        try:
            first = await add_one(faulty, f"{n}")
            assert first.results[0].value == b"%d" % (n + 1)
        except (StoreUnavailable, OutcomeUnknown) as exc:
            told = exc
        again = await add_one(faulty, f"{n}")
        if told is None:
            assert again.replayed
        elif isinstance(told, StoreUnavailable):
            assert not again.replayed
        assert again.results[0].value == b"%d" % (n + 1)
    assert await value(faulty, "n") == b"4"


async def test_a_caller_who_goes_leaves_a_definite_state(faulty: DynamoStore, proxy: FaultProxy) -> None:
    arrived, until = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", waits(arrived, until))
    writing = asyncio.create_task(add_one(faulty, "r"))
    assert await asyncio.to_thread(arrived.wait, 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    until.set()

    assert (await add_one(faulty, "r")).replayed


async def test_closing_waits_for_what_was_accepted(faulty: DynamoStore, proxy: FaultProxy, opener: Opener) -> None:
    arrived, until = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", waits(arrived, until))
    writing = asyncio.create_task(put(faulty, "key", b"accepted"))
    assert await asyncio.to_thread(arrived.wait, 10)
    closing = asyncio.create_task(faulty.close())
    await asyncio.sleep(0)
    until.set()

    await closing
    assert await writing > 0
    assert await value(await opener(), "key") == b"accepted"


async def test_a_refusal_that_can_not_be_recorded_is_not_told(faulty: DynamoStore, proxy: FaultProxy) -> None:
    guarded = write(Put(key="key", value=b"", expected_version=7), request=request("r"))
    proxy.add("TransactWriteItems", answers("InternalServerError", 500))

    with pytest.raises(OutcomeUnknown):
        await faulty.commit(guarded)


async def test_what_changes_nothing_writes_nothing(faulty: DynamoStore, proxy: FaultProxy) -> None:
    proxy.clear()
    await faulty.commit(write(Remove(key="absent")))

    assert proxy.operations == ["GetItem"]


async def test_a_plain_write_is_three_calls(faulty: DynamoStore, proxy: FaultProxy) -> None:
    await put(faulty, "key")

    assert proxy.operations == ["GetItem", "UpdateItem", "TransactWriteItems"]


async def test_keys_that_are_read_together_are_of_one_moment(faulty: DynamoStore, proxy: FaultProxy) -> None:
    """The emulator answers a batch under one lock; DynamoDB reads its keys one by one."""
    await faulty.get(NAMESPACE, ["a", "b"])

    assert proxy.operations == ["TransactGetItems"]


async def test_writes_that_wait_together_share_their_calls(faulty: DynamoStore, proxy: FaultProxy) -> None:
    await asyncio.gather(*[add_one(faulty, f"{n}") for n in range(40)], *[put(faulty, f"{n}") for n in range(8)])

    assert proxy.operations.count("TransactWriteItems") <= 2
    assert proxy.operations.count("UpdateItem") <= 2
    assert await value(faulty, "n") == b"40"
    assert ADD_ONE.return_value
