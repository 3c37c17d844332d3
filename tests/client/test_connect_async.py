"""The asyncio client over one stream: what goes into it, how calls end, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from statesidecar import AsyncStateClient, DeadlineExceeded, RetryPolicy, StateSidecarError, Unavailable
from statesidecar.errors import CapabilityMissing, WriteOutcomeUnknown
from statesidecar.testing import RunningSidecar
from tests.client.peer import Peer, serving
from tests.client.proxy import Proxy
from tests.client.scripted import Server

ONCE = RetryPolicy(attempts_max=1)
PATIENT = RetryPolicy(attempts_max=50, backoff_initial_s=0.001, backoff_max_s=0.01, calls_per_retry=0)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serving() as started:
        yield started


async def test_calls_of_many_tasks_go_over_one_stream(running: RunningSidecar, key: str) -> None:
    async with AsyncStateClient(running.target) as client:
        await client.set("process", key, b"v")
        found = await asyncio.gather(*(client.get("process", key) for _ in range(300)))

        assert {result.value for result in found} == {b"v"}
        assert client._connection is not None
        assert len(client._connection.streams) == 1
        assert client._connection.stream._frames.answers == 301


async def test_a_daemon_without_connect_is_called_unary_from_then_on(server: Server) -> None:
    async with AsyncStateClient(server.target, retry=ONCE) as client:
        with pytest.raises(StateSidecarError):  # The script has no reply for it: a unary call has come
            await client.get("process", "key")
        assert server.surprises
        server.surprises.clear()

        assert client._connection is not None
        assert not client._connection.connects
        assert client._connection.stream is None


async def test_a_large_request_goes_unary(running: RunningSidecar, key: str) -> None:
    async with AsyncStateClient(running.target) as client:
        await client.set("process", key, bytes(300 * 1024))

        assert client._connection is not None
        assert client._connection.stream._frames.answers == 0
        assert (await client.get("process", key)).value == bytes(300 * 1024)
        assert client._connection.stream._frames.answers == 1


async def test_writes_of_many_tasks_are_exact_though_the_stream_is_cut(running: RunningSidecar, key: str) -> None:
    writers, writes, cuts = 32, 12, 0
    done = 0
    with Proxy(running.target) as proxy:
        async with AsyncStateClient(proxy.target, timeout_s=60.0, retry=PATIENT) as client:

            async def write() -> None:
                nonlocal done, cuts
                for _ in range(writes):
                    await client.increment("process", key)
                    done += 1
                    if done % 60 == 0:
                        cuts += 1
                        proxy.cut()

            await asyncio.gather(*(write() for _ in range(writers)))
            found = await client.get("process", key)

    assert cuts >= 5
    assert found.value == str(writers * writes).encode()


async def test_one_call_runs_out_of_time_while_others_go_on(peer: Peer) -> None:
    async with AsyncStateClient(peer.target, retry=ONCE) as client:
        late = asyncio.create_task(client.get("n", "late", timeout_s=0.2))
        good = asyncio.create_task(client.get("n", "good"))
        link = await peer.link()
        first, second = await link.calls(2)
        assert [first.get.key, second.get.key] == ["late", "good"]
        assert 0 < first.timeout.nanos <= 200_000_000
        assert first.timeout.seconds == 0

        await link.answer(second)
        assert not (await good).found
        with pytest.raises(DeadlineExceeded):
            await late
        await link.answer(first)  # Nobody waits for it: it is dropped

        again = asyncio.create_task(client.get("n", "again"))
        await link.answer(await link.call())
        assert not (await again).found, "over the same stream"


async def test_each_of_many_calls_runs_out_of_its_own_time(peer: Peer) -> None:
    async with AsyncStateClient(peer.target, retry=ONCE) as client:
        ended: list[float] = []

        async def read(timeout_s: float) -> None:
            with pytest.raises(DeadlineExceeded):
                await client.get("n", "key", timeout_s=timeout_s)
            ended.append(timeout_s)

        await asyncio.wait_for(asyncio.gather(*(read(timeout_s) for timeout_s in (0.3, 0.1, 0.2))), 10)

    assert ended == [0.1, 0.2, 0.3]


async def test_a_cancelled_caller_leaves_the_stream_to_the_others(peer: Peer) -> None:
    async with AsyncStateClient(peer.target, retry=ONCE) as client:
        tasks = [asyncio.create_task(client.get("n", str(number))) for number in range(3)]
        link = await peer.link()
        calls = await link.calls(3)
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        await link.answer(*calls)

        assert not (await tasks[0]).found
        assert not (await tasks[2]).found
        assert tasks[1].cancelled()


async def test_what_waits_while_nothing_is_read_keeps_its_time_and_is_not_sent_once_given_up(peer: Peer) -> None:
    peer.reading.clear()
    async with AsyncStateClient(peer.target, retry=ONCE, timeout_s=30.0) as client:
        # More than flow control lets through, and more than frames hold.
        fat = [asyncio.create_task(client.get("n" * 200_000, f"fat{number}")) for number in range(60)]
        link = await peer.link()
        cancelled = asyncio.create_task(client.get("n", "cancelled"))
        late = asyncio.create_task(client.get("n", "late", timeout_s=0.2))
        last = asyncio.create_task(client.get("n", "last"))
        with pytest.raises(DeadlineExceeded):
            await late
        cancelled.cancel()
        await asyncio.wait([cancelled])
        peer.reading.set()
        calls = await link.calls(61)
        await link.answer(*calls)

        await asyncio.gather(*fat, last)
        assert [call.get.key for call in calls] == [*(f"fat{number}" for number in range(60)), "last"]


async def test_a_stream_that_breaks_leaves_a_write_open_and_the_next_call_makes_another(peer: Peer) -> None:
    async with AsyncStateClient(peer.target, retry=ONCE) as client:
        write = asyncio.create_task(client.set("n", "key", b"v"))
        read = asyncio.create_task(client.get("n", "key"))
        link = await peer.link()
        await link.calls(2)
        link.end(grpc.StatusCode.INTERNAL, "broke")

        with pytest.raises(WriteOutcomeUnknown):
            await write
        with pytest.raises(Unavailable):
            await read
        again = asyncio.create_task(client.get("n", "key"))
        link = await peer.link()
        await link.answer(await link.call())
        assert not (await again).found


async def test_unimplemented_of_one_call_is_not_the_end_of_the_stream(peer: Peer) -> None:
    async with AsyncStateClient(peer.target, retry=ONCE) as client:
        read = asyncio.create_task(client.get("n", "key"))
        link = await peer.link()
        call = await link.call()
        refusal = bytes([8, grpc.StatusCode.UNIMPLEMENTED.value[0]])  # google.rpc.Status{code}
        await link.refuse(call, refusal)
        with pytest.raises(CapabilityMissing):
            await read  # It was made unary, and this server has no other RPC

        again = asyncio.create_task(client.get("n", "key"))
        await link.answer(await link.call())
        assert not (await again).found


async def test_close_cancels_what_is_in_flight_and_leaves_no_task(peer: Peer) -> None:
    before = asyncio.all_tasks()
    client = AsyncStateClient(peer.target)
    reads = [asyncio.create_task(client.get("n", str(number))) for number in range(3)]
    link = await peer.link()
    await link.calls(3)
    await client.close()

    await asyncio.wait(reads)
    assert all(read.cancelled() for read in reads)
    left = {task for task in asyncio.all_tasks() - before if "_stream_async" in repr(task)}
    assert not left


async def test_a_new_token_begins_a_new_stream_and_the_old_one_answers_what_it_has(peer: Peer) -> None:
    token = "one"
    async with AsyncStateClient(peer.target, retry=ONCE, token=lambda: token) as client:
        old = asyncio.create_task(client.get("n", "old"))
        first = await peer.link()
        call = await first.call()
        token = "two"
        new = asyncio.create_task(client.get("n", "new"))
        second = await peer.link()
        await second.answer(await second.call())
        assert not (await new).found
        assert [link.metadata["authorization"] for link in (first, second)] == ["Bearer one", "Bearer two"]
        assert not old.done()

        await asyncio.wait_for(first.closed.wait(), 10)
        await first.answer(call)
        assert not (await old).found


async def test_a_client_that_is_given_up_leaves_its_socket_to_nobody(running: RunningSidecar, key: str) -> None:
    gc.disable()  # Whatever waited for the collector would wait for ever
    try:
        with Proxy(running.target) as proxy:
            async with AsyncStateClient(proxy.target) as client:
                await client.set("process", key, b"v")
                proxy.silence()
                with pytest.raises(DeadlineExceeded):
                    await client.get("process", key, timeout_s=0.2)
                assert (await client.get("process", key)).value == b"v"
                assert await asyncio.to_thread(proxy.ended.acquire, True, 10.0), "the silent connection is closed"
    finally:
        gc.enable()


DROPPED = """
import asyncio, sys
from statesidecar import AsyncStateClient

async def main():
    client = AsyncStateClient(sys.argv[1])
    await client.get("process", "key")
    return client

if sys.argv[2] == "run":
    client = asyncio.run(main())
elif sys.argv[2] == "uvloop":
    import uvloop
    client = uvloop.run(main())
else:
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(main())
"""


@pytest.mark.parametrize("how", ["run", "loop", "uvloop"])
async def test_a_client_that_nobody_closed_ends_with_its_process_without_a_word(
    running: RunningSidecar, how: str, tmp_path: Path
) -> None:
    script = tmp_path / "dropped.py"
    script.write_text(DROPPED)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        running.target,
        how,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)

    assert (process.returncode, output) == (0, b"")
