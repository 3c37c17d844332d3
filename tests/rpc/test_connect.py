"""Connect: each call of a frame is answered by itself, as its own RPC would be."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status  # type: ignore[import-untyped]  # it has no stubs

from sidecar.rpc.connect.calls import CARRIED
from sidecar.rpc.connect.stream import CALLS_MAX, FRAME_BYTES_MAX
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.security.callers import request_for
from tests.support.daemon import RunningDaemon
from tests.support.frames import field_of, frames, told

INVALID, ABORTED = grpc.StatusCode.INVALID_ARGUMENT.value[0], grpc.StatusCode.ABORTED.value[0]
DEADLINE, UNIMPLEMENTED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0], grpc.StatusCode.UNIMPLEMENTED.value[0]
NS = "process"
PREFIXED = {"List", "DeletePrefix"}
STRONG = types.CONSISTENCY_STRONG


def get(key: str, **given: Any) -> pb.GetRequest:
    return pb.GetRequest(namespace=NS, key=key, **given)


async def put(daemon: RunningDaemon, *keys: str, value: bytes = b"v") -> None:
    for key in keys:
        await daemon.state.Set(pb.SetRequest(namespace=NS, key=key, value=value))


def test_every_unary_rpc_of_the_service_is_carried() -> None:
    methods = pb.DESCRIPTOR.services_by_name["StateService"].methods
    assert set(CARRIED.values()) == {one.name for one in methods if not one.server_streaming}


@pytest.mark.parametrize("rpc", sorted(CARRIED.values()))
async def test_a_call_is_answered_as_its_rpc_is(volatile: RunningDaemon, rpc: str) -> None:
    """Twice the same under a request id of its own where it has one: both ways then answer the same, or refuse the same."""
    await put(volatile, "key")
    await volatile.state.BatchGet(pb.BatchGetRequest(namespace=NS, keys=["key", "none"]))
    await volatile.followups_done()
    checkpoint = (await volatile.state.Checkpoint(pb.CheckpointRequest(namespace=NS, key="key"))).checkpoint
    method = pb.DESCRIPTOR.services_by_name["StateService"].methods_by_name[rpc]
    given = {"namespace": NS, "key": "key", "key_prefix": "k", "request_id": "one", "keys": ["key", "none"]}
    given["checkpoint_id"] = checkpoint.checkpoint_id
    request = request_for(method, **{name: it for name, it in given.items() if name != "key_prefix" or rpc in PREFIXED})
    if rpc == "Update":
        request.increment.delta, request.key, request.create = 1, "counter", True
    elif rpc == "Transact":
        request.operations.add(set=pb.SetRequest(key="a"))
    async with frames(volatile.state) as caller:
        [answer] = await caller.ask(request)
        try:
            by_itself = await getattr(volatile.state, rpc)(request)
        except grpc.aio.AioRpcError as exc:
            by_itself = rpc_status.from_call(exc)

    if rpc == "DeleteCheckpoint":  # the second one finds that the first did it
        assert isinstance(answer, pb.DeleteCheckpointResponse)
    else:
        assert type(answer).__name__ == type(by_itself).__name__
        assert answer == by_itself


async def test_a_call_that_is_refused_is_no_other_calls_error(volatile: RunningDaemon) -> None:
    await put(volatile, "a", "b")
    async with frames(volatile.state) as caller:
        answers = await caller.ask(
            get("a"), get(""), get("b"), pb.GetRequest(key="a"), get("a", min_version=-1), get("a", consistency=7)
        )

    assert [answers[at].entry.key for at in (0, 2)] == ["a", "b"]
    reasons = ["KEY_INVALID", "NAMESPACE_INVALID", "VERSION_INVALID", "CONSISTENCY_INVALID"]
    assert [told(answers[at]) for at in (1, 3, 4, 5)] == [(INVALID, reason) for reason in reasons]


async def test_a_conflict_says_what_its_rpc_says(volatile: RunningDaemon) -> None:
    await put(volatile, "a")
    async with frames(volatile.state) as caller:
        request = pb.CASRequest(namespace=NS, key="a", expected_version=1)
        [answer] = await caller.ask(request)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await volatile.state.CAS(request)

    assert answer == rpc_status.from_call(caught.value)
    assert told(answer) == (ABORTED, "VERSION_MISMATCH")


async def test_reads_of_a_frame_are_one_read_of_the_authority(daemon: RunningDaemon) -> None:
    keys = [f"key {number}" for number in range(50)]
    await put(daemon, *keys)
    store = daemon.switch()
    async with frames(daemon.state) as caller:
        answers = await caller.ask(*(get(key, consistency=STRONG) for key in keys))

    assert [answer.entry.key for answer in answers] == keys
    assert store.calls["get"] == 1


async def test_reads_with_other_needs_are_apart(volatile: RunningDaemon) -> None:
    await put(volatile, "a")
    store = volatile.switch()
    async with frames(volatile.state) as caller:
        answers = await caller.ask(
            get("a", consistency=STRONG),
            pb.GetRequest(namespace="session", key="a", consistency=STRONG),
            get("a", consistency=STRONG, max_schema_version=3),
        )

    assert [answer.HasField("entry") for answer in answers] == [True, False, True]
    assert store.calls["get"] == 3


async def test_a_hit_does_not_wait_for_a_miss_of_its_frame(volatile: RunningDaemon) -> None:
    await put(volatile, "hot")
    await volatile.state.Get(get("hot"))
    store = volatile.switch()
    held = store.hold("get")
    async with frames(volatile.state) as caller:
        hot, cold = await caller.send(get("hot"), get("cold"))
        [answer] = await caller.answers([hot])
        assert answer.entry.value == b"v"
        assert cold not in caller.results
        held.release()
        [missed] = await caller.answers([cold])
    assert not missed.HasField("entry")


async def test_a_hit_that_came_early_is_answered_once_though_the_rest_fails(volatile: RunningDaemon) -> None:
    await put(volatile, "hot")
    await volatile.state.Get(get("hot"))
    volatile.switch().fail_next("get", ValueError("of the test"))
    async with frames(volatile.state) as caller:
        hot, cold = await caller.ask(get("hot"), get("cold"))
    assert hot.entry.value == b"v"
    assert told(cold) == (grpc.StatusCode.INTERNAL.value[0], "INTERNAL")


async def test_writes_of_a_frame_are_under_way_together(volatile: RunningDaemon) -> None:
    store = volatile.switch()
    held = store.hold("commit")
    async with frames(volatile.state) as caller:
        ids = await caller.send(*(pb.SetRequest(namespace=NS, key=f"{number}") for number in range(20)))
        await volatile.in_flight(20)
        held.release()
        answers = await caller.answers(ids)
    assert len({answer.version for answer in answers}) == 20


async def test_a_deadline_is_of_its_call_alone(volatile: RunningDaemon) -> None:
    await put(volatile, "a", "b")
    held = volatile.switch().hold("get")
    async with frames(volatile.state) as caller:
        [patient] = await caller.send(get("a", consistency=STRONG), timeout_s=20)
        [late] = await caller.ask(get("b", consistency=STRONG), timeout_s=0.05)
        none = await caller.ask(pb.ListRequest(namespace=NS), get("c"), timeout_s=0.0)
        assert [told(answer) for answer in (late, *none)] == [(DEADLINE, "DEADLINE_EXCEEDED")] * 3
        held.release()
        [answer] = await caller.answers([patient])
    assert answer.entry.key == "a"


async def test_calls_of_one_frame_with_other_deadlines_do_not_wait_for_each_other(volatile: RunningDaemon) -> None:
    held = volatile.switch().hold("get")
    async with frames(volatile.state) as caller:
        calls = [pb.Call(id=one, get=get(str(one), consistency=STRONG)) for one in (1, 2)]
        calls[0].timeout.FromMilliseconds(50)
        await caller.stream.write(pb.ConnectRequest(calls=calls))
        [late] = await caller.answers([1])
        assert told(late) == (DEADLINE, "DEADLINE_EXCEEDED")
        held.release()
        [answer] = await caller.answers([2])
    assert isinstance(answer, pb.GetResponse)


async def test_no_more_is_read_than_there_is_room_for(volatile: RunningDaemon) -> None:
    """What is not read stays with the caller: its stream is held up, and nothing is lost."""
    held = volatile.switch().hold("get")
    async with frames(volatile.state) as caller:
        ids: list[int] = []
        for _ in range(4):
            ids += await caller.send(*(get(f"{len(ids) + one}", consistency=STRONG) for one in range(CALLS_MAX // 2)))
        await volatile.in_flight(CALLS_MAX)
        assert volatile.daemon._admission.in_flight == CALLS_MAX
        # Another's stream has its own room.
        async with frames(volatile.state) as other:
            [answer] = await other.ask(pb.SetRequest(namespace=NS, key="a"))
            assert answer.version
        held.release()
        answers = await caller.answers(ids)
    assert all(isinstance(answer, pb.GetResponse) for answer in answers)
    assert volatile.daemon._admission.in_flight == 0


async def test_large_answers_go_in_frames_of_their_own(volatile: RunningDaemon) -> None:
    large = b"x" * (FRAME_BYTES_MAX * 3 // 4)
    await put(volatile, "a", "b", "c", value=large)
    await put(volatile, "huge", value=b"y" * (2 * FRAME_BYTES_MAX))
    async with frames(volatile.state) as caller:
        answers = await caller.ask(get("a"), get("huge"), get("b"), get("c"))
        assert [len(answer.entry.value) for answer in answers] == [
            len(large),
            2 * FRAME_BYTES_MAX,
            len(large),
            len(large),
        ]
        assert [len(frame.results) for frame in caller.frames] == [1, 1, 1, 1]


async def test_what_is_no_request_says_so(volatile: RunningDaemon) -> None:
    unknown = pb.Call(id=2, get=get("a")).SerializeToString() + b"\xda\x1f\x01x"  # field 507
    inner = pb.GetRequest.FromString(get("a").SerializeToString() + b"\xda\x1f\x01x")
    async with frames(volatile.state) as caller:
        calls = [pb.Call(id=1), pb.Call.FromString(unknown), pb.Call(id=3, get=inner), pb.Call(id=4, get=get("a"))]
        await caller.stream.write(pb.ConnectRequest(calls=calls))
        empty, outer, nested, right = await caller.answers([1, 2, 3, 4])
    assert told(empty) == (UNIMPLEMENTED, "CAPABILITY_MISSING")
    assert [told(outer), told(nested)] == [(INVALID, "FIELD_UNKNOWN")] * 2
    assert isinstance(right, pb.GetResponse)


async def test_a_frame_that_is_none_ends_the_stream(volatile: RunningDaemon) -> None:
    for raw, reason in ((b"\xff\xff", "REQUEST_MALFORMED"), (b"\xda\x1f\x01x", "FIELD_UNKNOWN")):
        raw_stream: Any = volatile.channel.stream_stream("/statesidecar.v1.StateService/Connect")()
        await raw_stream.write(raw)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw_stream.read()
        assert told(rpc_status.from_call(caught.value)) == (INVALID, reason)


async def test_what_came_before_a_frame_that_is_none_is_answered(volatile: RunningDaemon) -> None:
    held = volatile.switch().hold("commit")
    stream: Any = volatile.channel.stream_stream(
        "/statesidecar.v1.StateService/Connect", response_deserializer=pb.ConnectResponse.FromString
    )()
    await stream.write(
        pb.ConnectRequest(calls=[pb.Call(id=1, set=pb.SetRequest(namespace=NS, key="a"))]).SerializeToString()
    )
    await held.reached.wait()
    await stream.write(b"\xff\xff")
    [served] = volatile.daemon._streams._open
    while served._reading:  # noqa: ASYNC110  # a state that has no signal
        await asyncio.sleep(0)
    held.release()
    [result] = (await stream.read()).results
    assert result.set.version
    with pytest.raises(grpc.aio.AioRpcError):
        await stream.read()


async def test_a_caller_that_has_no_more_gets_its_answers(volatile: RunningDaemon) -> None:
    held = volatile.switch().hold("get")
    async with frames(volatile.state) as caller:
        ids = await caller.send(get("a", consistency=STRONG))
        await caller.stream.done_writing()
        await volatile.in_flight(1)
        held.release()
        await caller.answers(ids)
        assert await caller.end() is grpc.StatusCode.OK


async def test_a_daemon_stops_while_a_stream_ends(volatile: RunningDaemon) -> None:
    """Half-closed, with an answer outstanding, when the drain begins."""
    held = volatile.switch().hold("get")
    async with frames(volatile.state) as caller:
        ids = await caller.send(get("a", consistency=STRONG))
        await held.reached.wait()
        await caller.stream.done_writing()
        [stream] = volatile.daemon._streams._open
        while stream._reading:  # noqa: ASYNC110  # a state that has no signal
            await asyncio.sleep(0)
        stopping = asyncio.get_running_loop().create_task(volatile.daemon.stop())
        await volatile.daemon._admission.drain_began.wait()
        held.release()
        await caller.answers(ids)
        assert await caller.end() is grpc.StatusCode.OK
        await stopping


async def test_a_draining_daemon_answers_what_it_has_read_and_says_so(volatile: RunningDaemon) -> None:
    held = volatile.switch().hold("commit")
    async with frames(volatile.state) as caller:
        ids = await caller.send(pb.SetRequest(namespace=NS, key="a"))
        await held.reached.wait()
        stopping = asyncio.get_running_loop().create_task(volatile.daemon.stop())
        await volatile.daemon._admission.drain_began.wait()
        held.release()
        [answer] = await caller.answers(ids)
        assert answer.version
        assert await caller.end() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.stream.read()
        assert told(rpc_status.from_call(caught.value)) == (grpc.StatusCode.UNAVAILABLE.value[0], "DRAINING")
        await stopping


async def test_a_write_goes_on_when_its_caller_is_gone_and_nothing_is_left_over(volatile: RunningDaemon) -> None:
    store = volatile.switch()
    writing, reading = store.hold("commit"), store.hold("get")
    async with frames(volatile.state) as caller:
        await caller.send(pb.SetRequest(namespace=NS, key="a", value=b"kept"), get("b", consistency=STRONG))
        await writing.reached.wait()
        await reading.reached.wait()
    while volatile.daemon._admission.in_flight:  # noqa: ASYNC110  # a count that has no signal
        await asyncio.sleep(0)
    writing.release()
    await writing.passed.wait()
    reading.release()
    assert (await volatile.state.Get(get("a", consistency=STRONG))).entry.value == b"kept"
    assert volatile.daemon._admission.streams == 0


async def test_each_call_is_counted_as_its_rpc(volatile: RunningDaemon) -> None:
    await put(volatile, "a")
    durations = volatile.daemon._telemetry.requests.durations
    async with frames(volatile.state) as caller:
        await caller.ask(get("a"), get("b"), get(""), pb.SetRequest(namespace=NS, key="c"))

    counts = {(at.rpc, at.outcome): one.distribution().count for at, one in durations.items()}
    assert counts == {("Get", "ok"): 2, ("Get", "invalid_argument"): 1, ("Set", "ok"): 2}


def test_a_request_has_one_field() -> None:
    assert field_of(pb.CASRequest()) == "cas"
