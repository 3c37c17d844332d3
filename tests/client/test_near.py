"""The near caches of both clients over a real daemon, and what they ask for without one."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from statesidecar import Consistency, GetResult, NearCache, RetryPolicy, SetOp, StateClient, Tier, errors
from statesidecar._effects import Attempt
from statesidecar._near import Near
from statesidecar._near_calls import SLOW_S, NearStates
from statesidecar.errors import CapabilityMissing, StateSidecarError, Unavailable
from statesidecar.testing import RunningSidecar
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.client.proxy import Proxy
from tests.client.scripted import Asyncio, Blocking, Server

Client = Blocking | Asyncio
Connect = Callable[..., Client]

NS = "model"
OLD = NearCache(max_age_s=600.0)
"""What it forgets in time, it was told of."""
READS_MAX = 20_000


def read_until(client: Client, key: str, wanted: Callable[[GetResult], bool]) -> GetResult:
    """Reads until an answer is as wanted: what is waited for is on its way."""
    for _ in range(READS_MAX):
        result: GetResult = client.call("get", NS, key)
        if wanted(result):
            return result
    raise AssertionError("it never came")


def from_near(result: GetResult) -> bool:
    return result.max_age_s is not None


@pytest.fixture
def near_client(connect: Connect, running: RunningSidecar) -> Client:
    return connect(running.target, near={NS: OLD})


def test_a_copy_answers_until_another_client_writes(near_client: Client, running: RunningSidecar, key: str) -> None:
    with StateClient(running.target) as other:
        first = other.set(NS, key, b"one").version
        result = read_until(near_client, key, from_near)
        assert (result.version, result.value, result.served_by) == (first, b"one", Tier.NEAR)

        second = other.set(NS, key, b"two").version
        result = read_until(near_client, key, lambda result: result.version == second)
        assert result.value == b"two"
        assert read_until(near_client, key, from_near).version == second

        other.delete(NS, key)
        read_until(near_client, key, lambda result: not result.found)


def test_other_namespaces_have_no_copies(near_client: Client, key: str) -> None:
    near_client.call("set", "other", key, b"one")
    assert [near_client.call("get", "other", key).max_age_s for _ in range(5)] == [None] * 5


def test_reads_that_a_copy_may_not_answer_go_to_the_daemon(near_client: Client, key: str) -> None:
    version = near_client.call("set", NS, key, b"one").version
    read_until(near_client, key, from_near)
    assert not from_near(near_client.call("get", NS, key, consistency=Consistency.STRONG))
    assert not from_near(near_client.call("get", NS, key, max_schema_version=3))
    read_until(near_client, key, from_near)
    assert from_near(near_client.call("get", NS, key, min_version=version))


@pytest.mark.parametrize(
    "write",
    [
        lambda client, key, version: client.call("set", NS, key, b"two"),
        lambda client, key, version: client.call("cas", NS, key, b"two", expected_version=version),
        lambda client, key, version: client.call("transact", NS, [SetOp(key=key, value=b"two")]),
        lambda client, key, version: client.call("delete", NS, key),
        lambda client, key, version: client.call("delete_prefix", NS, key),
        lambda client, key, version: client.call("increment", NS, key),
        lambda client, key, version: client.call("touch", NS, key, ttl=60.0),
    ],
    ids=["set", "cas", "transact", "delete", "delete_prefix", "increment", "touch"],
)
def test_a_client_s_own_write_is_forgotten_at_once(
    near_client: Client, key: str, write: Callable[[Client, str, int], Any]
) -> None:
    version = near_client.call("set", NS, key, b"1").version
    read_until(near_client, key, from_near)
    cache: Near = near_client.client._near[NS]
    cache.changed = lambda key, version: None if version else Near.changed(cache, key, version)  # type: ignore[method-assign]  # deaf to the daemon
    write(near_client, key, version)
    assert not from_near(near_client.call("get", NS, key))


def test_a_lost_compare_and_set_is_read_from_the_daemon(near_client: Client, key: str) -> None:
    version = near_client.call("set", NS, key, b"1").version
    read_until(near_client, key, from_near)
    with pytest.raises(errors.VersionConflict):
        near_client.call("cas", NS, key, b"2", expected_version=version - 1)
    assert not from_near(near_client.call("get", NS, key))


def test_nothing_is_returned_while_the_watch_is_silent(connect: Connect, running: RunningSidecar, key: str) -> None:
    with Proxy(running.target) as proxy:
        client = connect(proxy.target, near={NS: OLD}, timeout_s=1.0)
        client.call("set", NS, key, b"one")
        read_until(client, key, from_near)
        cache: Near = client.client._near[NS]
        clock, ahead_s = cache._clock, 0.0
        cache._clock = lambda: clock() + ahead_s
        proxy.silence()
        assert from_near(client.call("get", NS, key)), "it was heard just now"
        ahead_s = 3.0
        with pytest.raises(StateSidecarError):
            client.call("get", NS, key)


def test_a_cut_watch_is_begun_anew(connect: Connect, running: RunningSidecar, key: str) -> None:
    with Proxy(running.target) as proxy:
        client = connect(proxy.target, near={NS: OLD})
        client.call("set", NS, key, b"one")
        read_until(client, key, from_near)
        proxy.cut()
        read_until(client, key, lambda result: not from_near(result))
        read_until(client, key, from_near)


def test_a_daemon_without_watch_is_asked_as_by_any_client(server: Server, connect: Connect) -> None:
    client = connect(server.target, near={NS: OLD})
    entry = types_pb2.Entry(namespace=NS, key="a", value=b"v", version=3)
    server.expect(*[pb.GetResponse(entry=entry, mode=types_pb2.SERVING_MODE_NORMAL)] * 4)
    assert [client.call("get", NS, "a").max_age_s for _ in range(4)] == [None] * 4
    assert {request.consistency for request in server.requests} == {types_pb2.CONSISTENCY_CACHED}


# ---- without a daemon


def _states() -> tuple[NearStates, Near]:
    states = NearStates(5.0, RetryPolicy(), near={NS: OLD})
    near = states.near[NS]
    near.heard()
    near.reading("a", 0)
    return states, near


def _get(states: NearStates, near: Near) -> Any:
    return states.near_get(
        near, "a", consistency=Consistency.CACHED, min_version=None, max_schema_version=0, timeout_s=None
    )


def _reply(version: int) -> pb.GetResponse:
    entry = types_pb2.Entry(namespace=NS, key="a", value=b"v", version=version)
    return pb.GetResponse(entry=entry, mode=types_pb2.SERVING_MODE_NORMAL)


def _asked(effect: Any) -> int:
    assert isinstance(effect, Attempt)
    consistency: int = effect.request.consistency
    return consistency


def test_a_copy_is_read_from_the_authority() -> None:
    states, near = _states()
    plan = _get(states, near)
    assert _asked(next(plan)) == Consistency.STRONG
    with pytest.raises(StopIteration):
        plan.send(_reply(3))
    assert near.hit("a", Consistency.CACHED, None, 0) is not None


@pytest.mark.parametrize("error", [Unavailable, errors.DeadlineExceeded, errors.FailedPrecondition])
def test_where_the_authority_does_not_answer_the_daemon_is_asked_plainly(error: type[StateSidecarError]) -> None:
    states, near = _states()
    plan = _get(states, near)
    next(plan)
    effect = plan.throw(error("", "away", code=grpc.StatusCode.UNAVAILABLE))
    assert _asked(effect) == Consistency.CACHED
    with pytest.raises(StopIteration) as stop:
        plan.send(_reply(3))
    assert stop.value.value.version == 3
    assert near.hit("a", Consistency.CACHED, None, 0) is None


def test_an_authority_that_went_back_in_time_is_left_to_the_plain_call() -> None:
    states, near = _states()
    states.floors.observe(NS, "a", 9)
    plan = _get(states, near)
    next(plan)
    assert _asked(plan.send(_reply(3))) == Consistency.CACHED


def test_what_may_not_be_watched_is_tried_again_slowly_and_the_rest_soon() -> None:
    states, near = _states()
    following = states.near_following(near)
    missing = CapabilityMissing("CAPABILITY_MISSING", "no feed", code=grpc.StatusCode.UNIMPLEMENTED)
    assert following.failed(missing) == SLOW_S
    assert near.reading("a", 0) is None, "nothing is kept meanwhile"
    gone = Unavailable("", "the stream ended", code=grpc.StatusCode.UNAVAILABLE)
    assert following.failed(gone) <= RetryPolicy().backoff_max_s


# ---- ends


def _watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("state-sidecar")}


def test_close_leaves_no_thread(running: RunningSidecar, key: str) -> None:
    before = _watchers()
    client = Blocking(running.target, near={NS: OLD})
    client.call("set", NS, key, b"one")
    read_until(client, key, from_near)
    (thread,) = [one for one in _watchers() - before if one.name == "state-sidecar-near"]
    client.client.close()
    assert not thread.is_alive()
    with pytest.raises(errors.InvalidRequest):
        client.call("get", NS, key)


def test_a_client_that_is_dropped_watches_no_longer(running: RunningSidecar, key: str) -> None:
    before = _watchers()
    client = Blocking(running.target, near={NS: OLD})
    client.call("set", NS, key, b"one")
    read_until(client, key, from_near)
    (thread,) = [one for one in _watchers() - before if one.name == "state-sidecar-near"]
    del client
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


SCRIPTS = {
    "blocking": """
import sys
from statesidecar import NearCache, StateClient
client = StateClient(sys.argv[1], near={"model": NearCache()})
client.set("model", "k", b"v")
while client.get("model", "k").max_age_s is None:
    pass
""",
    "asyncio": """
import asyncio, sys
from statesidecar import AsyncStateClient, NearCache
async def main():
    global client
    client = AsyncStateClient(sys.argv[1], near={"model": NearCache()})
    await client.set("model", "k", b"v")
    while (await client.get("model", "k")).max_age_s is None:
        pass
asyncio.run(main())
""",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_an_interpreter_ends_quietly_without_close(running: RunningSidecar, script: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", script, running.target], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
