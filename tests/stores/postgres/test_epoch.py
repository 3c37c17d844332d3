"""A database that went back in time: no version from before ever matches or is handed out again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from servers.pgbouncer import PgBouncer
from servers.postgres import Postgres, PostgresReplica
from sidecar.core.entry import epoch_of
from sidecar.core.errors import FailedPrecondition, StoreUnavailable, VersionConflict
from sidecar.stores.postgres import PostgresStore, parse_target
from tests.stores.postgres.conftest import Opener, Place, add_one, put, until_it_answers, value
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE


@pytest.fixture
def replica(own_server: Postgres) -> Iterator[PostgresReplica]:
    with PostgresReplica(own_server) as replica:
        yield replica


async def cursor_of(store: PostgresStore) -> int:
    return (await store.changes(after=None, limit=1)).cursor


async def test_after_a_failover_that_lost_writes_no_token_of_theirs_matches(
    own_server: Postgres, own_place: Place, replica: PostgresReplica, open_store: Opener
) -> None:
    clock = ManualClock()
    target = parse_target(own_server.url())
    both = replace(target, hosts=(*target.hosts, ("127.0.0.1", replica.port)))
    store = await open_store(both, clock=clock)
    kept = (await store.commit(put("key", b"kept"))).version
    generation = await store.cache_generation("cache")
    await asyncio.to_thread(replica.catch_up)
    await asyncio.to_thread(replica.cut_off)
    lost = [(await store.commit(put("key", b"lost"))).version for _ in range(50)]
    cursor = await cursor_of(store)
    await asyncio.to_thread(own_server.kill)
    await asyncio.to_thread(replica.promote)

    clock.advance(1000)
    assert await until_it_answers(lambda: value(store, "key")) == b"kept"
    for version in (lost[0], lost[-1]):
        with pytest.raises(VersionConflict):
            await store.commit(put("key", expected_version=version))
    new = (await store.commit(put("key", expected_version=kept))).version

    assert new > lost[-1]
    assert epoch_of(new) == epoch_of(kept) + 1
    assert (await store.changes(after=cursor, limit=10)).gap
    assert await store.cache_generation("cache") == generation + 1
    # Whoever still reaches the old primary is told that it is the past.
    await asyncio.to_thread(own_server.restart)
    past = await open_store(target)
    with pytest.raises(FailedPrecondition) as refused:
        await past.commit(put("key", expected_version=new))
    assert refused.value.reason == "EPOCH_CHANGED"


async def test_a_failover_behind_a_pooler_is_noticed_by_the_next_transaction(
    own_server: Postgres, own_place: Place, replica: PostgresReplica, open_store: Opener
) -> None:
    """The connection stays; what is behind it is another server."""
    with PgBouncer(own_server) as bouncer:
        store = await open_store(parse_target(bouncer.url()))
        kept = (await store.commit(put("key"))).version
        await asyncio.to_thread(replica.catch_up)
        await asyncio.to_thread(replica.cut_off)
        lost = (await store.commit(put("key"))).version
        session = store._parts[0]._lanes[0].session  # type: ignore[index]  # it is open
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(replica.promote)
        await asyncio.to_thread(bouncer.repoint, replica)

        new = (await until_it_answers(lambda: store.commit(put("key", expected_version=kept)))).version

        assert store._parts[0]._lanes[0].session is session  # type: ignore[index]
        assert (epoch_of(new), new > lost) == (epoch_of(kept) + 1, True)
        await store.close()


async def test_many_daemons_raise_the_epoch_once(
    own_server: Postgres, own_place: Place, replica: PostgresReplica, open_store: Opener
) -> None:
    store = await open_store(own_place)
    kept = (await store.commit(put("key"))).version
    await asyncio.to_thread(replica.catch_up)
    await store.close()
    await asyncio.to_thread(replica.promote)

    stores = [await open_store(parse_target(replica.url()), opened=False) for _ in range(5)]
    await asyncio.gather(*[store.open() for store in stores])

    versions = [(await store.commit(put("key"))).version for store in stores]
    assert {epoch_of(version) for version in versions} == {epoch_of(kept) + 1}


async def test_a_standby_is_refused_by_name(own_place: Place, replica: PostgresReplica, open_store: Opener) -> None:
    await open_store(own_place)
    with pytest.raises(StoreUnavailable, match="read-only standby"):
        await open_store(parse_target(replica.url()))


async def test_of_a_cluster_the_primary_is_found(
    own_server: Postgres, own_place: Place, replica: PostgresReplica, open_store: Opener
) -> None:
    target = parse_target(own_server.url())
    store = await open_store(replace(target, hosts=(("127.0.0.1", replica.port), *target.hosts)))

    await store.commit(put("key"))

    assert await value(store, "key") == b"value"


async def test_a_dump_that_is_loaded_is_another_time(
    own_server: Postgres, own_place: Place, open_store: Opener
) -> None:
    store = await open_store(own_place)
    kept = (await store.commit(put("key", b"kept"))).version
    dump = own_server.directory / "dump.sql"
    await asyncio.to_thread(own_server.run, "pg_dump", "-d", own_server.url(), "-f", dump)
    lost = (await store.commit(put("key", b"lost"))).version
    cursor = await cursor_of(store)
    await store.close()
    own_place.execute("DROP SCHEMA {schema} CASCADE")
    await asyncio.to_thread(own_server.run, "psql", "-q", "-d", own_server.url(), "-f", dump)

    store = await open_store(own_place)

    assert await value(store, "key") == b"kept"
    with pytest.raises(VersionConflict):
        await store.commit(put("key", expected_version=lost))
    assert (await store.commit(put("key", expected_version=kept))).version > lost
    assert (await store.changes(after=cursor, limit=10)).gap


async def test_a_copy_of_a_database_is_another_time(own_server: Postgres, own_place: Place, open_store: Opener) -> None:
    store = await open_store(own_place)
    version = (await store.commit(put("key"))).version
    await store.close()
    own_server.execute("CREATE DATABASE copy TEMPLATE postgres", database="template1")

    copied = await open_store(parse_target(own_server.url("copy")))

    assert epoch_of((await copied.commit(put("key", expected_version=version))).version) == epoch_of(version) + 1


async def set_back(place: Place) -> None:
    place.execute("SELECT setval('{schema}.versions', 5)")


@pytest.mark.parametrize("key", ["key", "another"])
async def test_a_sequence_that_was_set_back_is_noticed_while_running(
    place: Place, open_store: Opener, key: str
) -> None:
    store = await open_store(place)
    version = (await store.commit(put("key"))).version
    await set_back(place)

    new = (await store.commit(put(key))).version

    assert epoch_of(new) == epoch_of(version) + 1
    assert (await store.commit(put("key"))).version > new


async def test_a_sequence_that_was_set_back_is_noticed_by_whoever_meets_a_row(place: Place, open_store: Opener) -> None:
    """One that drew nothing itself, and was connected before."""
    writer, other = await open_store(place), await open_store(place)
    version = (await writer.commit(put("key"))).version
    await set_back(place)

    assert epoch_of((await other.commit(put("key"))).version) == epoch_of(version) + 1


async def test_a_sequence_that_was_set_back_is_noticed_when_it_is_opened(place: Place, open_store: Opener) -> None:
    store = await open_store(place)
    version = (await store.commit(put("key"))).version
    await store.close()
    await set_back(place)

    store = await open_store(place)

    assert epoch_of((await store.commit(put("another"))).version) == epoch_of(version) + 1


async def test_the_epoch_of_a_database_that_only_restarts_stays(
    own_server: Postgres, own_place: Place, open_store: Opener
) -> None:
    store = await open_store(own_place)
    before = (await store.commit(add_one())).version
    for ending in (own_server.end, own_server.kill):
        await asyncio.to_thread(ending)
        await asyncio.to_thread(own_server.restart)
    store_again = await open_store(own_place)

    after = (await store_again.commit(add_one())).version

    assert (epoch_of(after), after > before) == (epoch_of(before), True)
    assert await store_again.get(NAMESPACE, ["n"]) != [None]
