"""What an operator is told when no connection can be had; and no secret with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from servers.base import free_ports, shared
from servers.redis import Redis, RedisCluster, SentinelRedis, TlsRedis, Valkey
from sidecar.stores.redis.client import RedisOutcomeUnknown, RedisRefused, RedisUnavailable, Script
from tests.stores.redis.support import client_of, until_it_answers

PASSWORD = "the-secret"


async def refusal(url: str, **options: float) -> str:
    """What a first call says."""
    async with client_of(url, **options) as client:
        with pytest.raises(RedisUnavailable) as caught:
            await client.mget([b"key"])
    assert not isinstance(caught.value, RedisOutcomeUnknown)
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Redis]:
    """A server with passwords, and a user who may nearly nothing."""
    with Redis() as server:
        server.ask("ACL", "SETUSER", "poor", "on", ">poor", "~*", "+get", "+info")
        server.ask("ACL", "SETUSER", "default", "resetpass", f">{PASSWORD}")
        yield server


async def test_nothing_listens() -> None:
    (port,) = free_ports(1)

    assert await refusal(f"redis://127.0.0.1:{port}") == f"nothing listens at 127.0.0.1:{port}"
    assert await refusal(f"redis://localhost:{port}") == f"nothing listens at localhost:{port}"


async def test_no_such_host() -> None:
    assert await refusal("redis://no-such-host.invalid") == "no such host: no-such-host.invalid"


async def test_a_host_that_swallows_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        assert await refusal(f"redis://127.0.0.1:{port}", timeout_s=0.2) == f"127.0.0.1:{port} does not answer"


@asynccontextmanager
async def saying(greeting: bytes) -> AsyncIterator[str]:
    """A server that says one thing and hangs up."""

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()
    await listening.wait_closed()


async def test_what_is_no_redis() -> None:
    async with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        assert "closes the connection at once" in await refusal(url) or "protocol" in await refusal(url)


async def test_too_many_clients() -> None:
    async with saying(b"-ERR max number of clients reached\r\n") as url:
        assert "max number of clients reached" in await refusal(url)


async def test_a_password_is_wanted(guarded: Redis) -> None:
    assert await refusal(guarded.url) == f"127.0.0.1:{guarded.port} wants a password: write it into the URL"


@pytest.mark.parametrize("user", [f":{PASSWORD}-not", f"nobody:{PASSWORD}", f"poor:{PASSWORD}"])
async def test_user_or_password_are_wrong(guarded: Redis, user: str) -> None:
    said = await refusal(f"redis://{user}@127.0.0.1:{guarded.port}")

    assert said == f"127.0.0.1:{guarded.port} refuses the user or the password"


async def test_the_right_password_opens(guarded: Redis) -> None:
    for user in ("", "default"):
        async with client_of(f"redis://{user}:{PASSWORD}@127.0.0.1:{guarded.port}") as client:
            assert await client.mget([b"key"]) == [None]


async def test_a_user_who_may_not_run_scripts(guarded: Redis) -> None:
    async with client_of(f"redis://poor:poor@127.0.0.1:{guarded.port}") as client:
        with pytest.raises(RedisRefused, match=r"does not permit our user a key, channel or command evalsha") as caught:
            await client.run(Script("any", b"return 1"), [b"key"])

    assert caught.value.code == "NOPERM"


async def test_a_user_who_may_not_ask_who_the_server_is(guarded: Redis) -> None:
    guarded.client(password=PASSWORD).execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "blind", "on", ">blind", "~*", "+get"
    )
    said = await refusal(f"redis://blind:blind@127.0.0.1:{guarded.port}")

    assert said == f"127.0.0.1:{guarded.port} does not permit our user a key, channel or command info"


async def test_no_such_database() -> None:
    server = shared(Valkey)

    assert await refusal(f"redis://127.0.0.1:{server.port}/99") == f"127.0.0.1:{server.port} has no such database"


async def test_databases_are_apart() -> None:
    server = shared(Valkey)
    server.ask("SET", "only in 0", "here")
    async with client_of(f"redis://127.0.0.1:{server.port}/1") as other, client_of(server.url) as same:
        assert await other.mget([b"only in 0"]) == [None]
        assert await same.mget([b"only in 0"]) == [b"here"]


async def test_tls_where_there_is_none() -> None:
    port = shared(Redis).port
    said = await refusal(f"rediss://127.0.0.1:{port}?verify=none", timeout_s=0.5)

    assert said == f"127.0.0.1:{port} does not answer; does it speak TLS on this port?"
    async with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        assert "does not speak TLS" in await refusal(url.replace("redis", "rediss"))


async def test_no_tls_where_it_is_wanted() -> None:
    assert "does it want TLS (rediss)?" in await refusal(f"redis://localhost:{shared(TlsRedis).port}")


async def test_a_certificate_of_an_unknown_authority(tmp_path: Path) -> None:
    server = shared(TlsRedis)
    assert "does not verify: " in await refusal(f"rediss://localhost:{server.port}")

    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    said = await refusal(f"rediss://localhost:{server.port}?ca_file={other}")

    assert f"the certificate of localhost:{server.port} does not verify: " in said
    assert said.endswith("ca_file names its authority's certificate")


async def test_a_certificate_of_another_name() -> None:
    server = shared(TlsRedis)
    by_address = f"rediss://127.0.0.1:{server.port}?ca_file={server.file('ca_file')}"

    assert "IP address mismatch" in await refusal(by_address)
    async with client_of(f"{by_address}&verify=ca") as client:
        assert await client.mget([b"key"]) == [None]


async def test_a_file_that_is_not_there() -> None:
    url = f"rediss://localhost:{shared(TlsRedis).port}"

    said = "No such file or directory"
    assert await refusal(f"{url}?ca_file=/no/such.pem") == f"ca_file /no/such.pem can't be read: {said}"
    assert await refusal(f"{url}?cert_file=/no/such.pem") == f"cert_file /no/such.pem or its key can't be read: {said}"


async def test_a_file_that_holds_something_else(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.write_text(PASSWORD)
    url = f"rediss://localhost:{shared(TlsRedis).port}"

    assert f"ca_file {file} can't be read: " in await refusal(f"{url}?ca_file={file}")
    assert f"cert_file {file} or its key can't be read: " in await refusal(f"{url}?cert_file={file}")


async def test_a_client_certificate_is_wanted() -> None:
    with TlsRedis(authenticate=True) as server:
        said = await refusal(f"rediss://localhost:{server.port}?ca_file={server.file('ca_file')}")
        async with client_of(server.url) as client:
            assert await client.mget([b"key"]) == [None]

    assert "cert_file and key_file" in said


async def test_a_cluster_is_no_single_server_nor_the_reverse() -> None:
    member, single = shared(RedisCluster).primaries[0], shared(Redis)

    assert (await refusal(f"redis://127.0.0.1:{member.port}")).endswith("is a Cluster's node: write redis+cluster://")
    assert (await refusal(f"redis+cluster://127.0.0.1:{single.port}")).endswith("is no Cluster node: write redis://")


async def test_a_replica_is_not_read() -> None:
    replica = shared(SentinelRedis).replica

    assert "is a replica, and its data may be old" in await refusal(f"redis://127.0.0.1:{replica.port}")


async def test_sentinels_that_know_no_such_primary_or_are_none() -> None:
    watched, single = shared(SentinelRedis), shared(Redis)
    sentinel = watched.sentinels[0]

    unknown = await refusal(f"redis+sentinel://127.0.0.1:{sentinel.port}/other")
    assert unknown == f"the sentinel 127.0.0.1:{sentinel.port} knows no primary 'other'"
    assert "is no sentinel: write redis://" in await refusal(f"redis+sentinel://127.0.0.1:{single.port}/state")
    assert "is a sentinel: write redis+sentinel://" in await refusal(f"redis://127.0.0.1:{sentinel.port}")


async def test_it_heals_when_the_server_comes() -> None:
    with Valkey() as server:
        server.kill()
        async with client_of(server.url) as client:
            with pytest.raises(RedisUnavailable, match=r"nothing listens"):
                await client.mget([b"key"])
            server.restart()
            with pytest.raises(RedisUnavailable, match=r"nothing listens"):
                await client.mget([b"key"])  # within the second, nobody is asked

            assert await until_it_answers(client, lambda: client.mget([b"key"])) == [None]
