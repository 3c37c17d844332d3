"""A count of a large table is a sample of bounded cost; it waits for nobody, and nobody for it."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from sidecar.core.errors import StoreUnavailable
from sidecar.core.observed import Held
from sidecar.core.operations import Put
from sidecar.stores.postgres import PostgresStore, counting
from sidecar.stores.postgres.counting import PAGES_MIN, Counter
from tests.stores.postgres.conftest import Place, put, value
from tests.support.factories import write

ROWS = 6_000
ROW_BYTES = 300


@pytest.fixture
async def filled(store: PostgresStore) -> PostgresStore:
    """Two namespaces of many pages, a third of the rows in the second."""
    for batch in range(ROWS // 500):
        operations = [Put(key=f"{batch:03}{n:03}", value=b"x" * (ROW_BYTES - 6)) for n in range(500)]
        await store.commit(write(*operations, namespace="b" if batch % 3 == 0 else "a"))
    return store


def counter(store: PostgresStore, pages_max: int) -> Counter:
    return Counter(store._connector, pages_max=pages_max)


async def test_a_large_table_is_estimated_by_a_sample_of_its_pages(filled: PostgresStore) -> None:
    census = await counter(filled, 64).census()

    assert census.estimated
    assert census.held["a"].entries == pytest.approx(ROWS * 2 / 3, rel=0.5)
    assert census.held["b"].entries == pytest.approx(ROWS / 3, rel=0.5)
    total = sum(held.entries for held in census.held.values())
    assert total == pytest.approx(ROWS, rel=0.3)
    assert sum(held.bytes for held in census.held.values()) == pytest.approx(total * ROW_BYTES, rel=0.01)


async def test_a_sample_reads_no_more_than_its_pages(filled: PostgresStore, place: Place) -> None:
    pages = "SELECT pg_relation_size('\"{schema}\".entries') / 8192"
    [(total,)] = place.execute(pages)
    sampled = (
        "SELECT count(DISTINCT (ctid::text::point)[0]) FROM {schema}.entries TABLESAMPLE SYSTEM (%s) REPEATABLE (0)"
    )
    [(read,)] = place.execute(sampled, 100.0 * 64 / total)

    assert total > 200
    assert 32 < read < 128


async def test_the_same_table_gives_the_same_sample(filled: PostgresStore) -> None:
    """Else what is noise would be taken for growth."""
    one = counter(filled, 64)

    assert await one.census() == await one.census()


async def test_a_table_that_grows_is_seen_to_grow_by_samples(filled: PostgresStore) -> None:
    one = counter(filled, 64)
    before = (await one.census()).held["a"].entries
    for batch in range(ROWS // 500):
        operations = [Put(key=f"new{batch:03}{n:03}", value=b"x" * 294) for n in range(500)]
        await filled.commit(write(*operations, namespace="a"))

    assert (await one.census()).held["a"].entries - before == pytest.approx(ROWS, rel=0.5)


async def test_what_takes_too_long_is_ended_by_the_server_and_the_next_reads_less(
    filled: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "STATEMENT_S", 0.001)
    one = counter(filled, 4 * PAGES_MIN)

    with pytest.raises(StoreUnavailable, match="longer than"):
        await one.census()

    assert one.pages_max == PAGES_MIN


async def test_a_locked_table_is_not_waited_for_and_nobody_waits_for_the_count(
    store: PostgresStore, place: Place
) -> None:
    await store.commit(put("key"))
    with closing(place.server.connect()) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {place.schema}.entries IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(1.5):
            with pytest.raises(StoreUnavailable):
                await store.census()

    assert await value(store, "key") == b"value"
    assert (await store.census()).held == {"contract": Held(1, 8)}


async def test_no_connection_is_left_after_a_count(store: PostgresStore, place: Place) -> None:
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid()"
    for _ in range(3):
        await store.census()

    async with asyncio.timeout(5):
        while place.server.execute(sessions, f"%{place.schema}.entries TABLESAMPLE%") != [(0,)]:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_closed_store_is_not_counted(store: PostgresStore) -> None:
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.census()
