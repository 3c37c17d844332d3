"""`state-sidecar doctor`: what it advises of servers that answer, and are set up badly. Each is a real one in that state."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from servers.base import free_ports, shared
from servers.postgres import Postgres
from servers.redis import Redis, Valkey
from sidecar.runtime.ports import SystemClock
from sidecar.stores.postgres.advice import ENDS
from tests.cli.test_doctor import Doctor, Told
from tests.support.otlp import receiving
from tests.support.process import daemon_process


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path / "data")


def advised(told: Told, setting: str, words: str) -> str:
    """The verdict of the only advice that says so."""
    [verdict] = [verdict for message, verdict in told.advice(setting).items() if words in message]
    return verdict


# ---- PostgreSQL


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server with few connections, and an ordinary role on it."""
    with Postgres(fsync=True, settings={"max_connections": 20}) as server:
        server.execute("CREATE ROLE app LOGIN")
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """Owned by the role."""
    postgres.execute("CREATE DATABASE state OWNER app")
    yield "state"
    postgres.drop_database("state")
    postgres.execute("ALTER ROLE app RESET ALL")
    postgres.execute("ALTER ROLE app CONNECTION LIMIT -1")


def test_a_server_that_is_set_up_well_gets_no_advice(doctor: Doctor, postgres: Postgres, database: str) -> None:
    told = doctor(tiers__warm=postgres.url(database, user="app"))

    assert told.code == 0
    assert told.of("tiers.warm")[0] == "ok"
    assert told.advice("tiers.warm") == {}


def test_a_needless_superuser_and_a_server_without_fsync(doctor: Doctor) -> None:
    server = shared(Postgres)  # it has no fsync, to be fast
    told = doctor(tiers__warm=server.url())

    assert told.code == 0
    assert advised(told, "tiers.warm", "make one that owns its database or schema only") == "note"
    assert advised(told, "tiers.warm", "fsync is off") == "note"


def test_commits_that_are_not_waited_for(doctor: Doctor, postgres: Postgres, database: str) -> None:
    postgres.execute("ALTER ROLE app SET synchronous_commit = off")

    assert advised(doctor(tiers__warm=postgres.url(database, user="app")), "tiers.warm", "synchronous_commit") == "note"


def test_a_role_that_may_make_no_schema(doctor: Doctor, postgres: Postgres, database: str) -> None:
    postgres.execute("CREATE ROLE poor LOGIN")
    told = doctor(tiers__warm=postgres.url(database, user="poor"))

    assert told.code == 1
    assert "grant the user CREATE on the database" in told.of("tiers.warm")[1]


def test_a_role_that_lacks_a_right_on_tables_or_sequences(doctor: Doctor, postgres: Postgres, database: str) -> None:
    def run(statement: str) -> None:
        postgres.execute(statement, database=database)

    def told() -> dict[str, str]:
        return doctor(tiers__warm=postgres.url(database, user="clerk")).advice("tiers.warm")

    assert doctor(tiers__warm=postgres.url(database, user="app")).code == 0
    tables, sequences = (f"ON ALL {what} IN SCHEMA state_sidecar" for what in ("TABLES", "SEQUENCES"))
    run("CREATE ROLE clerk LOGIN")
    run("GRANT USAGE ON SCHEMA state_sidecar TO clerk")
    run(f"GRANT SELECT, INSERT, UPDATE, DELETE {tables} TO clerk")
    run(f"GRANT SELECT, USAGE {sequences} TO clerk")
    assert told() == {}
    for right, where in (("INSERT", tables), ("UPDATE", tables), ("DELETE", tables), ("USAGE", sequences)):
        run(f"REVOKE {right} {where} FROM clerk")
        [(message, verdict)] = told().items()
        assert verdict == "wrong", right
        assert message.startswith("the role may not read and write ")
        run(f"GRANT {right} {where} TO clerk")


def test_a_role_and_a_server_with_too_few_connections(doctor: Doctor, postgres: Postgres, database: str) -> None:
    url = postgres.url(database, user="app")
    with contextlib.ExitStack() as others:
        for _ in range(11):
            others.enter_context(contextlib.closing(postgres.connect()))
        told = doctor(tiers__warm=url)
        assert advised(told, "tiers.warm", "raise max_connections") == "note"
    postgres.execute("ALTER ROLE app CONNECTION LIMIT 4")
    assert advised(doctor(tiers__warm=url), "tiers.warm", "the role may have 4 connections") == "note"


