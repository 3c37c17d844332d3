"""Change rows while others write: each told once, none late, a key's in the order of its versions."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from sidecar.core.store import ChangeRow, SweepOrder
from sidecar.stores.postgres import PostgresStore, reads
from tests.stores.postgres.conftest import Opener, Place, put
from tests.support.factories import NAMESPACE

ROOT = Path(__file__).parents[3]
PROCESSES, COUNT = 3, 40
GATE = 4_242
HELD = f"""
CREATE FUNCTION {{schema}}.hold() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NEW; END';
CREATE TRIGGER hold AFTER INSERT ON {{schema}}.changes FOR EACH ROW WHEN (NEW.key = 'held') EXECUTE FUNCTION {{schema}}.hold()
"""


class Follower:
    """Reads on from where it is."""

    def __init__(self, store: PostgresStore, cursor: int) -> None:
        self.told: list[ChangeRow] = []
        self._store = store
        self._cursor = cursor

    @classmethod
    async def at_the_end(cls, store: PostgresStore) -> Follower:
        return cls(store, (await store.changes(after=None, limit=1)).cursor)

    async def read(self, limit: int = 1000) -> list[str]:
        """The keys of the next changes."""
        page = await self._store.changes(after=self._cursor, limit=limit)
        assert not page.gap
        assert page.cursor >= self._cursor
        self._cursor = page.cursor
        self.told += page.changes
        return [row.key for row in page.changes]


async def test_other_processes_writes_are_told_once_and_in_order(place: Place, open_store: Opener) -> None:
    store = await open_store(place)
    follower = await Follower.at_the_end(store)
    command = [sys.executable, "-m", "tests.stores.postgres.child", place.server.url(schema=place.schema)]
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(*command, f"life {n}", f"{COUNT}", cwd=ROOT, stdout=pipe)
        for n in range(PROCESSES)
    ]

    ends = asyncio.gather(*[process.communicate() for process in processes])
    while not ends.done():
        await follower.read(limit=7)
    while await follower.read():
        pass

    lines = [line.split("\t") for output, _ in await ends for line in output.decode().splitlines()]
    written = sorted((key, int(version)) for key, version in lines)
    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert len(written) == PROCESSES * 8 * COUNT * 2
    assert sorted((row.key, row.version) for row in follower.told) == written
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for row in follower.told:
        versions[row.key].append(row.version)
    assert all(of_key == sorted(of_key) for of_key in versions.values())


@contextmanager
def closed_gate(place: Place) -> Iterator[None]:
    """As long as it is closed, a transaction that changes `held` stays where it is: ids drawn, not committed."""
    for statement in HELD.split(";\n"):
        place.execute(statement)
    with closing(place.server.connect()) as connection:
        connection.execute(f"SELECT pg_advisory_lock({GATE})")
        yield


@asynccontextmanager
async def held_write(place: Place, store: PostgresStore) -> AsyncIterator[None]:
    """A write in the middle of its commit; it goes on after the block."""
    with closed_gate(place):
        held = asyncio.ensure_future(store.commit(put("held")))
        waiting = f"SELECT 1 FROM pg_locks WHERE NOT granted AND objid = {GATE}"
        while not place.execute(waiting):  # noqa: ASYNC110  # what is waited for happens on the server
            await asyncio.sleep(0)
        yield
    await held


async def test_what_was_committed_after_a_write_in_flight_waits_for_it(place: Place, open_store: Opener) -> None:
    one, other = await open_store(place, timeout_s=20.0), await open_store(place)
    follower = await Follower.at_the_end(other)
    await other.commit(put("before"))
    async with held_write(place, one):
        await other.commit(put("after"))

        assert await follower.read() == ["before"]
        assert await follower.read() == []

    assert await follower.read() == ["held", "after"]


async def test_a_reader_that_begins_meanwhile_is_told_of_it(place: Place, open_store: Opener) -> None:
    one, other = await open_store(place, timeout_s=20.0), await open_store(place)
    async with held_write(place, one):
        await other.commit(put("after"))
        follower = await Follower.at_the_end(other)

    assert "held" in await follower.read()


async def test_nothing_that_is_yet_to_be_told_is_forgotten(place: Place, open_store: Opener) -> None:
    one, other = await open_store(place, timeout_s=20.0), await open_store(place)
    follower = await Follower.at_the_end(other)
    everything = SweepOrder(limit=100, tombstone_retention_ms=-60_000, request_retention_ms=0)
    async with held_write(place, one):
        await other.commit(put("after"))
        assert (await other.sweep(everything)).changes == 0

    assert await follower.read() == ["held", "after"]
    assert (await other.sweep(everything)).changes == 2


async def test_the_wrong_way_loses_it(place: Place, open_store: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """`id > last` without a look at what is in flight: the tests above would notice."""
    monkeypatch.setattr(reads, "horizon", lambda last, _: (last[0][0], last[0][0]))
    one, other = await open_store(place, timeout_s=20.0), await open_store(place)
    follower = await Follower.at_the_end(other)
    async with held_write(place, one):
        await other.commit(put("after"))
        assert await follower.read() == ["after"]

    assert await follower.read() == []


async def test_a_write_that_is_rolled_back_holds_nothing_back(place: Place, open_store: Opener) -> None:
    store = await open_store(place)
    follower = await Follower.at_the_end(store)
    place.execute("ALTER TABLE {schema}.entries ADD CONSTRAINT whim CHECK (octet_length(value) <> 13)")
    await asyncio.gather(store.commit(put("bad", b"x" * 13)), store.commit(put("good")), return_exceptions=True)

    assert await follower.read() == ["good"]


async def test_other_transactions_and_other_locks_hold_nothing_back(place: Place, open_store: Opener) -> None:
    """Neither a dump nor an application that works for hours: only writes of this schema count."""
    store = await open_store(place)
    follower = await Follower.at_the_end(store)
    with closing(place.server.connect()) as connection:
        connection.execute("BEGIN")
        connection.execute(f"LOCK TABLE {place.schema}.migrations")
        connection.execute("SELECT pg_current_xact_id(), pg_advisory_xact_lock_shared(1), pg_advisory_xact_lock(2)")
        await store.commit(put("key"))

        assert await follower.read() == ["key"]


async def test_stores_in_one_database_do_not_hear_of_each_other(place: Place, open_store: Opener) -> None:
    other_place = Place(place.server, f"{place.schema}_2")
    one, other = await open_store(place, timeout_s=20.0), await open_store(other_place)
    follower = await Follower.at_the_end(other)
    async with held_write(place, one):
        await other.commit(put("key"))

        assert await follower.read() == ["key"]
    await other.close()
    other_place.execute("DROP SCHEMA {schema} CASCADE")


async def test_a_sweep_leaves_the_work_to_the_daemon_that_does_it(place: Place, open_store: Opener) -> None:
    stores = [await open_store(place) for _ in range(3)]
    await asyncio.gather(*[stores[0].commit(put(f"{n}", ttl_ms=1)) for n in range(40)])
    order = SweepOrder(limit=1000, tombstone_retention_ms=1 << 40, request_retention_ms=1 << 40)
    swept: list[str] = []
    while len(swept) < 40:
        for answer in await asyncio.gather(*[store.sweep(order) for store in stores for _ in range(3)]):
            swept += [grave.key for grave in answer.expired]

    assert sorted(swept) == sorted(f"{n}" for n in range(40))
    assert await stores[0].get(NAMESPACE, ["0"]) != [None]
