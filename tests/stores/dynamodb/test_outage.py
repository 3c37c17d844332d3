"""A backend that hangs or is gone costs a bounded time, and the store heals by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from servers.ministack import Ministack
from sidecar.core.errors import LimitExceeded, OutcomeUnknown, StoreUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.stores.dynamodb import DynamoStore, DynamoTarget
from tests.stores.dynamodb.conftest import put, value
from tests.support.clock import ManualClock

TIMEOUT_S = 2.0
SLACK_S = 1.0
"""For a busy machine."""


@pytest.fixture(scope="module")
def server() -> Iterator[Ministack]:
    """One of our own: it is harmed."""
    with Ministack() as server:
        yield server


@pytest.fixture
async def store(server: Ministack, request: pytest.FixtureRequest) -> AsyncIterator[DynamoStore]:
    table = request.node.name[:200].replace("[", ".").replace("]", "")
    target = DynamoTarget(table=table, region="eu-west-1", endpoint_url=server.endpoint_url, create=True)
    store = DynamoStore(target, clock=SystemClock(), timeout_s=TIMEOUT_S)
    for _ in range(5):
        try:
            await store.open()
            break
        except StoreUnavailable:  # a busy machine
            continue
    await put(store, "key", b"before")
    yield store
    await store.close()


async def heal(store: DynamoStore) -> None:
    """The store answers again, by itself."""
    end = time.monotonic() + 20
    while True:
        try:
            assert await value(store, "key") is not None
            return
        except StoreUnavailable:
            assert time.monotonic() < end, "it does not heal"
            await asyncio.sleep(0)


async def test_every_call_of_a_backend_that_hangs_ends_in_time(server: Ministack, store: DynamoStore) -> None:
    server.pause()
    try:
        begin = time.monotonic()
        calls = [value(store, f"{n}") for n in range(50)]
        writes = [put(store, f"{n}") for n in range(50)]
        answers = await asyncio.gather(*calls, *writes, store.changes(after=None, limit=1), return_exceptions=True)
        took = time.monotonic() - begin
    finally:
        server.resume()

    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert took < TIMEOUT_S + SLACK_S
    await heal(store)


async def test_while_it_hangs_nobody_asks_but_once_a_second(server: Ministack, store: DynamoStore) -> None:
    server.pause()
    try:
        with pytest.raises(StoreUnavailable):
            await value(store, "key")
        with pytest.raises(StoreUnavailable):
            await value(store, "key")
        begin = time.monotonic()
        for _ in range(1000):
            with pytest.raises(StoreUnavailable):
                await value(store, "key")
        took = time.monotonic() - begin
    finally:
        server.resume()

    assert took < TIMEOUT_S + SLACK_S
    await heal(store)


async def test_a_write_that_hangs_on_its_way_is_not_told_as_done(server: Ministack, store: DynamoStore) -> None:
    for turn in range(3):
        writing = asyncio.gather(*[put(store, f"{turn} {n}") for n in range(64)], return_exceptions=True)
        for _ in range(20 * turn):
            await asyncio.sleep(0)
        server.pause()
        try:
            answers = await writing
        finally:
            server.resume()
        await heal(store)
        for n, answer in enumerate(answers):
            found = await value(store, f"{turn} {n}")
            if isinstance(answer, int):
                assert found == b"value"
            elif isinstance(answer, StoreUnavailable):
                assert found is None
            else:
                assert isinstance(answer, OutcomeUnknown)


async def test_a_backend_that_was_killed_is_found_again(server: Ministack, store: DynamoStore) -> None:
    server.kill()
    with pytest.raises(StoreUnavailable, match=r"closed the connection|can't connect"):
        await put(store, "key", b"while it was gone")
    server.restart()  # it keeps nothing: the table is made anew

    end = time.monotonic() + 20
    while True:
        try:
            assert await put(store, "key", b"after") > 0
            break
        except StoreUnavailable:
            assert time.monotonic() < end, "it does not heal"
            await asyncio.sleep(0)
    assert await value(store, "key") == b"after"


async def test_more_than_the_queue_takes_is_refused_at_once(server: Ministack) -> None:
    target = DynamoTarget(table="queue", region="eu-west-1", endpoint_url=server.endpoint_url, create=True)
    store = DynamoStore(target, clock=ManualClock(), queue_max=10, timeout_s=20)
    await store.open()

    answers = await asyncio.gather(*[put(store, f"{n}") for n in range(30)], return_exceptions=True)

    assert sum(isinstance(answer, int) for answer in answers) == 10
    assert sum(isinstance(answer, LimitExceeded) for answer in answers) == 20
    assert await put(store, "key") > 0
    await store.close()
