"""The blocking client over Connect: threads that share a stream, its end in every way, and what is left of it."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from statesidecar import DeadlineExceeded, InvalidRequest, RetryPolicy, StateClient, Unauthenticated, Unavailable
from statesidecar.errors import StateSidecarError
from statesidecar.testing import RunningSidecar
from tests.client.connecting import HELD, Caller, Connecting
from tests.client.proxy import Fault, Proxy
from tests.client.scripted import status

ONCE = RetryPolicy(attempts_max=1)
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "state-sidecar-stream"]


def at_once(count: int, work: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def failure(call: Callable[[], Any]) -> StateSidecarError:
    with pytest.raises(StateSidecarError) as caught:
        call()
    return caught.value


def test_threads_share_a_stream_and_each_gets_its_own_answer() -> None:
    wrong: list[object] = []
    with Connecting() as daemon, StateClient(daemon.target) as client:

        def work() -> None:
            for n in range(50):
                key = f"{threading.get_ident()}-{n}"
                if (found := client.get("process", key).value) != key.encode():
                    wrong.append((key, found))

        at_once(16, work)
        assert len(readers()) == 1

    keys = [key for frame in daemon.frames for key in frame]
    assert (wrong, len(keys), len(set(keys)), daemon.unary) == ([], 800, 800, [])
    assert len(daemon.frames) < 800, "calls that came together went together"


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.SILENCE])
def test_a_stream_that_fails_under_many_writers_loses_and_doubles_nothing(
    running: RunningSidecar, key: str, fault: Fault
) -> None:
    free = RetryPolicy(backoff_max_s=0.1, calls_per_retry=0)  # One break takes more than a budget has
    with Proxy(running.target) as proxy, StateClient(proxy.target, timeout_s=4.0, retry=free) as client:
        begun = threading.Semaphore(0)

        def work() -> None:
            for n in range(6):
                client.increment("process", key)
                if n == 2:
                    begun.release()

        callers = [Caller(work) for _ in range(32)]
        assert begun.acquire(timeout=10)
        proxy.fail_next_reply(fault)
        assert [caller.result() for caller in callers] == [None] * 32

        assert proxy.faults == 1
        assert client.get("process", key).value == b"192"


@pytest.mark.parametrize("reason", ["", "CAPABILITY_MISSING"])
def test_a_daemon_without_connect_is_called_unary_from_then_on(reason: str) -> None:
    with (
        Connecting(ends_with=status(UNIMPLEMENTED, reason)) as daemon,
        StateClient(daemon.target, retry=ONCE) as client,
    ):
        assert [client.get("process", key).value for key in ("a", "b")] == [b"a", b"b"]

    assert (daemon.frames, daemon.unary) == ([["a"]], ["a", "b"])


def test_a_large_request_goes_by_itself(running: RunningSidecar, key: str) -> None:
    value = bytes(300 * 1024)
    with running.client() as client:
        client.set("process", key, value)
        assert not readers(), "no stream was begun"
        assert client.get("process", key).value == value


def test_the_time_of_one_call_ends_while_others_go_on() -> None:
    with Connecting() as daemon, StateClient(daemon.target, retry=ONCE) as client:
        late = Caller(lambda: client.get("process", HELD, timeout_s=0.3))
        assert daemon.held.acquire(timeout=10)
        assert client.get("process", "a").value == b"a"
        assert isinstance(late.result(), DeadlineExceeded)
        assert client.get("process", "b").value == b"b"
        assert len(readers()) == 1, "one stream for all: others were answered, so the connection is good"

    assert daemon.frames == [[HELD], ["a"], ["b"]]


def test_a_stream_that_drains_says_so_and_one_that_breaks_that_it_is_open() -> None:
    for ended, expected in (
        (status(grpc.StatusCode.UNAVAILABLE, "DRAINING"), "DRAINING"),
        (status(grpc.StatusCode.UNAVAILABLE), ""),
    ):
        with Connecting(ends_with=ended) as daemon, StateClient(daemon.target, retry=ONCE) as client:
            error = failure(lambda client=client: client.get("process", "a"))  # type: ignore[misc]  # of this turn
            assert (type(error), error.reason) == (Unavailable, expected)


def test_another_token_is_another_stream_and_the_old_one_ends_when_it_is_answered() -> None:
    token = ["first"]
    with Connecting() as daemon, StateClient(daemon.target, retry=ONCE, token=lambda: token[0]) as client:
        client.get("process", "a")
        late = Caller(lambda: client.get("process", HELD).value)
        assert daemon.held.acquire(timeout=10)
        token[0] = "second"
        assert client.get("process", "b").value == b"b"
        assert late.result() == HELD.encode(), "the old stream was half-closed, not cut"
        assert daemon.over.acquire(timeout=10)

    assert daemon.tokens == ["Bearer first", "Bearer second"]


def test_a_refused_token_ends_its_stream() -> None:
    refused = status(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    with Connecting(ends_with=refused) as daemon, StateClient(daemon.target, token="no") as client:
        for _ in range(2):
            assert isinstance(failure(lambda: client.get("process", "a")), Unauthenticated)

    assert len(daemon.tokens) == 2


def test_a_closed_client_fails_what_is_in_flight_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with Connecting() as daemon:
        server = set(threading.enumerate())
        client = StateClient(daemon.target)
        late = Caller(lambda: client.get("process", HELD))
        assert daemon.held.acquire(timeout=10)
        assert readers()
        client.close()
        came = late.result()
        assert isinstance(came, InvalidRequest)
        assert came.reason == "CLIENT_CLOSED"
        assert not readers()
        assert daemon.over.acquire(timeout=10)
    for thread in set(threading.enumerate()) - server - before:
        thread.join(10)
        assert not thread.is_alive(), thread


def test_a_dropped_client_ends_its_stream_without_a_word() -> None:
    with Connecting() as daemon:
        client = StateClient(daemon.target)
        client.get("process", "a")
        (reader,) = readers()
        del client
        gc.collect()

        reader.join(10)
        assert not reader.is_alive()
        assert daemon.over.acquire(timeout=10)


@pytest.mark.parametrize("waits", [False, True], ids=["idle", "with a thread that waits"])
def test_an_interpreter_ends_without_a_word_though_nothing_was_closed(waits: bool) -> None:
    program = """
import sys, threading
from statesidecar import StateClient
client = StateClient(sys.argv[1])
client.get("process", "a")
if sys.argv[2] == "True":
    threading.Thread(target=client.get, args=("process", "held"), kwargs={"timeout_s": 60.0}, daemon=True).start()
    sys.stdin.readline()
"""
    with Connecting() as daemon:
        running = subprocess.Popen(
            [sys.executable, "-c", program, daemon.target, str(waits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if waits:
            assert daemon.held.acquire(timeout=20)
        said, _ = running.communicate("\n", timeout=30)

    assert (said, running.returncode) == ("", 0)


def test_an_interrupted_caller_leaves_nothing_behind() -> None:
    """As Ctrl-C does it: the call ends, the client goes on."""
    program = """
import sys
from statesidecar import StateClient
client = StateClient(sys.argv[1])
print("began", flush=True)
try:
    client.get("process", "held", timeout_s=60.0)
except KeyboardInterrupt:
    print(client.get("process", "a").value, client._connection.stream._frames.in_flight)
"""
    with Connecting() as daemon:
        process = subprocess.Popen([sys.executable, "-c", program, daemon.target], stdout=subprocess.PIPE, text=True)
        assert daemon.held.acquire(timeout=20)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)

    assert said.splitlines() == ["began", "b'a' 0"]
