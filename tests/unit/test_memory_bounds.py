"""What bounds the memory store: bytes, remembered request ids, change rows."""

from __future__ import annotations

import pytest

from sidecar.core.errors import LimitExceeded
from sidecar.core.operations import Put, Remove
from sidecar.core.store import SweepOrder
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, request, write


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_a_full_store_refuses_what_grows_it_and_takes_what_shrinks_it(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock, bytes_max=20_000)
    await store.commit(write(Put(key="large", value=b"x" * 15_000)))

    with pytest.raises(LimitExceeded) as refused:
        await store.commit(write(Put(key="other", value=b"x" * 10_000)))
    assert refused.value.reason == "STORAGE_FULL"
    assert await store.get(NAMESPACE, ["other"]) == [None]

    await store.commit(write(Put(key="large", value=b"")))
    await store.commit(write(Put(key="other", value=b"x" * 10_000)))


async def test_bytes_are_given_back_by_deletes_and_sweeps(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    await store.commit(write(Put(key="a", value=b"x" * 1000), Put(key="b", value=b"x" * 1000, ttl_ms=5)))
    await store.commit(write(Remove(key="a")))
    clock.advance(10)

    swept = [
        await store.sweep(SweepOrder(limit=10, tombstone_retention_ms=0, request_retention_ms=0)) for _ in range(2)
    ]

    assert [grave.key for grave in swept[0].expired] == ["b"]
    assert store.bytes_held == 0


async def test_the_oldest_request_ids_make_room(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock, requests_max=2)
    for name in ("first", "second", "third"):
        await store.commit(write(Put(key=name, value=b"1"), request=request(name)))

    third = await store.commit(write(Put(key="third", value=b"1"), request=request("third")))
    first = await store.commit(write(Put(key="first", value=b"1"), request=request("first")))

    assert third.replayed
    assert not first.replayed


async def test_change_rows_that_made_room_are_told_as_a_gap(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock, changes_max=2)
    for number in range(3):
        await store.commit(write(Put(key="key", value=b"%d" % number)))

    page = await store.changes(after=0, limit=10)

    assert page.gap
    assert len(page.changes) == 2


async def test_a_restarted_store_hands_out_no_version_twice(clock: ManualClock) -> None:
    before = MemoryStore(clock=clock)
    written = [(await before.commit(write(Put(key="key", value=b"1")))).version for _ in range(30)]
    clock.advance(1)

    after = MemoryStore(clock=clock)

    assert (await after.commit(write(Put(key="key", value=b"1")))).version > max(written)
