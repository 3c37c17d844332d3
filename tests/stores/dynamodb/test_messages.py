"""Messages and forgotten rows in DynamoDB's transactions: what fits, what is held while it lands, what is found out after."""

from __future__ import annotations

import asyncio
import threading

import pytest

from sidecar.core.errors import InvalidRequest, VersionConflict
from sidecar.core.ledger import LEDGER
from sidecar.core.operations import Check, Forget, Operation, Put
from sidecar.core.outbox import MESSAGES_MAX, Message, Pending, message_id
from sidecar.core.store import SweepOrder
from sidecar.stores.dynamodb import DynamoStore
from sidecar.stores.dynamodb.commits import OPERATIONS_MAX
from sidecar.stores.dynamodb.payloads import GRACE_MS
from tests.stores.dynamodb.conftest import Opener, Table, put, value
from tests.stores.dynamodb.faults import FaultProxy, loses_reply, waits
from tests.support.clock import ManualClock
from tests.support.factories import request, write

MESSAGE = Message(topic="topic", operation=None)
ORDER = SweepOrder(limit=100, tombstone_retention_ms=1 << 50, request_retention_ms=1 << 50)


def puts(count: int) -> list[Operation]:
    return [Put(key=f"{n}", value=b"") for n in range(count)]


async def waiting(store: DynamoStore) -> list[str]:
    """The ids of all messages."""
    page = await store.scan(LEDGER, "x/", after=None, limit=1_000, bytes_max=1 << 20, keys_only=False)
    return [Pending.decode(row).id for row in page.entries]


async def test_as_many_operations_and_messages_as_a_transaction_takes_land(store: DynamoStore) -> None:
    messages = tuple(Message(topic="topic", operation=n) for n in range(MESSAGES_MAX))

    outcome = await store.commit(write(*puts(OPERATIONS_MAX - MESSAGES_MAX), outbox=messages, request=request("r")))

    assert sorted(await waiting(store)) == [message_id(outcome.version, n) for n in range(MESSAGES_MAX)]


async def test_more_are_refused_before_anything_is_sent(faulty: DynamoStore, proxy: FaultProxy) -> None:
    too_many = write(*puts(OPERATIONS_MAX - MESSAGES_MAX + 1), outbox=(MESSAGE,) * MESSAGES_MAX)

    with pytest.raises(InvalidRequest) as caught:
        await faulty.commit(too_many)

    assert (caught.value.reason, caught.value.field) == ("TOO_MANY_OPERATIONS", "operations")
    assert proxy.operations == []


async def test_checkpoints_that_do_not_fit_are_refused_and_hold_nothing_up(
    faulty: DynamoStore, proxy: FaultProxy
) -> None:
    """How many there are is known when the write is decided: as many operations without any would have landed."""
    together = [
        faulty.commit(write(*puts(40), checkpoint_every=1)),
        faulty.commit(write(*puts(40), checkpoint_every=2, outbox=(MESSAGE,))),
        put(faulty, "other"),
    ]

    refused, landed, other = await asyncio.gather(*together, return_exceptions=True)

    assert isinstance(refused, InvalidRequest)
    assert refused.reason == "TOO_MANY_OPERATIONS"
    assert not isinstance(landed, BaseException), landed
    assert not isinstance(other, BaseException), other
    assert len(await waiting(faulty)) == 1


async def test_messages_that_landed_are_known_to_though_nothing_else_changed(
    faulty: DynamoStore, proxy: FaultProxy
) -> None:
    """They leave no change row: the place that is fenced when a reply is lost must tell that they are there."""
    version = await put(faulty, "key")
    proxy.add("TransactWriteItems", loses_reply)

    outcome = await faulty.commit(write(Check(key="key", expected_version=version), outbox=(MESSAGE,)))

    assert await waiting(faulty) == [message_id(outcome.version, 0)]
    cursor = (await faulty.changes(after=None, limit=1)).cursor
    newer = await put(faulty, "key")
    assert [row.version for row in (await faulty.changes(after=cursor, limit=9)).changes] == [newer]


async def test_what_only_checks_holds_when_its_messages_land(
    opener: Opener, faulty: DynamoStore, proxy: FaultProxy
) -> None:
    other = await opener()
    version = await put(faulty, "key")
    arrived, go = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", waits(arrived, go))
    checking = asyncio.create_task(faulty.commit(write(Check(key="key", expected_version=version), outbox=(MESSAGE,))))
    assert await asyncio.to_thread(arrived.wait, 10)
    await put(other, "key", b"newer")

    go.set()
    with pytest.raises(VersionConflict):
        await checking
    assert await waiting(other) == []


async def test_a_row_is_forgotten_only_as_it_was_read(opener: Opener, faulty: DynamoStore, proxy: FaultProxy) -> None:
    other = await opener()
    await faulty.commit(write(Put(key="x/row", value=b"old"), namespace=LEDGER))
    arrived, go = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", waits(arrived, go))
    (before,) = await faulty.get(LEDGER, ["x/row"])
    assert before is not None
    forgetting = asyncio.create_task(
        faulty.commit(write(Forget(key="x/row", expected_version=before.version), namespace=LEDGER))
    )
    assert await asyncio.to_thread(arrived.wait, 10)
    await other.commit(write(Put(key="x/row", value=b"new"), namespace=LEDGER))

    go.set()
    with pytest.raises(VersionConflict):
        await forgetting
    assert await value(other, "x/row", LEDGER) == b"new"


async def test_parts_of_a_forgotten_value_are_deleted_later(opener: Opener, table: Table) -> None:
    clock = ManualClock()
    store = await opener(clock)
    await store.commit(write(Put(key="x/row", value=bytes(1 << 20)), namespace=LEDGER))
    await store.commit(write(Forget(key="x/row"), namespace=LEDGER))
    assert table.places("entry") == []
    assert len(table.places("part")) == 3

    clock.advance(GRACE_MS)
    await store.sweep(ORDER)

    assert table.places("part") == table.places("payload") == []
