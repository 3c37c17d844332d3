"""Many writers, and lost replies, against a real daemon in this process: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from statesidecar import (
    AsyncStateClient,
    Consistency,
    DeadlineExceeded,
    StateClient,
)
from statesidecar.testing import RunningSidecar
from tests.client.conftest import Client
from tests.client.proxy import Fault, Proxy


def test_updates_of_many_threads_are_all_kept(running: RunningSidecar, key: str) -> None:
    def work() -> None:
        with running.client(timeout_s=60.0) as client:
            for _ in range(20):
                client.update("process", key, lambda state: {"n": state.get("n", 0) + 1}, attempts_max=1000)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with running.client() as client:
        assert client.get("process", key).entry.json() == {"n": 160}  # type: ignore[union-attr]  # it is there


async def test_updates_and_increments_of_many_tasks_are_all_kept(running: RunningSidecar, key: str) -> None:
    async with AsyncStateClient(running.target, timeout_s=60.0) as client:

        async def work() -> None:
            for _ in range(10):
                await client.update("process", key, lambda state: [*state, 1], default=list, attempts_max=1000)
                await client.increment("process", f"{key}-count")

        await asyncio.gather(*(work() for _ in range(8)))
        found = await client.get("process", key)
        count = await client.get("process", f"{key}-count")

    assert found.entry is not None
    assert len(found.entry.json()) == 80
    assert count.value == b"80"


def test_sessions_of_many_threads_merge_every_turn(running: RunningSidecar, key: str) -> None:
    def work(worker: int) -> None:
        with running.client(timeout_s=60.0) as client:
            for turn in range(5):
                with client.session("session", key, default={"turns": []}, on_conflict="merge") as session:
                    session.state["turns"].append([worker, turn])

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with running.client() as client:
        turns = client.get("session", key).entry.json()["turns"]  # type: ignore[union-attr]  # it is there
    assert sorted(turns) == [[worker, turn] for worker in range(4) for turn in range(5)]


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.CUT])
def test_a_reply_lost_after_delivery_neither_doubles_nor_loses_the_write(
    connect: Callable[..., Client], running: RunningSidecar, key: str, fault: Fault
) -> None:
    with Proxy(running.target) as proxy:
        client = connect(proxy.target, timeout_s=2.0)
        assert client.call("increment", "process", key).count == 1
        proxy.fail_next_reply(fault)

        result = client.call("increment", "process", key)
        version = client.call("get", "process", key, consistency=Consistency.STRONG).version

    assert proxy.faults == 1, "the reply was lost"
    assert result.count == 2
    assert result.version == version


def test_a_read_on_a_silent_connection_is_the_last_there(running: RunningSidecar, key: str) -> None:
    with Proxy(running.target) as proxy, StateClient(proxy.target) as client:
        client.set("process", key, b"v")
        proxy.fail_next_reply(Fault.SILENCE)
        with pytest.raises(DeadlineExceeded):
            client.get("process", key, timeout_s=0.2)

        assert client.get("process", key).value == b"v"
        assert proxy.ended.acquire(timeout=10), "the silent connection is closed"


async def test_an_asyncio_read_on_a_silent_connection_is_the_last_there(running: RunningSidecar, key: str) -> None:
    with Proxy(running.target) as proxy:
        async with AsyncStateClient(proxy.target) as client:
            await client.set("process", key, b"v")
            proxy.fail_next_reply(Fault.SILENCE)
            with pytest.raises(DeadlineExceeded):
                await client.get("process", key, timeout_s=0.2)

            assert (await client.get("process", key)).value == b"v"
            assert await asyncio.to_thread(proxy.ended.acquire, True, 10.0), "the silent connection is closed"
