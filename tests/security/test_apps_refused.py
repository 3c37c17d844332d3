"""What is another app's is refused: by the daemon itself, and by backends to users with the rights that the page gives."""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import psycopg
import pytest

from servers.base import shared
from servers.postgres import Postgres
from servers.redis import Redis, Valkey
from sidecar.core.cache import Miss
from sidecar.core.entry import Entry
from sidecar.core.errors import StoreUnavailable
from sidecar.core.operations import Put
from sidecar.core.outbox import Pending
from sidecar.core.sinks import Delivery, Refused
from sidecar.runtime import adapters
from sidecar.runtime.ports import SystemClock, SystemPorts
from sidecar.runtime.settings import Settings
from sidecar.sinks import build as build_sink
from sidecar.stores.apps import schema_of
from sidecar.stores.postgres import PostgresStore
from sidecar.stores.postgres.queries import Queries
from sidecar.stores.postgres.target import SCHEMA, parse_target
from sidecar.stores.sqlite import SqliteStore
from tests.support.factories import NAMESPACE, write

PAGE = (Path(__file__).parents[2] / "docs" / "security" / "tenants.md").read_text()
pytestmark = pytest.mark.timeout(120)


def documented(language: str, holds: str) -> str:
    """The page's block in a language that holds something."""
    (block,) = [block for block in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if holds in block]
    return str(block)


@pytest.fixture
def database() -> Iterator[str]:
    name = f"t{uuid.uuid4().hex[:12]}"
    shared(Postgres).create_database(name)
    yield name
    shared(Postgres).drop_database(name)


def postgres(database: str, app: str = "", *, user: str = "postgres", **parameters: object) -> PostgresStore:
    url = shared(Postgres).url(database, user=user, connections=2, **parameters)
    return PostgresStore(parse_target(url, app), clock=SystemClock())


# ---- places that are taken


async def test_a_schema_that_an_app_has_used_is_no_other_apps(database: str) -> None:
    shop, none, other = (postgres(database, app, schema="given") for app in ("shop", "", "other"))
    await none.open()  # as before apps had places; and what it stored is there
    await none.commit(write(Put(key="key", value=b"value")))
    await none.close()
    await shop.open()
    assert isinstance((await shop.get(NAMESPACE, ["key"]))[0], Entry)

    for store, asked in ((other, "this daemon's app is 'other'"), (none, "this daemon has no app")):
        with pytest.raises(StoreUnavailable, match=f"the schema given holds the data of app 'shop', and {asked}"):
            await store.open()
        with pytest.raises(StoreUnavailable, match="of app 'shop'"):
            await store.get(NAMESPACE, ["key"])
        await store.close()
    again = postgres(database, "shop", schema="given")
    await again.open()
    await again.close()
    await shop.close()


@pytest.mark.parametrize("release", ["this", "before apps had places"])
async def test_so_is_a_file(tmp_path: Path, release: str) -> None:
    path = tmp_path / "state.db"
    shop, none, other = (SqliteStore(path, clock=SystemClock(), app=app) for app in ("shop", "", "other"))
    await none.open()
    await none.commit(write(Put(key="key", value=b"value")))
    await none.close()
    if release != "this":
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE owner")
            connection.execute("PRAGMA user_version = 1")
        connection.close()
    await shop.open()
    assert isinstance((await shop.get(NAMESPACE, ["key"]))[0], Entry)
    await shop.close()

    for store, asked in ((other, "this daemon's app is 'other'"), (none, "this daemon has no app")):
        with pytest.raises(StoreUnavailable, match=f"the database holds the data of app 'shop', and {asked}"):
            await store.open()
        with pytest.raises(StoreUnavailable, match="of app 'shop'"):
            await store.get(NAMESPACE, ["key"])
        await store.close()


async def test_another_apps_transactions_hold_back_no_changes(database: str) -> None:
    """Of schemas whose numbers among advisory locks are equal, as those of two in a few hundred are."""
    number = crc32(schema_of("shop", SCHEMA).encode()) & 0x7FFF
    twin = next(app for n in range(1 << 20) if crc32(schema_of(app := f"app{n}", SCHEMA).encode()) & 0x7FFF == number)
    stores = [postgres(database, app) for app in ("shop", twin)]
    for store in stores:
        await store.open()
    shop = stores[0]
    cursor = (await shop.changes(after=None, limit=1)).cursor
    await shop.commit(write(Put(key="key", value=b"value")))

    for app, told in ((twin, 1), ("shop", 0)):
        with shared(Postgres).connect(database) as connection, connection.transaction():
            connection.execute(f"SELECT FROM {schema_of(app, SCHEMA)}.meta")
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s::bigint << 48 | 1)", (number,))
            assert len((await shop.changes(after=cursor, limit=10)).changes) == told, app
    for store in stores:
        await store.close()


def test_hints_go_to_daemons_of_the_app() -> None:
    shop, other = (Queries(schema_of(app, SCHEMA)) for app in ("shop", "other"))

    assert shop["listen"].text == b"LISTEN state_sidecar_shop"
    assert b"pg_notify('state_sidecar_shop'" in shop["hint"].text
    assert other["listen"].text == b"LISTEN state_sidecar_other"


# ---- users with the documented rights


