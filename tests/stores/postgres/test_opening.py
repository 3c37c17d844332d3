"""Opening: one of many makes the schema, and what is wrong is said to an operator in words that say what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme

from servers.base import free_ports, shared
from servers.pgbouncer import PgBouncer
from servers.postgres import Postgres
from sidecar.core.errors import DataLoss, StoreUnavailable
from sidecar.stores.postgres import PostgresStore, parse_target
from sidecar.stores.postgres.queries import Queries
from tests.stores.postgres.conftest import Opener, Place, put, value
from tests.support.clock import ManualClock

ROOT = Path(__file__).parents[3]
OPEN_AND_WRITE = """
import asyncio, sys
from sidecar.core.operations import Put, Write
from sidecar.runtime.ports import SystemClock
from sidecar.stores.postgres import PostgresStore, parse_target

async def main():
    store = PostgresStore(parse_target(sys.argv[1]), clock=SystemClock())
    await store.open()
    operations = (Put(key=sys.argv[2], value=b"value"),)
    await store.commit(Write(namespace="contract", operations=operations, value_bytes_max=10))
    await store.close()

asyncio.run(main())
"""


async def test_many_that_open_an_empty_database_at_once_make_the_schema_once(place: Place, open_store: Opener) -> None:
    stores = await asyncio.gather(*[open_store(place) for _ in range(8)])

    await asyncio.gather(*[store.commit(put(f"{n}")) for n, store in enumerate(stores)])

    assert place.execute("SELECT number FROM {schema}.migrations") == [(1,), (2,)]
    assert [await value(stores[0], f"{n}") for n in range(8)] == [b"value"] * 8
    assert place.execute("SELECT epoch FROM {schema}.meta") == [(0,)]


async def test_so_do_processes(place: Place, open_store: Opener) -> None:
    url = place.server.url(schema=place.schema)
    command = [sys.executable, "-c", OPEN_AND_WRITE, url]
    processes = [await asyncio.create_subprocess_exec(*command, f"{n}", cwd=ROOT) for n in range(4)]

    assert [await process.wait() for process in processes] == [0] * 4
    store = await open_store(place)
    assert [await value(store, f"{n}") for n in range(4)] == [b"value"] * 4


def test_the_files_name_the_default_schema_and_another_takes_its_place() -> None:
    queries = Queries("mine")
    texts = [queries[name].text for name in ("lock entries", "draw", "load identity")]
    texts += [query.text for migration in queries.migrations() for query in migration.queries]

    assert all(b"state_sidecar" not in text for text in texts)
    assert any(b"mine.entries" in text for text in texts)


async def test_a_schema_of_a_newer_release_is_left_as_it_is(place: Place, open_store: Opener) -> None:
    store = await open_store(place)
    await store.close()
    place.execute("INSERT INTO {schema}.migrations (number, release) VALUES (3, '99.0')")

    with pytest.raises(StoreUnavailable, match=r"release 99\.0 \(migration 3\).*start a release at least as new"):
        await open_store(place)


async def test_a_database_without_its_own_row_is_corrupt(place: Place, open_store: Opener) -> None:
    store = await open_store(place)
    await store.close()
    place.execute("DELETE FROM {schema}.meta")

    with pytest.raises(DataLoss, match="own row"):
        await open_store(place)


async def test_a_user_without_the_right_to_make_the_schema_is_told_what_to_grant(
    place: Place, open_store: Opener
) -> None:
    place.execute("DROP ROLE IF EXISTS without_rights")
    place.execute("CREATE ROLE without_rights LOGIN")
    target = replace(place.target(), user="without_rights")
    with pytest.raises(StoreUnavailable, match="grant the user CREATE on the database"):
        await open_store(target)

    place.execute("CREATE SCHEMA {schema} AUTHORIZATION without_rights")

    store = await open_store(target)
    await store.commit(put("key"))
    assert await value(store, "key") == b"value"
    await store.close()
    place.execute("DROP SCHEMA {schema} CASCADE")
    place.execute("DROP ROLE without_rights")


async def test_a_user_with_rights_on_the_tables_alone_can_use_them(place: Place, open_store: Opener) -> None:
    await open_store(place)
    place.execute("DROP ROLE IF EXISTS only_using")
    place.execute("CREATE ROLE only_using LOGIN")
    place.execute("GRANT USAGE ON SCHEMA {schema} TO only_using")
    place.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO only_using")
    place.execute("GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO only_using")
    store = await open_store(replace(place.target(), user="only_using"))

    await store.commit(put("key"))

    assert await value(store, "key") == b"value"
    await store.close()
    place.execute("DROP OWNED BY only_using")
    place.execute("DROP ROLE only_using")


WRONG = {
    "port": ({"hosts": (("127.0.0.1", 1),)}, "check host and port"),
    "host": ({"hosts": (("no-such-host.invalid", 5432),)}, "check the host name"),
    "database": ({"database": "missing"}, "create the database"),
    "user": ({"user": "nobody_here"}, "check the user"),
    "TLS that the server has not": ({"sslmode": "require"}, "no TLS"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_wrong_is_said_with_what_to_do(place: Place, open_store: Opener, what: str) -> None:
    fields, advice = WRONG[what]

    with pytest.raises(StoreUnavailable, match=advice) as refused:
        await open_store(replace(place.target(), password="secret", **fields))  # type: ignore[arg-type]  # by the table

    assert "\n" not in refused.value.message
    assert "secret" not in refused.value.message


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secured(authority: trustme.CA) -> Iterator[PgBouncer]:
    """The embedded server has no TLS; a pooler before it has, with a certificate for `localhost`."""
    with TemporaryDirectory() as folder:
        certificate = authority.issue_cert("localhost")
        files = {"key": certificate.private_key_pem, "cert": certificate.cert_chain_pems[0]}
        for name, blob in files.items():
            blob.write_to_path(f"{folder}/{name}")
        tls = {f"client_tls_{name}_file": f"{folder}/{name}" for name in files}
        with PgBouncer(shared(Postgres), settings={"client_tls_sslmode": "allow", **tls}) as bouncer:
            yield bouncer


@pytest.mark.parametrize(
    ("host", "trusted", "advice"),
    [
        ("localhost", True, None),
        ("localhost", False, "not of the CA in sslrootcert"),
        ("127.0.0.1", True, "for another host name"),
    ],
    ids=["right", "another CA", "another name"],
)
async def test_the_servers_certificate_is_verified(
    place: Place,
    open_store: Opener,
    authority: trustme.CA,
    secured: PgBouncer,
    tmp_path: Path,
    host: str,
    trusted: bool,
    advice: str | None,
) -> None:
    root = tmp_path / "ca.pem"
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(root))
    secure = replace(
        place.target(), hosts=((host, secured.port),), sslmode="verify-full", sslrootcert=str(root), password="secret"
    )
    if advice is None:
        store = await open_store(secure)
        await store.commit(put("key"))
        assert await value(store, "key") == b"value"
    else:
        with pytest.raises(StoreUnavailable, match=advice):
            await open_store(secure)


async def test_a_wrong_password_is_said_and_not_shown(own_server: Postgres, open_store: Opener) -> None:
    own_server.execute("CREATE ROLE careful LOGIN PASSWORD 'right'")
    hba = own_server.data / "pg_hba.conf"
    hba.write_text("host all careful 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
    own_server.execute("SELECT pg_reload_conf()")
    target = parse_target(own_server.url(user="careful:wrong"))
    with pytest.raises(StoreUnavailable, match="check user and password") as refused:
        await open_store(target)

    assert "wrong" not in refused.value.message
    own_server.execute("CREATE SCHEMA state_sidecar AUTHORIZATION careful")
    await open_store(replace(target, password="right"))


async def test_a_database_in_another_encoding_is_refused(place: Place, open_store: Opener) -> None:
    place.server.drop_database("latin")
    place.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")

    with pytest.raises(StoreUnavailable, match="ENCODING 'UTF8'"):
        await open_store(replace(place.target(), database="latin"))

    place.server.drop_database("latin")


async def test_of_several_hosts_one_that_answers_is_used(place: Place, open_store: Opener) -> None:
    target = place.target()
    (port,) = free_ports(1)
    store = await open_store(replace(target, hosts=(("127.0.0.1", port), *target.hosts)))

    await store.commit(put("key"))

    assert await value(store, "key") == b"value"


async def test_when_no_host_answers_each_is_named(place: Place, open_store: Opener) -> None:
    one, two = free_ports(2)
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{one}.*; .*127\.0\.0\.1:{two}"):
        await open_store(replace(place.target(), hosts=(("127.0.0.1", one), ("127.0.0.1", two))))


async def test_a_store_that_was_not_opened_is_unavailable(place: Place) -> None:
    store = PostgresStore(place.target(), clock=ManualClock())

    with pytest.raises(StoreUnavailable, match="not open"):
        await store.get("contract", ["key"])


async def test_a_failure_to_connect_is_answered_from_memory_for_a_second(open_store: Opener) -> None:
    came = 0

    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        writer.close()

    clock = ManualClock()
    async with await asyncio.start_server(turn_away, "127.0.0.1", 0) as nobody:
        port = nobody.sockets[0].getsockname()[1]
        target = parse_target(f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
        store = await open_store(target, clock=clock, opened=False)
        with pytest.raises(StoreUnavailable):
            await store.open()
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                await store.commit(put("key"))
            with pytest.raises(StoreUnavailable):
                await store.get("contract", ["key"])
        assert came == 1

        clock.advance(1000)
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                await store.commit(put("key"))

    assert came == 2


async def test_a_store_heals_by_itself_once_there_is_a_server(open_store: Opener) -> None:
    clock = ManualClock()
    server = Postgres()
    try:
        server.start()
        server.end()
        store = await open_store(parse_target(server.url()), clock=clock, opened=False)
        with pytest.raises(StoreUnavailable):
            await store.open()
        server.restart()

        clock.advance(1000)
        await store.commit(put("key"))

        assert await value(store, "key") == b"value"
    finally:
        server.stop()