def test_a_server_that_gets_no_more_fixes(
    doctor: Doctor, postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    major = int(postgres.execute("SHOW server_version_num")[0][0]) // 10_000
    url = postgres.url(database, user="app")
    ended = datetime.combine(ENDS[major], datetime.min.time(), UTC)
    days = (ended - datetime.now(UTC)).days
    assert (doctor(tiers__warm=url).advice("tiers.warm") == {}) == (days >= 0)
    monkeypatch.setitem(ENDS, major, datetime(2020, 1, 1, tzinfo=UTC).date())

    assert advised(doctor(tiers__warm=url), "tiers.warm", f"PostgreSQL {major} gets no more fixes") == "note"


def test_a_clock_that_is_wrong(
    doctor: Doctor, postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda self: true(self) + 120_000)
    told = doctor(tiers__warm=postgres.url(database, user="app"), tiers__hot=shared(Valkey).url)

    assert told.code == 1
    for setting, whose in (("tiers.warm", "authority's"), ("tiers.hot", "server's")):
        verdict, message, _ = told.of(setting)
        assert verdict == "wrong"
        assert f"this machine's clock is 120 s ahead of the {whose}: set it" in message


# ---- Redis


def test_a_cache_that_evicts_is_well_and_an_authority_that_does_is_not(doctor: Doctor) -> None:
    with Valkey("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as server:
        cache = doctor(tiers__hot=server.url, tiers__warm="memory://")
        authority = doctor(tiers__hot=server.url, tiers__warm="none://")

    assert cache.of("tiers.hot")[0] == "ok"
    assert cache.advice("tiers.hot") == {}
    assert authority.code == 1
    assert advised(authority, "tiers.hot", "set maxmemory-policy to noeviction") == "wrong"


def test_a_namespace_makes_the_hot_tier_an_authority(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "state.yaml").write_text("namespaces: {plan: {authority: hot}}\n")
    with Valkey("--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru") as server:
        cache = doctor(tiers__hot=server.url)
        told = doctor("--config", str(tmp_path / "state.yaml"), tiers__hot=server.url)

    assert advised(cache, "tiers.hot", "may find little to evict") == "note"
    assert advised(told, "tiers.hot", "it evicts (volatile-lru)") == "wrong"


def test_a_full_server_that_evicts_nothing(doctor: Doctor) -> None:
    with Redis("--maxmemory", "20mb") as server:
        with server.client() as client:
            for number in range(18):
                client.set(f"filler-{number}", bytes(1_000_000))
        cache = doctor(tiers__hot=server.url)

    assert cache.code == 0
    assert advised(cache, "tiers.hot", "of maxmemory is used") == "note"


def test_an_authority_that_saves_nothing(doctor: Doctor) -> None:
    with Redis() as server:
        told = doctor(tiers__hot=server.url, tiers__warm="none://")
        assert doctor(tiers__hot=server.url).advice("tiers.hot") == {}
        server.ask("CONFIG", "SET", "appendonly", "yes")
        saved = doctor(tiers__hot=server.url, tiers__warm="none://")
        server.ask("CONFIG", "SET", "appendonly", "no")
        server.ask("CONFIG", "SET", "save", "60 1")
        dumped = doctor(tiers__hot=server.url, tiers__warm="none://")

    assert advised(told, "tiers.hot", "set appendonly to yes") == "note"
    assert saved.advice("tiers.hot") == dumped.advice("tiers.hot") == {}


def test_a_server_that_can_not_save(doctor: Doctor, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    with Valkey("--dir", str(gone)) as server:
        gone.rmdir()
        server.ask("BGSAVE")
        server.wait_for(lambda: _is_bad(server))
        cache = doctor(tiers__hot=server.url)
        authority = doctor(tiers__hot=server.url, tiers__warm="none://")

    assert advised(cache, "tiers.hot", "could not save lately") == "note"
    assert advised(authority, "tiers.hot", "could not save lately") == "wrong"


def _is_bad(server: Valkey) -> None:
    assert server.info("persistence")["rdb_last_bgsave_status"] == "err"


def test_a_user_that_may_not_ask_how_it_is_set_up(doctor: Doctor) -> None:
    with Redis() as server:
        server.ask("ACL", "SETUSER", "app", "on", ">word", "~*", "&*", "+@all", "-config")
        told = doctor(tiers__hot=server.url.replace("redis://", "redis://app:word@"), tiers__warm="none://")

    assert told.of("tiers.hot")[0] == "ok"
    assert told.advice("tiers.hot") == {}


# ---- sinks


def test_each_sink_is_opened_once(doctor: Doctor, tmp_path: Path) -> None:
    url = shared(Redis).url
    free = free_ports(1)[0]
    (tmp_path / "state.yaml").write_text(
        f"outbox: {{sink: '{url}'}}\n"
        f"namespaces: {{one: {{outbox: {{sink: '{url}'}}}}, two: {{outbox: {{sink: 'none'}}}},"
        f" three: {{outbox: {{sink: 'nats://user:hush-hush@127.0.0.1:{free}?stream=S&subject_prefix=s'}}}}}}\n"
    )
    told = doctor("--timeout", "2s", "--config", str(tmp_path / "state.yaml"))

    assert told.code == 1
    assert told.of("outbox.sink")[0] == "ok"
    assert not told.all_of("namespaces.one.outbox.sink")
    assert not told.all_of("namespaces.two.outbox.sink")
    verdict, message, subject = told.of("namespaces.three.outbox.sink")
    assert (verdict, subject) == ("wrong", f"nats://127.0.0.1:{free}")
    assert message
    assert "hush-hush" not in str(told)


def test_an_endpoint_of_webhooks(doctor: Doctor) -> None:
    free = free_ports(1)[0]
    away = doctor(outbox__sink=f"http://127.0.0.1:{free}/hook?secret=hush-hush")
    with socket.create_server(("127.0.0.1", free)):
        there = doctor(outbox__sink=f"http://127.0.0.1:{free}/hook")

    assert away.code == 1
    assert away.of("outbox.sink")[1].startswith("nobody answers there (")
    assert "hush-hush" not in str(away)
    assert there.of("outbox.sink")[0] == "ok"


# ---- the collector


def test_a_collector_that_takes_what_we_send(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        endpoint = f"http://127.0.0.1:{receiver.port}"
        set_here = doctor(telemetry__otlp_endpoint=endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hush-hush")
        in_the_environment = doctor()
        receiver.refusal = grpc.StatusCode.UNAUTHENTICATED
        refused = doctor()
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        off = doctor()

    assert set_here.of("telemetry.otlp_endpoint") == ("ok", "a collector answers there", endpoint)
    assert in_the_environment.of("OTEL_EXPORTER_OTLP_ENDPOINT")[0] == "ok"
    assert ("authorization", "Bearer hush-hush") in receiver.metadata
    assert refused.code == 1
    assert refused.of("OTEL_EXPORTER_OTLP_ENDPOINT")[1].endswith("set OTEL_EXPORTER_OTLP_HEADERS")
    assert "hush-hush" not in f"{refused}{in_the_environment}"
    assert not off.all_of("OTEL_EXPORTER_OTLP_ENDPOINT")


def test_what_is_no_collector(doctor: Doctor) -> None:
    free = free_ports(1)[0]
    away = doctor("--timeout", "1s", telemetry__otlp_endpoint=f"http://127.0.0.1:{free}")
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    another = doctor(telemetry__otlp_endpoint=f"http://127.0.0.1:{port}")
    server.stop(None).wait()

    assert (away.code, another.code) == (1, 1)
    assert "no collector answers there" in away.of("telemetry.otlp_endpoint")[1]
    assert "takes no traces" in another.of("telemetry.otlp_endpoint")[1]


# ---- a daemon that is there


def test_a_daemon_whose_authority_is_away_says_so(doctor: Doctor, tmp_path: Path) -> None:
    free = free_ports(1)[0]
    with daemon_process(tmp_path / "there", tiers__warm=f"postgresql://127.0.0.1:{free}/db") as daemon:
        [address] = daemon.addresses
        told = doctor(listen=address)

    verdict, message, _ = told.of("listen")
    assert verdict == "note"
    assert message.endswith(", warm away: see state-sidecar status")
    assert ", mode degraded" in message