async def test_a_role_of_postgresql_as_documented_reaches_its_app_only(database: str) -> None:
    apps = [f"app_{uuid.uuid4().hex[:8]}" for _ in range(2)]
    recipe = documented("sql", "CREATE ROLE").replace("DATABASE state ", f"DATABASE {database} ")
    try:
        for app in apps:
            for statement in (
                re.sub(r"\bshop\b", app, recipe).replace("state_sidecar_shop", f"state_sidecar_{app}").split(";\n")
            ):
                if statement.strip():
                    shared(Postgres).execute(statement, database=database)
        for app in apps:
            store = postgres(database, app, user=app)
            store.on_hint(lambda: None)
            await store.open()
            await store.commit(write(Put(key="key", value=b"value")))
            await store.close()
        mine, others = apps
        with shared(Postgres).connect(database, user=mine) as connection:
            (found,) = connection.execute(f"SELECT count(*) FROM state_sidecar_{mine}.entries").fetchall()
            assert found == (1,)
            for statement in (
                *(
                    f"SELECT * FROM state_sidecar_{others}.{name}"
                    for name in ("entries", "requests", "changes", "meta")
                ),
                f"DELETE FROM state_sidecar_{others}.entries",
                f"SELECT nextval('state_sidecar_{others}.versions')",
                f"SELECT state_sidecar_{others}.now_ms()",
                f"CREATE TABLE state_sidecar_{others}.mine ()",
                "CREATE SCHEMA mine",
                f"DROP SCHEMA state_sidecar_{others} CASCADE",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
        intruder = postgres(database, mine, user=mine, schema=f"state_sidecar_{others}")
        with pytest.raises(StoreUnavailable, match=r"permission denied|lacks a right"):
            await intruder.open()
        await intruder.close()
    finally:
        shared(Postgres).drop_database(database)
        for app in apps:
            shared(Postgres).execute(f"DROP ROLE IF EXISTS {app}")


@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_a_user_of_redis_as_documented_reaches_its_app_only(tmp_path: Path, kind: type[Valkey]) -> None:
    with kind() as server:
        recipe = documented("text", "ACL SETUSER").split()
        server.ask(*recipe)
        server.ask(*[word.replace("shop", "other") for word in recipe])
        for app in ("shop", "other"):
            url = server.url.replace("://", f"://{app}:PASSWORD@")
            tiers = {"hot": url, "warm": "none://", "cold": "none://"}
            settings = Settings.model_validate({"app": app, "data_dir": tmp_path, "tiers": tiers})
            backends = adapters.backends(settings, SystemPorts())
            await backends.open()
            assert not backends.away
            assert backends.hot_store is not None
            assert backends.cache is not None
            assert backends.bus is not None
            await backends.hot_store.commit(write(Put(key="key", value=app.encode())))
            (answer,) = await backends.cache.get(NAMESPACE, ["key"], generation=1, now=1)
            assert isinstance(answer, Miss)
            await backends.bus.publish([b"hint"])
            sink = build_sink(url, app=app, clock=SystemClock())
            assert await sink.publish([delivery("orders")]) == [None]
            await sink.close()
            await backends.close()
        keys: list[bytes] = server.ask("KEYS", "*")
        assert {key.split(b"/")[1] for key in keys} == {b"shop", b"other"}
        with server.client(username="shop", password="PASSWORD", single_connection_client=True) as intruder:
            for key in [key for key in keys if key.startswith(b"state-sidecar/other/")]:
                for command in (("GET", key), ("DEL", key), ("XRANGE", key, "-", "+"), ("HGET", key, "x")):
                    assert_refused(intruder, *command)
                assert_refused(intruder, "EVAL", "return redis.call('UNLINK', KEYS[1])", 1, key)
                assert_refused(intruder, "EVAL", "return redis.call('UNLINK', ARGV[1])", 0, key)
            for words in (("KEYS", "*"), ("SCAN", "0"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST")):
                assert_refused(intruder, *words)
            for said in (("PUBLISH", "state-sidecar/other/x", "x"), ("SUBSCRIBE", "state-sidecar/other/x")):
                assert_refused(intruder, *said)


def assert_refused(client: object, *command: str | bytes | int) -> None:
    with pytest.raises(Exception, match=r"(?i)permission|NOPERM|ACL|can't access"):
        client.execute_command(*command)  # type: ignore[attr-defined]


# ---- streams


def delivery(topic: str) -> Delivery:
    pending = Pending(
        id="1",
        namespace=NAMESPACE,
        key="key",
        version=1,
        topic=topic,
        payload=b"payload",
        order="key",
        commit_time=1,
    )
    return Delivery(message=pending)


async def test_no_topic_is_another_apps_stream_nor_a_key_of_the_tiers() -> None:
    with Redis() as server:
        for app, topic in (("a", "b/c"), ("a/b", "c")):
            sink = build_sink(server.url, app=app, clock=SystemClock())
            assert await sink.publish([delivery(topic)]) == [None]
            own = (f":s:{{state-sidecar/{app}/:0/1}}:log", "0123456789ab/:c:1:n:key", "0123456789ab/:m:")
            for name in own:
                (receipt,) = await sink.publish([delivery(name)])
                assert isinstance(receipt, Refused)
                assert receipt.permanent
            receipts = await sink.publish([delivery("b/c"), delivery(own[0])])
            assert [type(receipt) for receipt in receipts] == [type(None), Refused]
            await sink.close()
        assert sorted(server.ask("KEYS", "*")) == [
            b"state-sidecar/a%2Fb/b/c",
            b"state-sidecar/a%2Fb/c",
            b"state-sidecar/a/b/c",
        ]
