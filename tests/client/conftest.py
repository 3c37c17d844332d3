"""Both clients, a scripted server, and a real daemon."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from statesidecar import RetryPolicy
from statesidecar.testing import RunningSidecar, sidecar
from tests.client.scripted import Asyncio, Blocking, Server

Client = Blocking | Asyncio

#: Retries without pauses worth the name.
QUICK = RetryPolicy(attempts_max=5, backoff_initial_s=0.001, backoff_max_s=0.002)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    running.start()
    yield running
    running.stop()

    assert not running.surprises, "a call that the script didn't expect"
    assert not running.left(), "a call that the script expected never came"


@pytest.fixture(params=[Blocking, Asyncio], ids=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(target: str, **options: object) -> Client:
        made.append(request.param(target, **{"retry": QUICK, "timeout_s": 10.0} | options))
        made[-1].client._calls.random = lambda: 0.0  # Pauses are judged in test_retry.py; nobody waits for them here
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Client], server: Server) -> Client:
    return connect(server.target)


@pytest.fixture(scope="session")
def running() -> Iterator[RunningSidecar]:
    with sidecar() as started:
        yield started


@pytest.fixture
def key() -> str:
    """A key that no other test has: the daemon is shared."""
    return uuid.uuid4().hex
