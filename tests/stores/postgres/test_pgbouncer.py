"""Through PgBouncer in transaction pooling: no statement relies on what another left on its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from servers.base import shared
from servers.pgbouncer import PgBouncer
from servers.postgres import Postgres
from sidecar.core.operations import Remove
from sidecar.core.store import SweepOrder
from sidecar.stores.postgres import PostgresStore, PostgresTarget, parse_target
from sidecar.stores.postgres.connector import Connector
from sidecar.stores.postgres.wire import Session
from tests.stores.postgres.conftest import Opener, Place, add_one, put, together, value
from tests.support.factories import NAMESPACE, request, write


@pytest.fixture
def pooled(place: Place) -> Iterator[PostgresTarget]:
    with PgBouncer(shared(Postgres)) as bouncer:
        yield parse_target(bouncer.url(schema=place.schema))


@pytest.fixture
async def pooled_store(open_store: Opener, pooled: PostgresTarget) -> PostgresStore:
    return await open_store(pooled)


async def test_everything_works_through_a_pooler(pooled_store: PostgresStore) -> None:
    store = pooled_store
    cursor = (await store.changes(after=None, limit=1)).cursor
    await together(store, *[put(f"{n:02}", b"%d" % n, ttl_ms=3_600_000) for n in range(40)])
    first = await store.commit(add_one("r"))
    again = await store.commit(add_one("r"))
    await store.commit(write(Remove(key="00"), request=request("s")))

    assert (again.version, again.replayed) == (first.version, True)
    page = await store.scan(NAMESPACE, "", after=None, limit=100, bytes_max=1 << 20, keys_only=False)
    assert [entry.key for entry in page.entries] == [*[f"{n:02}" for n in range(1, 40)], "n"]
    assert len((await store.changes(after=cursor, limit=100)).changes) == 42
    progress = await store.delete_prefix(NAMESPACE, "1", limit=100, request=request("t"), progress=None)
    assert progress.deleted_count == 10
    assert (await store.sweep(SweepOrder(limit=10, tombstone_retention_ms=0, request_retention_ms=1 << 40))).tombstones
    generation = await store.cache_generation("cache")
    assert await store.cache_generation("cache") == generation


async def test_many_stores_share_few_connections(open_store: Opener, pooled: PostgresTarget) -> None:
    stores = [await open_store(pooled) for _ in range(6)]

    await asyncio.gather(*[store.commit(add_one()) for _ in range(20) for store in stores])
    await asyncio.gather(*[store.get(NAMESPACE, ["n"]) for _ in range(20) for store in stores])

    assert await value(stores[0], "n") == b"120"


async def test_nothing_is_prepared_where_a_pooler_is_seen(pooled_store: PostgresStore, place: Place) -> None:
    await together(pooled_store, *[put(f"{n}") for n in range(20)])

    assert not any(lane.session.prepares for lane in pooled_store._parts[0]._lanes if lane.session)  # type: ignore[index]


async def test_a_pooler_that_is_not_seen_is_found_out(
    open_store: Opener, pooled: PostgresTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might pass on a server's own number: statements that are missing on another server are then sent whole."""
    recognise = Connector._recognise

    async def fooled(self: Connector, session: Session) -> bool:
        await recognise(self, session)
        return True

    monkeypatch.setattr(Connector, "_recognise", fooled)
    stores = [await open_store(pooled) for _ in range(4)]

    for n in range(20):
        await asyncio.gather(*[store.commit(add_one(f"{n} {i}")) for i, store in enumerate(stores)])
        assert set(await asyncio.gather(*[value(store, "n") for store in stores])) == {b"%d" % (4 * n + 4)}

    assert not any(store._connector._prepares for store in stores)


async def test_bounds_do_not_leak_to_the_next_user_of_a_connection(
    pooled_store: PostgresStore, place: Place, open_store: Opener
) -> None:
    with PgBouncer(place.server, connections=1) as bouncer:
        store = await open_store(parse_target(bouncer.url(schema=place.schema)))
        await store.commit(put("key"))
        await store.get(NAMESPACE, ["key"])
        with psycopg.connect(bouncer.url(), autocommit=True) as connection:
            for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
                assert connection.execute(f"SHOW {name}").fetchone() == ("0",)
            assert connection.execute("SHOW enable_seqscan").fetchone() == ("on",)
            locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
            assert locks == (0,)
        await store.close()
