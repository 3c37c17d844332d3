"""DynamoDB's bounds: what fits by other means is stored by them, what doesn't is refused before anything is written."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from servers.base import shared
from servers.ministack import Ministack
from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss, InvalidRequest, StoreUnavailable, Unsupported, VersionConflict
from sidecar.core.operations import Append, Change, Check, Put, Remove
from sidecar.core.store import SweepOrder, Touch
from sidecar.stores.dynamodb import DynamoStore
from sidecar.stores.dynamodb.commits import OPERATIONS_MAX
from sidecar.stores.dynamodb.items import ITEM_BYTES_MAX
from sidecar.stores.dynamodb.payloads import GRACE_MS, INLINE_BYTES_MAX, RECHECK_MS
from tests.stores.dynamodb.conftest import Opener, Table, put, value
from tests.stores.dynamodb.faults import FaultProxy, answers, cuts, waits
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, request, write

MIB = 1 << 20
ORDER = SweepOrder(limit=100, tombstone_retention_ms=1 << 50, request_retention_ms=1 << 50)


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


async def test_as_many_operations_as_a_transaction_takes_land_with_their_id(store: DynamoStore) -> None:
    operations = [Put(key=f"{n}", value=b"") for n in range(OPERATIONS_MAX)]

    outcome = await store.commit(write(*operations, request=request("r")))

    assert len(outcome.copies) == OPERATIONS_MAX
    assert (await store.commit(write(*operations, request=request("r")))).replayed


async def test_more_operations_are_not_supported(store: DynamoStore) -> None:
    operations = [Put(key=f"{n}", value=b"") for n in range(OPERATIONS_MAX + 1)]

    with pytest.raises(Unsupported) as caught:
        await store.commit(write(*operations))

    assert caught.value.reason == "CAPABILITY_MISSING"
    assert caught.value.metadata["operations_max"] == str(OPERATIONS_MAX)
    assert await value(store, "0") is None


@pytest.mark.parametrize(
    "size", [INLINE_BYTES_MAX - 300, INLINE_BYTES_MAX, ITEM_BYTES_MAX, 2 * INLINE_BYTES_MAX, 5 * MIB], ids=str
)
async def test_a_value_larger_than_an_item_comes_back_exactly(store: DynamoStore, size: int) -> None:
    content = noise(size)
    await put(store, "key", content, labels={"a": "b"}, ttl_ms=60_000)

    assert await value(store, "key") == content
    page = await store.scan(NAMESPACE, "", after=None, limit=10, bytes_max=1 << 30, keys_only=False)
    assert [entry.value for entry in page.entries] == [content]
    page = await store.scan(NAMESPACE, "", after=None, limit=10, bytes_max=1, keys_only=True)
    assert [entry.value for entry in page.entries] == [b""]
    assert [entry.labels for entry in page.entries] == [{"a": "b"}]


async def test_pages_count_the_bytes_of_large_values(store: DynamoStore) -> None:
    for n in range(3):
        await put(store, f"{n}", noise(MIB, n))

    page = await store.scan(NAMESPACE, "", after=None, limit=10, bytes_max=2 * MIB, keys_only=False)

    assert [entry.value for entry in page.entries] == [noise(MIB, 0), noise(MIB, 1)]
    assert page.more


async def test_a_value_beyond_the_bound_is_refused(store: DynamoStore) -> None:
    bound = store.capabilities.value_bytes_max
    assert bound is not None

    with pytest.raises(InvalidRequest) as caught:
        await put(store, "key", bytes(bound + 1))

    assert (caught.value.reason, caught.value.field) == ("VALUE_TOO_LARGE", "value")
    assert await value(store, "key") is None


async def test_large_values_change_in_place(store: DynamoStore) -> None:
    await put(store, "list", b'["' + b"x" * MIB + b'"]')

    for n in range(2):
        await store.commit(write(Change(key="list", change=Append(items=(n,)))))

    assert await value(store, "list") == b'["' + b"x" * MIB + b'",0,1]'


async def test_many_large_values_land_as_one_transaction(store: DynamoStore) -> None:
    contents = {f"{n}": noise(300_000, n) for n in range(20)}

    outcome = await store.commit(write(*[Put(key=key, value=content) for key, content in contents.items()]))

    copies = await store.get(NAMESPACE, list(contents))
    assert [copy.value for copy in copies if isinstance(copy, Entry)] == list(contents.values())
    assert {copy.version for copy in copies if copy} == {outcome.version}


async def test_one_refusal_undoes_a_transaction_of_large_values(store: DynamoStore) -> None:
    with pytest.raises(VersionConflict):
        await store.commit(write(Put(key="large", value=noise(MIB)), Check(key="other", expected_version=7)))

    assert await value(store, "large") is None


async def test_a_large_value_without_a_part_is_data_loss(store: DynamoStore, table: Table) -> None:
    await put(store, "key", noise(MIB))
    place = table.places("part")[1]
    table.client.delete_item(TableName=table.target.table, Key={"p": {"S": place}, "k": {"B": b"-"}})

    with pytest.raises(DataLoss):
        await value(store, "key")
    with pytest.raises(DataLoss):
        await store.commit(write(Change(key="key", change=Append(items=(1,)))))
    await put(store, "key", b"mended")
    assert await value(store, "key") == b"mended"


async def test_a_spoilt_part_is_data_loss(store: DynamoStore, table: Table) -> None:
    await put(store, "key", noise(MIB))
    part = table.item(table.places("part")[0])
    table.put(part | {"b": {"B": part["b"]["B"][:-1] + b"?"}})

    with pytest.raises(DataLoss):
        await value(store, "key")


@pytest.mark.parametrize("by", ["overwritten", "deleted", "expired"])
async def test_parts_that_no_key_names_are_swept(opener: Opener, table: Table, by: str) -> None:
    clock = ManualClock()
    store = await opener(clock)
    await put(store, "key", noise(MIB, 1), ttl_ms=1000 if by == "expired" else None)
    await put(store, "kept", noise(MIB, 2))
    if by == "overwritten":
        await put(store, "key", noise(MIB, 3))
    elif by == "deleted":
        await store.commit(write(Remove(key="key")))
    clock.advance(GRACE_MS - 1)
    await store.sweep(ORDER)
    count = len(table.places("payload"))

    clock.advance(1)
    await store.sweep(ORDER)

    assert len(table.places("payload")) == count - 1
    assert len(table.places("part")) == 3 * (count - 1)
    assert await value(store, "kept") == noise(MIB, 2)
    if by == "overwritten":
        assert await value(store, "key") == noise(MIB, 3)


async def test_parts_that_a_key_names_are_looked_at_again_later(opener: Opener, table: Table) -> None:
    clock = ManualClock()
    store = await opener(clock)
    await put(store, "key", noise(MIB))
    clock.advance(GRACE_MS)
    await store.sweep(ORDER)
    await put(store, "key", b"small")
    clock.advance(RECHECK_MS - 1)
    await store.sweep(ORDER)
    assert len(table.places("part")) == 3

    clock.advance(1)
    await store.sweep(ORDER)

    assert table.places("part") == table.places("payload") == []


async def test_parts_of_a_write_that_failed_are_swept(opener: Opener, table: Table, proxy: FaultProxy) -> None:
    clock = ManualClock()
    store = await opener(clock, endpoint_url=proxy.endpoint_url)
    proxy.add("TransactWriteItems", cuts)
    with pytest.raises(StoreUnavailable):
        await put(store, "key", noise(MIB))
    assert len(table.places("part")) == 3
    clock.advance(GRACE_MS)

    await store.sweep(ORDER)

    assert table.places("part") == table.places("payload") == []


async def test_a_transaction_that_is_later_than_the_sweep_of_its_parts_does_not_land(
    opener: Opener, table: Table, proxy: FaultProxy
) -> None:
    clock = ManualClock()
    store = await opener(clock, endpoint_url=proxy.endpoint_url)
    sweeper = await opener(clock)
    swept = asyncio.Event()
    loop = asyncio.get_running_loop()

    def sweep_before(deliver: object) -> tuple[int, bytes]:
        async def sweep() -> None:
            clock.advance(GRACE_MS)
            await sweeper.sweep(ORDER)
            swept.set()

        asyncio.run_coroutine_threadsafe(sweep(), loop).result(10)
        reply: tuple[int, bytes] = deliver()  # type: ignore[operator]  # a Deliver
        return reply

    proxy.add("TransactWriteItems", sweep_before)

    await put(store, "key", noise(MIB))

    assert swept.is_set()
    assert await value(store, "key") == noise(MIB)
    assert proxy.operations.count("TransactWriteItems") == 2


async def test_a_transaction_that_lands_while_its_parts_are_swept_does_not_name_them(
    opener: Opener, proxy: FaultProxy
) -> None:
    clock = ManualClock()
    store = await opener(clock, endpoint_url=proxy.endpoint_url)
    written, go, swept, delete = (threading.Event() for _ in range(4))
    with FaultProxy(shared(Ministack).endpoint_url) as other:
        sweeper = await opener(clock, endpoint_url=other.endpoint_url)
        proxy.add("TransactWriteItems", waits(written, go))
        other.add("DeleteItem", waits(swept, delete))
        writing = asyncio.create_task(put(store, "key", noise(MIB)))
        assert await asyncio.to_thread(written.wait, 10)
        clock.advance(GRACE_MS)
        sweeping = asyncio.create_task(sweeper.sweep(ORDER))
        assert await asyncio.to_thread(swept.wait, 10)
        go.set()
        await writing
        delete.set()
        await sweeping
        await sweeper.close()

    assert await value(store, "key") == noise(MIB)


async def test_a_value_that_is_stored_again_after_a_lost_race_is_the_one_that_is_read(
    opener: Opener, proxy: FaultProxy
) -> None:
    store = await opener(endpoint_url=proxy.endpoint_url)
    lost = [{"Code": code} for code in ("None", "ConditionalCheckFailed")]
    proxy.add("TransactWriteItems", answers("TransactionCanceledException", CancellationReasons=lost))

    await put(store, "key", noise(MIB))

    assert await value(store, "key") == noise(MIB)


async def test_labels_that_do_not_fit_into_an_item_are_refused(store: DynamoStore) -> None:
    labels = {f"{n:03}" + "\0" * 100: "\0" * 1024 for n in range(64)}

    with pytest.raises(InvalidRequest) as caught:
        await put(store, "key", b"", labels=labels)

    assert caught.value.reason == "VALUE_TOO_LARGE"
    assert await value(store, "key") is None


async def test_an_answer_too_large_to_keep_under_an_id_is_refused(store: DynamoStore) -> None:
    await put(store, "key", b'["' + b"x" * MIB + b'"]')
    operation = Change(key="key", change=Append(items=(1,)), return_value=True)

    with pytest.raises(InvalidRequest) as caught:
        await store.commit(write(operation, request=request("r")))

    assert caught.value.reason == "VALUE_TOO_LARGE"
    assert "kept under the request id" in caught.value.message
    assert len((await store.commit(write(operation))).results[0].value or b"") == MIB + 6


async def test_too_many_large_values_in_one_transaction_are_refused(store: DynamoStore) -> None:
    operations = [Put(key=f"{n}", value=bytes(INLINE_BYTES_MAX)) for n in range(60)]

    with pytest.raises(InvalidRequest) as caught:
        await store.commit(write(*operations))

    assert (caught.value.reason, caught.value.field) == ("VALUE_TOO_LARGE", "operations")
    assert await value(store, "0") is None


async def test_the_longest_keys_are_listed_page_by_page(store: DynamoStore) -> None:
    keys = sorted(["x" * 1023 + tail for tail in ("a", "b", "\x7f")] + ["x" * 1022 + "é", "x" * 1023], key=str.encode)
    await store.commit(write(*[Put(key=key, value=b"") for key in keys]))

    found: list[str] = []
    after = None
    for _ in keys:
        page = await store.scan(NAMESPACE, "x" * 1022, after=after, limit=1, bytes_max=1, keys_only=True)
        found += [entry.key for entry in page.entries]
        after = found[-1]
    assert found == keys
    page = await store.scan(NAMESPACE, "x" * 1023 + "b", after=None, limit=9, bytes_max=1, keys_only=True)
    assert [entry.key for entry in page.entries] == ["x" * 1023 + "b"]


async def test_a_namespace_of_many_pages_is_listed_whole(store: DynamoStore) -> None:
    for n in range(12):
        await put(store, f"{n:02}", noise(200_000, n))

    page = await store.scan(NAMESPACE, "", after=None, limit=100, bytes_max=1 << 30, keys_only=False)

    assert [entry.key for entry in page.entries] == [f"{n:02}" for n in range(12)]


async def test_more_keys_than_a_batch_are_touched_and_deleted(store: DynamoStore) -> None:
    keys = [f"{n:03}" for n in range(250)]
    await asyncio.gather(*[put(store, key, ttl_ms=60_000) for key in keys])
    touched = await store.touch(NAMESPACE, [Touch(key=key, ttl_ms=90_000) for key in keys], announce=True)
    assert all(one.found for one in touched)

    progress = await store.delete_prefix(NAMESPACE, "", limit=1000, request=None, progress=None)
    while not progress.done:
        progress = await store.delete_prefix(NAMESPACE, "", limit=1000, request=None, progress=progress)

    assert progress.deleted_count == 250
