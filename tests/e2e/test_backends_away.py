"""Servers that are away, wrong or killed: the daemon starts, says which setting it is, answers, and heals by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.base import free_ports, shared
from servers.postgres import Postgres
from servers.redis import Valkey
from statesidecar import Consistency, DeadlineExceeded, Durability, ServingMode, StateClient, Unavailable
from tests.support.process import DaemonProcess, daemon_process

HEALED_S = 15.0


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


def eventually_normal(client: StateClient) -> None:
    """Until a write is committed again and a read says NORMAL."""
    end = time.monotonic() + HEALED_S
    while True:
        try:
            written = client.set("session", "key", b"value", timeout_s=1.0)
            found = client.get("session", "key", timeout_s=1.0)
            if written.durability is Durability.COMMITTED and found.mode is ServingMode.NORMAL:
                return
        except Unavailable:
            pass
        assert time.monotonic() < end, "it has not healed"


def said(daemon: DaemonProcess, what: str) -> list[str]:
    return [line for line in daemon.lines if what in line]


def test_it_starts_and_answers_with_every_server_away(tmp_path: Path) -> None:
    hot, warm, cold = free_ports(3)
    urls = {
        "tiers.hot": f"redis://user:hunter2@127.0.0.1:{hot}",
        "tiers.warm": f"postgresql://user:hunter2@127.0.0.1:{warm}/state",
        "tiers.cold": f"s3://bucket/cold?endpoint_url=http://127.0.0.1:{cold}&region=us-east-1",
    }
    with daemon_process(tmp_path / "data", **urls) as daemon, StateClient(daemon.target) as client:
        found = client.get("session", "key")
        written = client.set("session", "key", b"value")
        with pytest.raises(Unavailable):
            client.get("session", "key", consistency=Consistency.STRONG, timeout_s=1.0)

        assert daemon.probe("/readyz")[0] == 200
    assert (found.entry, found.mode) == (None, ServingMode.PASSTHROUGH)
    assert written.durability is Durability.DISCARDED
    for tier in urls:
        assert said(daemon, f"{tier} can't be"), daemon.lines
    assert not said(daemon, "hunter2")


def test_it_heals_when_the_servers_come(tmp_path: Path, postgres: Postgres, valkey: Valkey) -> None:
    postgres.end()
    valkey.end()
    tiers = {"tiers.hot": valkey.url, "tiers.warm": postgres.url()}
    with daemon_process(tmp_path / "data", **tiers) as daemon, StateClient(daemon.target) as client:
        assert client.get("session", "key").mode is ServingMode.PASSTHROUGH
        postgres.restart()
        valkey.restart()

        eventually_normal(client)


def test_nothing_acknowledged_is_lost_when_the_servers_are_killed(
    tmp_path: Path, postgres: Postgres, valkey: Valkey
) -> None:
    tiers = {"tiers.hot": valkey.url, "tiers.warm": postgres.url()}
    with daemon_process(tmp_path / "data", **tiers) as daemon, StateClient(daemon.target) as client:
        for n in range(3):
            client.set("process", f"{n}", b"value")
            for server in (valkey, postgres):
                server.kill()
                server.restart()
            eventually_normal(client)

        kept = [client.get("process", f"{n}", consistency=Consistency.STRONG).entry for n in range(3)]
    assert [entry and entry.value for entry in kept] == [b"value"] * 3


def test_a_server_that_hangs_costs_its_time_and_no_more(tmp_path: Path, postgres: Postgres, valkey: Valkey) -> None:
    """Stopped, not gone: connections stay open, and nothing answers."""
    tiers = {"tiers.hot": valkey.url, "tiers.warm": postgres.url()}
    with daemon_process(tmp_path / "data", **tiers) as daemon, StateClient(daemon.target) as client:
        eventually_normal(client)
        valkey.pause()
        try:
            assert client.get("session", "key", timeout_s=10.0).entry is not None
            assert client.set("session", "key", b"2", timeout_s=10.0).durability is Durability.COMMITTED
        finally:
            valkey.resume()
        postgres.pause()
        try:
            with pytest.raises((Unavailable, DeadlineExceeded)):
                client.get("process", "key", consistency=Consistency.STRONG, timeout_s=10.0)
        finally:
            postgres.resume()

        eventually_normal(client)


@pytest.mark.parametrize(
    ("setting", "url", "said_of_it"),
    [
        ("tiers.warm", "postgresql://nobody@{postgres}/postgres", "nobody"),
        ("tiers.warm", "postgresql://postgres@{postgres}/missing", "missing"),
        ("tiers.hot", "redis://user:hunter2@{valkey}", "password"),
        ("tiers.hot", "rediss://{valkey}", "TLS"),
        ("tiers.hot", "redis+cluster://{valkey}", "luster"),
        ("tiers.hot", "memcached://{valkey}", "memcached"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_the_setting(
    tmp_path: Path, setting: str, url: str, said_of_it: str
) -> None:
    places = {
        "postgres": f"127.0.0.1:{shared(Postgres).port}",
        "valkey": f"127.0.0.1:{shared(Valkey).port}",
    }
    with daemon_process(tmp_path / "data", **{setting: url.format(**places)}) as daemon:
        daemon.terminate()

    [line, *_] = said(daemon, f"{setting} can't be")
    assert said_of_it in line
    assert "hunter2" not in line
