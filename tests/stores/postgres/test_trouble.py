"""What goes wrong between here and the disk: every error says what happened, nothing is lost or done twice, and it heals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing

import pytest

from servers.postgres import Postgres
from sidecar.core.errors import OutcomeUnknown, SidecarError, StoreUnavailable
from sidecar.core.store import Outcome
from sidecar.stores.postgres import PostgresStore, parse_target
from tests.stores.postgres.conftest import (
    Opener,
    Place,
    add_one,
    put,
    together,
    until_it_answers,
    value,
    values,
)
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE
from tests.support.proxy import running_proxy

WORKERS = 16
TELLING = (StoreUnavailable, OutcomeUnknown)


class Counting:
    """Workers that count under request ids, and repeat each until they are answered."""

    def __init__(self, store: PostgresStore) -> None:
        self.acknowledged = 0
        self.errors: list[SidecarError] = []
        self._store = store
        self._stopping = False
        self._more = asyncio.Condition()
        self._tasks = [asyncio.ensure_future(self._work(number)) for number in range(WORKERS)]

    async def acknowledge(self, count: int) -> None:
        """Until so many more were acknowledged."""
        wanted = self.acknowledged + count
        async with asyncio.timeout(60), self._more:
            await self._more.wait_for(lambda: self.acknowledged >= wanted)

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)
        assert await value(self._store, "n") == b"%d" % self.acknowledged, "each once, whatever was told meanwhile"
        assert {type(error) for error in self.errors} <= set(TELLING)

    async def _work(self, number: int) -> None:
        n = 0
        while not self._stopping:
            await until_it_answers(lambda: self._count(f"{number} {n}"))  # noqa: B023  # awaited at once
            n += 1
            async with self._more:
                self.acknowledged += 1
                self._more.notify_all()

    async def _count(self, request_id: str) -> Outcome:
        try:
            return await self._store.commit(add_one(request_id))
        except SidecarError as exc:
            self.errors.append(exc)
            raise


@pytest.mark.parametrize("ending", ["kill", "end"], ids=["kill -9", "a stop in order"])
async def test_nothing_is_lost_or_done_twice_over_the_servers_ends(
    own_server: Postgres, own_place: Place, open_store: Opener, ending: str
) -> None:
    counting = Counting(await open_store(own_place, timeout_s=5.0))
    for _ in range(3):
        await counting.acknowledge(200)
        await asyncio.to_thread(getattr(own_server, ending))
        await asyncio.to_thread(own_server.restart)
    await counting.acknowledge(200)

    await counting.stop()
    assert counting.errors
    assert own_place.execute("SELECT epoch FROM {schema}.meta") == [(0,)], "a restart does not go back in time"


async def test_nothing_is_lost_or_done_twice_when_connections_are_terminated(
    own_place: Place, open_store: Opener
) -> None:
    counting = Counting(await open_store(own_place))
    for _ in range(20):
        await counting.acknowledge(30)
        own_place.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'state-sidecar'"
        )

    await counting.stop()


async def test_a_server_that_hangs_is_told_in_time_and_heals(
    own_server: Postgres, own_place: Place, open_store: Opener
) -> None:
    clock = ManualClock()
    timeout_s = 2.0  # a server that is well answers sooner, however busy the machine is
    store = await open_store(own_place, timeout_s=timeout_s, clock=clock)
    await store.commit(put("before"))
    await store.get(NAMESPACE, ["before"])
    loop = asyncio.get_running_loop()
    own_server.pause()
    try:
        began = loop.time()
        answers = await asyncio.gather(
            *[store.commit(put(f"{n}")) for n in range(20)],
            *[store.get(NAMESPACE, [f"{n}"]) for n in range(20)],
            store.changes(after=None, limit=1),
            return_exceptions=True,
        )
        assert loop.time() - began < 3 * timeout_s
        assert {type(answer) for answer in answers} <= set(TELLING)

        began = loop.time()
        with pytest.raises(StoreUnavailable):
            await store.commit(put("meanwhile"))
        with pytest.raises(StoreUnavailable):
            await store.get(NAMESPACE, ["before"])
        assert loop.time() - began < timeout_s, "answered from memory, for a second: the server would be waited for"
    finally:
        own_server.resume()

    async def a_second_later() -> list[bytes | None]:
        clock.advance(1000)
        await store.commit(put("after"))
        return await values(store, ["before", "after"])

    assert await until_it_answers(a_second_later) == [b"value", b"value"]


class ReplyLoss:
    """Loses the next reply that holds some bytes."""

    def __init__(self) -> None:
        self.armed: bytes | None = None

    def __call__(self, burst: bytes) -> bool:
        lost = self.armed is not None and self.armed in burst
        if lost:
            self.armed = None
        return lost


@asynccontextmanager
async def behind_a_proxy(place: Place, open_store: Opener) -> AsyncIterator[tuple[PostgresStore, ReplyLoss]]:
    loss = ReplyLoss()
    async with running_proxy(f"127.0.0.1:{place.server.port}", drop=loss) as proxy:
        target = parse_target(f"postgresql://postgres@{proxy.target}/postgres?schema={place.schema}&prepared=off")
        store = await open_store(target)
        yield store, loss
        await store.close()


async def test_a_commit_whose_answer_is_lost_is_unknown_to_all_who_share_it(place: Place, open_store: Opener) -> None:
    async with behind_a_proxy(place, open_store) as (store, loss):
        await store.commit(put("key"))
        loss.armed = b"COMMIT\0"
        writes = [add_one("r"), put("key", expected_version=7), put("other")]
        answers = await together(store, *writes)

        assert [type(answer) for answer in answers] == [OutcomeUnknown] * 3
        assert len({id(answer) for answer in answers}) == 3
        again = await store.commit(add_one("r"))
        assert (again.replayed, again.results[0].value) == (True, b"1")
        assert await values(store, ["n", "other"]) == [b"1", b"value"]


async def test_a_transaction_that_loses_its_connection_before_it_commits_is_done_on_another(
    place: Place, open_store: Opener
) -> None:
    async with behind_a_proxy(place, open_store) as (store, loss):
        await store.commit(add_one("first"))
        loss.armed = b"BEGIN\0"

        outcome = await store.commit(add_one("second"))

        assert loss.armed is None
        assert (outcome.replayed, outcome.results[0].value) == (False, b"2")


async def test_a_read_whose_answer_is_lost_is_asked_again(place: Place, open_store: Opener) -> None:
    async with behind_a_proxy(place, open_store) as (store, loss):
        await store.commit(put("key", b"needle"))
        loss.armed = b"needle"

        assert await value(store, "key") == b"needle"
        assert loss.armed is None


DEFERRED = """
CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN RAISE EXCEPTION ''refused at commit'' USING ERRCODE = ''%s''; END';
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON {schema}.changes DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.key = 'refused') EXECUTE FUNCTION {schema}.refuse()
"""


@pytest.mark.parametrize(("sqlstate", "told"), [("40004", StoreUnavailable), ("XX000", OutcomeUnknown)])
async def test_an_error_of_commit_itself_is_unknown_unless_it_is_known_to_roll_back(
    place: Place, store: PostgresStore, sqlstate: str, told: type[SidecarError]
) -> None:
    for statement in (DEFERRED % sqlstate).split(";\n"):
        place.execute(statement)

    with pytest.raises(told) as caught:
        await store.commit(put("refused"))

    assert caught.value.metadata["sqlstate"] == sqlstate
    assert await value(store, "refused") is None
    await store.commit(put("key"))


async def test_a_row_that_somebody_else_holds_fails_in_time_and_holds_up_no_other(
    place: Place, open_store: Opener
) -> None:
    store = await open_store(place, timeout_s=2.0)
    await together(store, put("held"), put("free"))
    loop = asyncio.get_running_loop()
    with closing(place.server.connect()) as connection:
        connection.execute("BEGIN")
        connection.execute(f"SELECT FROM {place.schema}.entries WHERE key = 'held' FOR UPDATE")
        began = loop.time()
        first = await together(store, put("held"), *[put(f"{n}") for n in range(20)])
        assert loop.time() - began < 2 * 2.0
        assert [type(answer) for answer in first] == [StoreUnavailable, *[Outcome] * 20]

        # From now on the key is kept apart.
        blocked = [asyncio.ensure_future(store.commit(put("held"))) for _ in range(5)]
        for _ in range(20):
            began = loop.time()
            await store.commit(put("free"))
            assert loop.time() - began < 0.4, "less than anybody waits for a lock"
        answers = await asyncio.gather(*blocked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert await value(store, "held") == b"value"

    await store.commit(put("held", b"mine"))
    assert await value(store, "held") == b"mine"


async def test_with_too_few_connections_left_the_store_works_with_those_it_gets(
    own_server: Postgres, own_place: Place, open_store: Opener
) -> None:
    def fill(stack: ExitStack, keep: int) -> None:
        opened = [stack.enter_context(closing(own_server.connect())) for _ in range(20 - keep)]
        assert opened

    plain = parse_target(own_server.url(user="plain", connections=8))
    own_server.execute("CREATE ROLE plain LOGIN")
    own_server.execute("CREATE SCHEMA state_sidecar AUTHORIZATION plain")
    store = await open_store(plain, batch_max=4)
    await store.get(NAMESPACE, ["key"])
    with ExitStack() as stack:
        fill(stack, keep=3)  # one lane, one reader, and one that only a superuser gets
        answers = await together(store, *[put(f"{n}") for n in range(100)])
        assert {type(answer) for answer in answers} == {Outcome}
        assert await asyncio.gather(*[value(store, f"{n}") for n in range(100)]) == [b"value"] * 100

        with pytest.raises(StoreUnavailable, match="raise max_connections, or lower connections="):
            await open_store(plain)


async def test_a_database_that_was_set_read_only_says_so_and_is_read(
    place: Place, store: PostgresStore, open_store: Opener
) -> None:
    await store.commit(put("key"))
    place.execute("CREATE ROLE reading LOGIN SUPERUSER")
    place.execute("ALTER ROLE reading SET default_transaction_read_only = on")
    reading = await open_store(parse_target(place.server.url(user="reading", schema=place.schema)))
    try:
        with pytest.raises(StoreUnavailable, match="read-only"):
            await reading.commit(put("key", b"new"))

        assert await value(reading, "key") == b"value"
        await reading.close()
    finally:
        place.execute("DROP ROLE reading")


async def test_a_schema_that_is_dropped_is_an_outage_until_the_store_is_opened_again(
    place: Place, open_store: Opener
) -> None:
    store = await open_store(place)
    version = (await store.commit(put("key"))).version
    cursor = (await store.changes(after=None, limit=1)).cursor
    place.execute("DROP SCHEMA {schema} CASCADE")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="not as this release made it"):
            await store.commit(put("key"))
        with pytest.raises(StoreUnavailable, match="not as this release made it"):
            await store.get(NAMESPACE, ["key"])

    await store.open()

    assert await value(store, "key") is None
    assert (await store.commit(put("key"))).version > version
    assert (await store.changes(after=cursor, limit=1)).gap


async def test_a_schema_that_is_made_again_hands_out_no_version_twice(place: Place, open_store: Opener) -> None:
    """Nobody who remembers is there any more."""
    store = await open_store(place)
    version = (await store.commit(put("key"))).version
    cursor = (await store.changes(after=None, limit=1)).cursor
    await store.close()
    place.execute("DROP SCHEMA {schema} CASCADE")

    store = await open_store(place)

    assert (await store.commit(put("key"))).version > version
    assert (await store.changes(after=cursor, limit=1)).gap
