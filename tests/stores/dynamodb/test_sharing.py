"""Daemons that share a table: nothing is lost between them, and what one leaves behind does not hold up another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from sidecar.core.entry import epoch_of
from sidecar.core.errors import FailedPrecondition, InvalidRequest, SidecarError, StoreUnavailable, VersionConflict
from sidecar.core.operations import Change, Check, Increment, Put
from sidecar.core.store import ChangeRow, SweepOrder, Touch
from sidecar.stores.dynamodb import DynamoStore
from sidecar.stores.dynamodb.feed import GAP_S
from sidecar.stores.dynamodb.store import IDLE_S
from sidecar.stores.dynamodb.table import definition
from tests.stores.dynamodb.conftest import ADD_ONE, Opener, Table, add_one, put, value
from tests.stores.dynamodb.faults import FaultProxy, waits
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, request, write

DAEMONS, WRITERS = 3, 8


async def follow(store: DynamoStore, cursor: int, count: int) -> list[ChangeRow]:
    """As many rows as are to come, as a reader sees them."""
    told: list[ChangeRow] = []
    while len(told) < count:
        page = await store.changes(after=cursor, limit=7)
        assert not page.gap
        told += page.changes
        cursor = page.cursor
    return told


async def test_increments_through_several_daemons_are_exact(opener: Opener) -> None:
    stores = [await opener() for _ in range(DAEMONS)]
    write_ = write(ADD_ONE)

    outcomes = await asyncio.gather(*[store.commit(write_) for store in stores for _ in range(WRITERS)])

    values = sorted(int(outcome.results[0].value or b"") for outcome in outcomes)
    assert values == list(range(1, DAEMONS * WRITERS + 1))
    in_order = sorted(outcomes, key=lambda outcome: outcome.version)
    assert [int(outcome.results[0].value or b"") for outcome in in_order] == values


async def test_compare_and_set_through_several_daemons_has_one_winner(opener: Opener) -> None:
    stores = [await opener() for _ in range(DAEMONS)]
    for turn in range(5):
        operation = Put(key=f"{turn}", value=b"", expected_version=0)
        answers = await asyncio.gather(*[store.commit(write(operation)) for store in stores], return_exceptions=True)
        assert sum(isinstance(answer, VersionConflict) for answer in answers) == DAEMONS - 1


async def test_a_request_through_several_daemons_takes_effect_once(opener: Opener) -> None:
    stores = [await opener() for _ in range(DAEMONS)]

    for turn in range(5):
        outcomes = await asyncio.gather(*[add_one(store, f"{turn}") for store in stores])
        assert [outcome.replayed for outcome in outcomes].count(False) == 1
        assert {outcome.results[0].value for outcome in outcomes} == {b"%d" % (turn + 1)}


async def test_a_reader_misses_nothing_that_others_write(opener: Opener) -> None:
    stores = [await opener() for _ in range(DAEMONS)]
    reader = await opener()
    cursor = (await reader.changes(after=None, limit=1)).cursor

    async def write_some(store: DynamoStore, name: int) -> list[int]:
        return [await put(store, f"{name} {n % 2}") for n in range(6)]

    writers = [write_some(store, name) for name, store in enumerate(stores * 4)]
    told, versions = await asyncio.gather(follow(reader, cursor, len(writers) * 6), asyncio.gather(*writers))

    assert sorted(row.version for row in told) == sorted(version for each in versions for version in each)
    for key in {row.key for row in told}:
        of_key = [row.version for row in told if row.key == key]
        assert all(before < after for before, after in pairwise(of_key))


async def test_a_reader_waits_for_what_is_under_way_and_then_goes_on(
    opener: Opener, store: DynamoStore, proxy: FaultProxy
) -> None:
    slow = await opener(endpoint_url=proxy.endpoint_url)
    cursor = (await store.changes(after=None, limit=1)).cursor
    arrived, until = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", waits(arrived, until))
    writing = asyncio.create_task(put(slow, "slow"))
    assert await asyncio.to_thread(arrived.wait, 10)
    fast = await put(store, "fast")

    assert (await store.changes(after=cursor, limit=10)).changes == ()
    begin = (await store.changes(after=None, limit=1)).cursor
    until.set()
    version = await writing

    assert version < fast
    assert [row.version for row in await follow(store, cursor, 2)] == [version, fast]
    assert [row.version for row in (await store.changes(after=begin, limit=10)).changes] == [version, fast]


async def test_a_writer_that_was_passed_over_takes_another_version_and_is_told(
    opener: Opener, proxy: FaultProxy
) -> None:
    clock = ManualClock()
    slow, store = await opener(endpoint_url=proxy.endpoint_url), await opener(clock)
    cursor = (await store.changes(after=None, limit=1)).cursor
    arrived, until = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", waits(arrived, until))
    writing = asyncio.create_task(put(slow, "slow"))
    assert await asyncio.to_thread(arrived.wait, 10)
    fast = await put(store, "fast")
    assert (await store.changes(after=cursor, limit=10)).changes == ()
    clock.advance(int(GAP_S * 1000))

    page = await store.changes(after=cursor, limit=10)
    assert [row.version for row in page.changes] == [fast]
    until.set()
    version = await writing

    assert version > fast
    assert [row.version for row in await follow(store, page.cursor, 1)] == [version]


async def test_a_writer_that_died_holds_up_readers_for_a_while_only(opener: Opener) -> None:
    clock = ManualClock()
    store = await opener(clock)
    cursor = (await store.changes(after=None, limit=1)).cursor
    assert store._opened is not None
    await store._opened.parts.sequencer.draw(5)  # and never uses it
    version = await put(store, "key")
    assert (await store.changes(after=cursor, limit=10)).changes == ()

    rows: list[ChangeRow] = []
    for _ in range(5):
        clock.advance(int(GAP_S * 1000))
        rows += (await store.changes(after=cursor, limit=10)).changes

    assert rows[0].version == version


async def test_a_deletion_by_prefix_takes_all_up_to_its_horizon_whoever_is_on_the_way(
    opener: Opener, store: DynamoStore, proxy: FaultProxy
) -> None:
    slow = await opener(endpoint_url=proxy.endpoint_url)
    await put(store, "p old")
    arrived, until = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", waits(arrived, until))
    writing = asyncio.create_task(put(slow, "p slow"))
    assert await asyncio.to_thread(arrived.wait, 10)

    progress = await store.delete_prefix(NAMESPACE, "p", limit=10, request=None, progress=None)
    until.set()
    version = await writing

    assert (progress.deleted_count, progress.done) == (1, True)
    assert version > progress.horizon
    assert await value(store, "p slow") == b"value"


async def test_deletions_by_prefix_at_once_count_each_key_once(opener: Opener, store: DynamoStore) -> None:
    other = await opener()
    await store.commit(write(*[Put(key=f"p{n:02}", value=b"") for n in range(40)]))

    async def delete(one: DynamoStore) -> int:
        progress = await one.delete_prefix(NAMESPACE, "p", limit=7, request=request("r"), progress=None)
        while not progress.done:
            progress = await one.delete_prefix(NAMESPACE, "p", limit=7, request=request("r"), progress=progress)
        return progress.deleted_count

    assert list(await asyncio.gather(delete(store), delete(other))) == [40, 40]
    assert (await store.scan(NAMESPACE, "p", after=None, limit=1, bytes_max=1, keys_only=True)).entries == ()


async def test_sweeps_at_once_end_each_entry_once(opener: Opener) -> None:
    clock = ManualClock()
    stores = [await opener(clock) for _ in range(DAEMONS)]
    await stores[0].commit(write(*[Put(key=f"{n}", value=b"", ttl_ms=10) for n in range(30)]))
    clock.advance(10)
    order = SweepOrder(limit=100, tombstone_retention_ms=1000, request_retention_ms=1000)

    swept = await asyncio.gather(*[store.sweep(order) for store in stores])

    graves = [grave.key for each in swept for grave in each.expired]
    assert sorted(graves) == sorted({f"{n}" for n in range(30)})


async def test_a_touch_by_one_daemon_is_not_undone_by_a_write_of_another(
    opener: Opener, store: DynamoStore, proxy: FaultProxy
) -> None:
    """A counter of fixed ttl keeps the end that it has when it is written, not that of when it was loaded."""
    slow = await opener(endpoint_url=proxy.endpoint_url)
    await put(store, "n", b"1", ttl_ms=60_000)
    arrived, until = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", waits(arrived, until))
    writing = asyncio.create_task(slow.commit(write(Change(key="n", change=Increment(delta=1)))))
    assert await asyncio.to_thread(arrived.wait, 10)
    (touched,) = await store.touch(NAMESPACE, [Touch(key="n", ttl_ms=600_000)], announce=False)
    until.set()

    outcome = await writing

    assert outcome.results[0].expire_time == touched.expire_time
    assert await value(store, "n") == b"2"


@asynccontextmanager
async def held(proxy: FaultProxy, writing: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """A write whose transaction waits on its way until the block ends."""
    arrived, until = threading.Event(), threading.Event()
    proxy.add("TransactWriteItems", waits(arrived, until))
    task = asyncio.create_task(writing)
    try:
        assert await asyncio.to_thread(arrived.wait, 10)
        yield task
    finally:
        until.set()


async def test_what_a_transaction_checked_holds_when_it_lands(
    opener: Opener, store: DynamoStore, proxy: FaultProxy
) -> None:
    slow = await opener(endpoint_url=proxy.endpoint_url)
    version = await put(store, "checked")
    guarded = write(Check(key="checked", expected_version=version), Put(key="written", value=b""))
    async with held(proxy, slow.commit(guarded)) as writing:
        await put(store, "checked")

    with pytest.raises(VersionConflict):
        await writing

    assert await value(store, "written") is None


async def test_a_write_that_others_were_faster_than_has_the_greater_version(
    opener: Opener, store: DynamoStore, proxy: FaultProxy
) -> None:
    slow = await opener(endpoint_url=proxy.endpoint_url)
    async with held(proxy, put(slow, "key", b"slow")) as writing:
        version = await put(store, "key", b"fast")

    assert await writing > version
    assert await value(store, "key") == b"slow"


async def test_a_write_that_lost_holds_up_no_reader(opener: Opener, store: DynamoStore, proxy: FaultProxy) -> None:
    slow = await opener(endpoint_url=proxy.endpoint_url)
    reader = await opener(ManualClock())
    cursor = (await reader.changes(after=None, limit=1)).cursor
    async with held(proxy, put(slow, "key", expected_version=0)) as writing:
        version = await put(store, "key")
    with pytest.raises(VersionConflict):
        await writing
    await slow.close()

    assert [row.version for row in (await reader.changes(after=cursor, limit=10)).changes] == [version]


async def test_of_two_requests_under_one_id_one_is_refused_whatever_their_keys(
    opener: Opener, store: DynamoStore, proxy: FaultProxy
) -> None:
    slow = await opener(endpoint_url=proxy.endpoint_url)
    first = write(Put(key="slow", value=b""), request=request("r", "one"))
    async with held(proxy, slow.commit(first)) as writing:
        await store.commit(write(Put(key="fast", value=b""), request=request("r", "two")))

    with pytest.raises(InvalidRequest, match="request_id was used for another request"):
        await writing

    assert await value(store, "slow") is None


async def test_generations_of_a_cache_are_counted_by_all(opener: Opener) -> None:
    stores = [await opener() for _ in range(DAEMONS)]

    first = await asyncio.gather(*[store.cache_generation("run 1") for store in stores])
    second = await asyncio.gather(*[store.cache_generation("run 2") for store in stores])

    assert len(set(first)) == len(set(second)) == 1
    assert second[0] > first[0]


async def restored(opener: Opener, table: Table) -> tuple[DynamoStore, int, int, int]:
    """A store on a table that lost its last writes: with a version, a cursor and a generation of the lost time."""
    store = await opener()
    await put(store, "key", b"kept")
    await store.cache_generation("run 1")
    backup = table.items()
    version = await put(store, "key", b"lost")
    cursor = (await store.changes(after=None, limit=1)).cursor
    generation = await store.cache_generation("run 2")
    await store.close()
    for item in table.items():
        table.client.delete_item(TableName=table.target.table, Key={name: item[name] for name in "pk"})
    for item in backup:
        table.put(item)
    table.restored()
    return await opener(), version, cursor, generation


async def test_after_a_restore_no_version_of_the_lost_time_matches_or_comes_again(opener: Opener, table: Table) -> None:
    store, version, _, _ = await restored(opener, table)

    assert await value(store, "key") == b"kept"
    with pytest.raises(VersionConflict):
        await put(store, "key", expected_version=version)
    written = await put(store, "key")
    assert epoch_of(written) == epoch_of(version) + 1
    with pytest.raises(FailedPrecondition, match="newer epoch"):
        await put(store, "key", expected_version=written + (1 << 48))


async def test_after_a_restore_readers_of_changes_are_told_of_a_gap(opener: Opener, table: Table) -> None:
    store, _, cursor, _ = await restored(opener, table)
    version = await put(store, "key")

    page = await store.changes(after=cursor, limit=10)

    assert page.gap
    assert [row.version for row in page.changes] == [version]
    assert not (await store.changes(after=page.cursor, limit=10)).gap


async def test_after_a_restore_no_generation_of_a_cache_comes_again(opener: Opener, table: Table) -> None:
    store, _, _, generation = await restored(opener, table)

    assert await store.cache_generation("run 1") > generation
    assert await store.cache_generation("run 3") > generation


async def test_the_epoch_rises_once_for_all_daemons(opener: Opener, table: Table) -> None:
    store, version, _, _ = await restored(opener, table)
    stores = [store, *[await opener() for _ in range(3)]]

    versions = [await put(one, "key") for one in stores]

    assert {epoch_of(one) for one in versions} == {epoch_of(version) + 1}


async def test_a_daemon_that_ran_on_through_a_restore_notices(opener: Opener, table: Table) -> None:
    clock = ManualClock()
    store = await opener(clock)
    await put(store, "key", b"kept")
    backup = table.items()
    version = await put(store, "key", b"lost")
    for item in table.items():
        table.client.delete_item(TableName=table.target.table, Key={name: item[name] for name in "pk"})
    for item in backup:
        table.put(item)
    table.restored()
    assert epoch_of(await put(store, "other")) == epoch_of(version) + 1

    table.restored()
    clock.advance(int(IDLE_S * 1000))

    assert epoch_of(await put(store, "other")) == epoch_of(version) + 2


async def test_a_store_whose_own_item_is_gone_says_so(opener: Opener, table: Table) -> None:
    store = await opener()
    table.client.delete_item(TableName=table.target.table, Key={name: table.item("meta")[name] for name in "pk"})

    with pytest.raises(SidecarError):
        await store.changes(after=None, limit=1)


async def test_a_table_that_was_made_anew_beneath_a_reader_is_a_gap(opener: Opener, table: Table) -> None:
    """Of nothing that it was told before, nor of who reads only: nobody has to write for it to go on."""
    store = await opener()
    await put(store, "lost")
    cursor = (await store.changes(after=None, limit=1)).cursor
    table.client.delete_table(TableName=table.target.table)
    table.client.create_table(**definition(table.target.table))

    with pytest.raises(StoreUnavailable):
        await store.changes(after=cursor, limit=10)
    page = await store.changes(after=cursor, limit=10)

    assert (page.changes, page.gap) == ((), True)
    for n in range(9):
        await put(store, f"{n}")
    assert (await store.changes(after=cursor, limit=10)).gap
    assert len((await store.changes(after=page.cursor, limit=10)).changes) == 9
