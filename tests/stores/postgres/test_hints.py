"""Hints of commits between stores: heard at once, by others only, over lost connections, and not behind a pooler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from servers.base import shared
from servers.pgbouncer import PgBouncer
from servers.postgres import Postgres
from sidecar.core.errors import StoreUnavailable
from sidecar.core.store import Hinting
from sidecar.stores.postgres import PostgresStore, parse_target
from sidecar.tiers.news import News
from tests.stores.postgres.conftest import Opener, Place, put

PATIENCE_S = 20.0
LISTENERS = """SELECT pid FROM pg_stat_activity
  WHERE (query LIKE '%pg_notify(''{schema}''%' OR query = 'LISTEN {schema}') AND pid <> pg_backend_pid()"""


class Ear:
    """Counts what is heard."""

    def __init__(self, store: PostgresStore) -> None:
        self.count = 0
        self._heard = asyncio.Event()
        store.on_hint(self._hear)

    def _hear(self) -> None:
        self.count += 1
        self._heard.set()

    def forget(self) -> None:
        self.count = 0
        self._heard.clear()

    async def hears(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._heard.wait()


async def until(condition: Callable[[], object]) -> None:
    """What is waited for happens on the server, or in a task that tells nobody."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def listening(open_store: Opener, place: Place) -> tuple[PostgresStore, Ear]:
    store = await open_store(place)
    ear = Ear(store)
    await until(lambda: store.listening)
    await ear.hears()  # that it listens from now on
    ear.forget()
    return store, ear


async def test_what_one_store_tells_the_others_hear_and_not_itself(place: Place, open_store: Opener) -> None:
    teller, own_ear = await listening(open_store, place)
    hearers = [await listening(open_store, place) for _ in range(2)]
    for _ in range(3):
        await teller.commit(put("key"))
        begin = asyncio.get_running_loop().time()
        teller.hint()
        for _, ear in hearers:
            await ear.hears()
        assert asyncio.get_running_loop().time() - begin < 5.0

        # One's own comes before the answer to having told it.
        await until(lambda: teller._hints._session is not None and teller._hints._session._waiter is None)
        await asyncio.sleep(0)
        assert own_ear.count == 0
        for _, ear in hearers:
            ear.forget()


async def test_many_hints_are_told_together(place: Place, open_store: Opener) -> None:
    teller, _ = await listening(open_store, place)
    _, ear = await listening(open_store, place)
    begin = asyncio.get_running_loop().time()

    for _ in range(200):
        teller.hint()
        await teller.commit(put("key"))
    elapsed = asyncio.get_running_loop().time() - begin
    await ear.hears()

    assert 0 < ear.count <= elapsed / 0.05 + 2


async def test_a_connection_that_was_killed_comes_back(place: Place, open_store: Opener) -> None:
    teller, _ = await listening(open_store, place)
    hearer, ear = await listening(open_store, place)
    for _ in range(3):
        assert len(place.execute(LISTENERS)) == 2
        place.execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) AS them")
        await until(lambda: not hearer.listening)
        await until(lambda: hearer.listening and teller.listening)
        await ear.hears()  # what was told meanwhile may be lost: it looks
        ear.forget()

        teller.hint()
        await ear.hears()
        ear.forget()


async def test_a_hint_is_of_its_schema(place: Place, open_store: Opener) -> None:
    other_place = Place(place.server, f"{place.schema}_2")
    other, other_ear = await listening(open_store, other_place)
    teller, _ = await listening(open_store, place)
    _, ear = await listening(open_store, place)

    teller.hint()
    await ear.hears()
    assert other_ear.count == 0
    await other.close()
    other_place.execute("DROP SCHEMA {schema} CASCADE")


async def test_closing_leaves_nothing(place: Place, open_store: Opener) -> None:
    before = asyncio.all_tasks()
    store, ear = await listening(open_store, place)
    assert len(place.execute(LISTENERS)) == 1

    await store.close()

    assert not store.listening
    assert asyncio.all_tasks() == before
    await until(lambda: place.execute(LISTENERS) == [])
    store.hint()
    await store.open()
    await until(lambda: store.listening)
    assert ear.count


async def test_a_server_that_is_away_is_no_matter(own_server: Postgres, own_place: Place, open_store: Opener) -> None:
    own_server.kill()
    store = await open_store(own_place, opened=False, timeout_s=0.5)
    ear = Ear(store)
    with pytest.raises(StoreUnavailable):
        await store.open()
    for _ in range(10):
        store.hint()
    assert not store.listening

    own_server.restart()
    await until(lambda: store.listening)
    await ear.hears()
    await store.commit(put("key"))


async def test_who_waits_for_no_hint_pays_for_none(place: Place, open_store: Opener) -> None:
    store = await open_store(place)
    store.hint()
    await store.commit(put("key"))

    assert isinstance(store, Hinting)
    assert not store.listening
    assert place.execute(LISTENERS) == []


async def test_behind_a_pooler_there_are_none_and_nothing_is_left(place: Place, open_store: Opener) -> None:
    with PgBouncer(shared(Postgres)) as bouncer:
        store = await open_store(parse_target(bouncer.url(schema=place.schema)))
        news = News(store)
        await until(lambda: store._hints._task is not None and store._hints._task.done())

        for _ in range(10):
            news.committed()
            await store.commit(put("key"))

        assert not news.told
        assert place.execute(LISTENERS) == []


async def test_news_of_another_daemon_wake_who_listens(place: Place, open_store: Opener) -> None:
    one, other = await open_store(place), await open_store(place)
    told, heard = News(one), News(other)
    await until(lambda: told.told and heard.told)
    woken = asyncio.Event()
    stop = heard.listen(woken.set)

    await one.commit(put("key"))
    told.committed()
    async with asyncio.timeout(PATIENCE_S):
        await woken.wait()
    stop()
