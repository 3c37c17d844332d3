"""What an operator reads when the address is wrong, or the server is one that can't be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers.base import HOST, free_ports, shared
from servers.memcached import Memcached
from sidecar.core.cache import CacheUnavailable
from tests.stores.memcached.conftest import Open, Start
from tests.stores.memcached.scripted import peer


async def complaint(daemon: Open, server: Memcached | str, *, timeout_s: float = 10.0) -> str:
    with pytest.raises(CacheUnavailable) as caught:
        await daemon(server, timeout_s=timeout_s).get()
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(server if isinstance(server, str) else server.address, "HOST:PORT")


async def test_nobody_listens(daemon: Open) -> None:
    said = await complaint(daemon, f"{HOST}:{free_ports(1)[0]}")

    assert said == "memcached HOST:PORT refuses connections: is it running there?"


async def test_a_host_that_is_not_known(daemon: Open) -> None:
    said = await complaint(daemon, "nowhere.invalid:11211")

    assert said == "memcached HOST:PORT: the host's name can't be resolved"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak memcached's protocol: 'HTTP/1.1 400 Bad Request'"),
        (b"-ERR unknown command\r\n", "it does not speak memcached's protocol: '-ERR unknown command'"),
        (b"END\r\n", "it does not speak memcached's protocol"),
        (b"VERSION 1.6.18\r\nEND\r\n", "it does not speak memcached's protocol"),
        (b"VERSION 1.6.17\r\n", "has version 1.6.17: its meta commands are used from 1.6.18 on"),
        (b"VERSION 1.5.22-fork\r\n", "has version 1.5.22-fork"),
        (b"VERSION unknown\r\n", "does not tell its version, it says 'unknown'"),
        (b"ERROR Too many open connections\r\n", "it says 'Too many open connections'"),
    ],
    ids=lambda value: value[:20].decode() if isinstance(value, bytes) else None,
)
async def test_something_else_listens(daemon: Open, answer: bytes, said: str) -> None:
    async with peer(lambda _: answer) as address:
        assert said in await complaint(daemon, address)


async def test_something_that_speaks_first(daemon: Open) -> None:
    async with peer(lambda _: b"", banner=b"SSH-2.0-OpenSSH\r\n") as address:
        assert "it does not speak memcached's protocol: 'SSH-2.0-OpenSSH'" in await complaint(daemon, address)


async def test_something_that_hangs_up(daemon: Open) -> None:
    async with peer(lambda _: None) as address:
        assert await complaint(daemon, address) == "memcached HOST:PORT: it has closed the connection"


async def test_something_that_says_nothing(daemon: Open) -> None:
    async with peer(lambda _: b"") as address:
        said = await complaint(daemon, address, timeout_s=0.1)

    assert said == "memcached HOST:PORT does not answer within 0.1 s"


async def test_a_proxy_that_tells_no_settings(daemon: Open) -> None:
    async with peer(lambda heard: b"VERSION 1.6.99\r\n" if b"version" in heard else b"END\r\n") as address:
        assert "does not tell its item_size_max" in await complaint(daemon, address)


async def test_a_server_without_compare_and_swap(daemon: Open, start: Start) -> None:
    assert "runs with -C (no CAS)" in await complaint(daemon, start(64, 1 << 20, ("-C",)))


async def test_a_server_with_passwords(daemon: Open, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("user:password\n")

    class Guarded(Memcached):
        def ready(self) -> None:
            assert b"unauthenticated" in self.ask(b"mn\r\n")

    with Guarded(64, 1 << 20, ("-Y", str(users))) as server:
        assert "asks for a user and password" in await complaint(daemon, server)


async def test_a_url_of_several_servers_names_the_one_that_is_wrong(daemon: Open) -> None:
    address = f"{HOST}:{free_ports(1)[0]}"
    ring = daemon(shared(Memcached), address)

    with pytest.raises(CacheUnavailable, match=f"memcached {address} refuses"):
        await ring.cache.identity()
