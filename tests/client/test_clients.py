"""What each client has of its own: where it connects, when, and who may share it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from statesidecar import AsyncStateClient, InvalidRequest, StateClient
from tests.client.scripted import Server, cas_done, conflict, got, set_done


@pytest.mark.parametrize("cls", [StateClient, AsyncStateClient])
def test_the_target_is_given_or_the_environment_s_or_the_default(
    cls: type[StateClient | AsyncStateClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_SIDECAR_TARGET", raising=False)
    assert cls().target == "127.0.0.1:7420"
    monkeypatch.setenv("STATE_SIDECAR_TARGET", "unix:///run/state.sock")
    assert cls().target == "unix:///run/state.sock"
    assert cls("10.0.0.1:1").target == "10.0.0.1:1"


@pytest.mark.parametrize("cls", [StateClient, AsyncStateClient])
def test_both_clients_have_the_same_calls(cls: type[StateClient | AsyncStateClient]) -> None:
    other = AsyncStateClient if cls is StateClient else StateClient

    assert [name for name in dir(cls) if not name.startswith("_")] == [
        name for name in dir(other) if not name.startswith("_")
    ]
    assert cls.update.__doc__ == other.update.__doc__


def test_proxies_of_the_environment_are_not_for_the_peer_in_the_pod(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.expect(set_done(1))

    with StateClient(server.target) as client:
        assert client.set("session", "alice", b"v").version == 1


def test_a_large_value_goes_both_ways(server: Server) -> None:
    value = b"x" * 3_900_000
    server.expect(got(value, 1))
    server.expect(got(value * 2, 2))

    with StateClient(server.target) as client:
        assert client.get("session", "alice").value == value
        assert client.get("session", "alice").value == value * 2


def test_threads_share_a_client(server: Server) -> None:
    server.expect(*[set_done(version) for version in range(1, 65)])
    versions: list[int] = []

    with StateClient(server.target) as client:

        def work() -> None:
            versions.extend(client.set("session", "alice", b"v").version for _ in range(8))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(versions) == list(range(1, 65))
    assert len({request.request_id for request in server.requests}) == 64


def test_an_asyncio_client_is_made_outside_of_a_loop_and_belongs_to_its_first(server: Server) -> None:
    client = AsyncStateClient(server.target)
    server.expect(set_done(1))

    async def write() -> int:
        return (await client.set("session", "alice", b"v")).version

    with asyncio.Runner() as runner:
        assert runner.run(write()) == 1
        with asyncio.Runner() as second, pytest.raises(InvalidRequest, match="another event loop"):
            second.run(write())
        runner.run(client.close())


async def test_an_asyncio_update_awaits_an_async_function(server: Server) -> None:
    server.expect(got(b"[1]", 1), cas_done(2))

    async def append(state: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return [*state, 2]

    async with AsyncStateClient(server.target) as client:
        result = await client.update("session", "alice", append)

    assert result.state == [1, 2]
    assert server.requests[-1].value == b"[1,2]"


async def test_an_asyncio_session_awaits_an_async_solution_of_a_conflict(server: Server) -> None:
    server.expect(got(b"[1]", 1), conflict(1, 2), got(b"[5]", 2), cas_done(3))

    async def solve(base: Any, mine: Any, theirs: Any) -> Any:
        await asyncio.sleep(0)
        return [base, mine, theirs]

    async with (
        AsyncStateClient(server.target) as client,
        client.session("session", "alice", on_conflict=solve) as session,
    ):
        session.state.append(2)

    assert server.requests[-1].value == b"[[1],[1,2],[5]]"


async def test_tasks_of_a_loop_share_a_client(server: Server) -> None:
    server.expect(*[set_done(version) for version in range(1, 65)])

    async with AsyncStateClient(server.target) as client:
        results = await asyncio.gather(*(client.set("session", str(n), b"v") for n in range(64)))

    assert sorted(result.version for result in results) == list(range(1, 65))
