"""Consume over the wire: what a consumer is sent, what becomes of what it says, and how a stream ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core.errors import StoreUnavailable
from sidecar.rpc import consuming
from sidecar.rpc.calls import Admission
from sidecar.rpc.outbox_service import OutboxService
from statesidecar.v1 import outbox_service_pb2 as pb
from statesidecar.v1.outbox_service_pb2_grpc import OutboxServiceStub, add_OutboxServiceServicer_to_server
from tests.rpc.graves import serving
from tests.rpc.queues import NS, Queues, Served, pending, served
from tests.support.statuses import Refusal, refusal_of

INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "CONSUMER_INVALID")


@asynccontextmanager
async def offered(queues: Queues, directory: Path, **options: Any) -> AsyncIterator[tuple[Any, Served]]:
    """The stub of a served OutboxService."""
    async with served(queues, directory, **options) as (target, service), grpc.aio.insecure_channel(target) as channel:
        yield OutboxServiceStub(channel), service


class Stream:
    """A consumer as any program would be one."""

    def __init__(self, stub: Any) -> None:
        self.call = stub.Consume()
        self.got: list[pb.DeliveredMessage] = []

    async def begin(self, namespace: str = NS, **fields: Any) -> Stream:
        # One that is refused at once has its status read, not written.
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self.call.write(pb.ConsumeRequest(namespace=namespace, **fields))
        return self

    async def take(self, count: int) -> list[pb.DeliveredMessage]:
        """The next messages, however they come."""
        while len(self.got) < count:
            response = await self.call.read()
            assert response is not grpc.aio.EOF, await self.call.details()
            self.got += response.messages
        taken, self.got = self.got[:count], self.got[count:]
        return taken

    async def ack(self, *messages: pb.DeliveredMessage) -> None:
        await self.call.write(pb.ConsumeRequest(acknowledged_ids=[message.id for message in messages]))

    async def refuse(self, message: pb.DeliveredMessage, reason: str = "no", *, permanent: bool = False) -> None:
        refusal = pb.Refusal(id=message.id, reason=reason, permanent=permanent)
        await self.call.write(pb.ConsumeRequest(refused=[refusal]))

    async def end(self) -> grpc.StatusCode:
        """No more requests; how the daemon takes it."""
        await self.call.done_writing()
        while await self.call.read() is not grpc.aio.EOF:
            pass
        code: grpc.StatusCode = await self.call.code()
        return code

    async def refused(self) -> Refusal:
        """How it was ended; what came before that can still be taken."""
        try:
            while (response := await self.call.read()) is not grpc.aio.EOF:
                self.got += response.messages
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)
        raise AssertionError("the stream ended well")


async def gone(admission: Admission) -> None:
    """Until no stream is open on the daemon's side."""
    while admission.streams:  # noqa: ASYNC110  # a count that has no signal
        await asyncio.sleep(0)


async def test_a_message_comes_with_all_that_was_committed(tmp_path: Path) -> None:
    message = pending(7, "cart")
    async with offered(Queues(message), tmp_path) as (stub, _):
        stream = await Stream(stub).begin()
        [came] = await stream.take(1)
        await stream.ack(came)
        assert await stream.end() is grpc.StatusCode.OK

    assert (came.id, came.key, came.version, came.attempt) == (message.id, "cart", 7, 1)
    assert came.commit_time.ToMilliseconds() == message.commit_time
    assert (came.message.topic, came.message.payload) == ("placed", b"payload 7")
    assert (came.message.content_type, dict(came.message.attributes)) == ("text/plain", {"number": "7"})


async def test_messages_of_a_key_come_one_after_the_other_and_keys_beside_each_other(tmp_path: Path) -> None:
    queues = Queues(pending(1, "a"), pending(2, "a"), pending(3, "b"))
    async with offered(queues, tmp_path) as (stub, _):
        stream = await Stream(stub).begin()
        first = await stream.take(2)
        await stream.ack(first[0])
        [second] = await stream.take(1)
        await stream.ack(first[1], second)
        await stream.end()

    assert [message.version for message in (*first, second)] == [1, 3, 2]
    assert not queues.waiting


async def test_what_gathers_goes_together_and_what_is_large_goes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "RESPONSE_BYTES_MAX", 1000)
    sizes = {1: 400, 2: 600, 3: 1500, 4: 10}
    queues = Queues(*(pending(number, payload=bytes(size)) for number, size in sizes.items()))
    async with offered(queues, tmp_path) as (stub, _):
        stream = await Stream(stub).begin()
        told = [await stream.call.read() for _ in range(3)]
        stream.call.cancel()

    assert [[message.version for message in response.messages] for response in told] == [[1, 2], [3], [4]]


async def test_no_more_is_under_way_than_the_consumer_wants(tmp_path: Path) -> None:
    async with offered(Queues(*(pending(number) for number in range(1, 400))), tmp_path) as (stub, service):
        two = await Stream(stub).begin(in_flight_max=2)
        taken = await two.take(2)
        [member] = service.queues.members
        assert len(member.tasks) == member.in_flight_max == 2
        await two.ack(taken[0])
        await two.take(1)
        default = await Stream(stub).begin()
        await default.take(100)

        assert [len(one.tasks) for one in service.queues.members] == [2, 100]
        for stream in (two, default):
            stream.call.cancel()


async def test_topics_are_as_they_were_asked_for(tmp_path: Path) -> None:
    queues = Queues(pending(1, topic="placed"), pending(2, topic="paid"), pending(3, topic="sent"))
    async with offered(queues, tmp_path) as (stub, _):
        stream = await Stream(stub).begin(topics=["paid", "sent", "paid"])
        came = await stream.take(2)
        assert queues.members[0].topics == {"paid", "sent"}
        stream.call.cancel()

    assert [message.message.topic for message in came] == ["paid", "sent"]


async def test_a_refused_message_comes_again_and_says_how_often(tmp_path: Path) -> None:
    queues = Queues(pending(1, "a"), pending(2, "a"))
    attempts = []
    async with offered(queues, tmp_path) as (stub, _):
        stream = await Stream(stub).begin()
        for _ in range(3):
            [came] = await stream.take(1)
            attempts.append((came.version, came.attempt))
            await stream.refuse(came, "not today")
        [following] = await stream.take(1)
        stream.call.cancel()

    assert attempts == [(1, 1), (1, 2), (1, 3)]
    assert (following.version, following.attempt) == (2, 1)
    [dead] = queues.buried
    assert (dead.message.version, dead.reason, dead.attempts) == (1, "not today", 3)


async def test_what_is_refused_for_ever_is_given_up_at_once(tmp_path: Path) -> None:
    queues = Queues(pending(1, "a"), pending(2, "a"))
    async with offered(queues, tmp_path) as (stub, _):
        stream = await Stream(stub).begin()
        [came] = await stream.take(1)
        await stream.refuse(came, "é" * 512, permanent=True)
        assert [message.version for message in await stream.take(1)] == [2]
        stream.call.cancel()

    assert [(dead.attempts, dead.reason) for dead in queues.buried] == [(1, "é" * 512)]


async def test_acknowledgements_that_name_nothing_do_nothing(tmp_path: Path) -> None:
    queues = Queues(pending(1, "a"), pending(2, "a"))
    async with offered(queues, tmp_path) as (stub, _):
        stream = await Stream(stub).begin()
        [first] = await stream.take(1)
        await stream.call.write(pb.ConsumeRequest(acknowledged_ids=["unknown", "", first.id, first.id]))
        [second] = await stream.take(1)
        await stream.ack(first)
        await stream.refuse(first)
        await stream.call.write(pb.ConsumeRequest())
        await stream.ack(second)
        assert await stream.end() is grpc.StatusCode.OK

    assert not queues.waiting
    assert not queues.buried


# ---- how it ends


async def test_a_half_close_waits_for_nothing_and_marks_what_was_acknowledged_before(tmp_path: Path) -> None:
    queues = Queues(pending(1), pending(2))
    async with offered(queues, tmp_path) as (stub, service):
        stream = await Stream(stub).begin()
        first, second = await stream.take(2)
        await stream.ack(first)

        assert await stream.end() is grpc.StatusCode.OK
        await gone(service.admission)
        assert list(queues.waiting) == [second.id]
        other = await Stream(stub).begin()
        assert [message.id for message in await other.take(1)] == [second.id]
        other.call.cancel()


@pytest.mark.parametrize("how", ["cancelled", "cut"])
async def test_what_a_consumer_that_vanishes_had_comes_to_others_at_once(tmp_path: Path, how: str) -> None:
    queues = Queues(pending(1), pending(2))
    async with served(queues, tmp_path) as (target, service), grpc.aio.insecure_channel(target) as channel:
        async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as lost:
            vanishing = await Stream(OutboxServiceStub(lost)).begin()
            had = await vanishing.take(2)
            other = await Stream(OutboxServiceStub(channel)).begin()
            if how == "cancelled":
                vanishing.call.cancel()
        came = await other.take(2)
        assert {message.id for message in came} == {message.id for message in had}
        assert {message.attempt for message in came} == {1}
        other.call.cancel()
        await gone(service.admission)

    assert service.admission.in_flight == 0


async def test_a_stop_sends_nothing_more_and_still_hears_acknowledgements(tmp_path: Path) -> None:
    queues = Queues(pending(1, "a"), pending(2, "a"), pending(3, "b"))
    async with offered(queues, tmp_path) as (stub, service):
        stream = await Stream(stub).begin()
        first, _ = await stream.take(2)
        draining = asyncio.create_task(service.admission.drain())
        await service.admission.drain_began.wait()
        await stream.ack(first)
        refused = await stream.refused()
        late = await (await Stream(stub).begin()).refused()
        await draining
        await gone(service.admission)

    assert not stream.got
    assert refused.told == late.told == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert refused.retry is not None
    assert [message.version for message in queues.waiting.values()] == [2, 3]


async def test_a_stop_does_not_wait_for_acknowledgements_that_do_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "LAST_ACKNOWLEDGEMENTS_S", 0.01)
    queues = Queues(pending(1))
    async with offered(queues, tmp_path) as (stub, service):
        holding, idle, silent = await Stream(stub).begin(), await Stream(stub).begin(topics=["paid"]), Stream(stub)
        await holding.take(1)
        await silent.call.wait_for_connection()
        while service.admission.streams < 3:  # noqa: ASYNC110  # a count that has no signal
            await asyncio.sleep(0)
        assert service.admission.in_flight == 0

        await service.admission.drain()
        told = [await stream.refused() for stream in (holding, idle, silent)]
        await gone(service.admission)

    assert {one.reason for one in told} == {"DRAINING"}
    assert len(queues.waiting) == 1


async def test_what_could_not_be_sent_yet_is_let_go_at_once_by_a_stop(tmp_path: Path) -> None:
    """A caller that does not read stops the sending, not the daemon."""
    queues = Queues(*(pending(number, payload=bytes(200_000)) for number in range(1, 101)))
    async with offered(queues, tmp_path) as (stub, service):
        stream = await Stream(stub).begin()
        await stream.take(1)
        [member] = queues.members
        assert len(member.tasks) == 100
        draining = asyncio.create_task(service.admission.drain())
        await service.admission.drain_began.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert 0 < len(member.tasks) < 50
        stream.call.cancel()
        await draining
        await gone(service.admission)


async def test_a_consumer_that_can_not_go_on_says_why(tmp_path: Path) -> None:
    queues = Queues(pending(1))
    async with offered(queues, tmp_path) as (stub, service):
        stream = await Stream(stub).begin()
        await stream.take(1)
        [member] = queues.members
        member.error = StoreUnavailable("the store is away")
        member.changed.set()
        refused = await stream.refused()
        await gone(service.admission)

    assert refused.told == (grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE")


async def test_streams_have_a_bound_of_their_own(tmp_path: Path) -> None:
    async with offered(Queues(pending(1)), tmp_path, requests_max=1) as (stub, service):
        first = await Stream(stub).begin()
        await first.take(1)
        refused = await (await Stream(stub).begin()).refused()
        listed = await stub.ListDeadLetters(pb.ListDeadLettersRequest(namespace=NS))
        await first.end()
        await gone(service.admission)
        again = await Stream(stub).begin()
        await again.take(1)
        again.call.cancel()

    assert refused.told == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert not listed.dead_letters


# ---- what is no consumer


@pytest.mark.parametrize(
    "first",
    [
        {"in_flight_max": 1001},
        {"in_flight_max": -1},
        {"topics": [""]},
        {"topics": ["x" * 257]},
        {"topics": [str(number) for number in range(101)]},
        {"acknowledged_ids": ["x"]},
        {"refused": [pb.Refusal(id="x")]},
    ],
    ids=str,
)
async def test_a_first_request_that_names_no_consumer_is_refused(tmp_path: Path, first: dict[str, Any]) -> None:
    async with offered(Queues(), tmp_path) as (stub, _):
        assert (await (await Stream(stub).begin(**first)).refused()).told == INVALID


async def test_a_stream_without_requests_is_refused(tmp_path: Path) -> None:
    async with offered(Queues(), tmp_path) as (stub, _):
        stream = Stream(stub)
        await stream.call.done_writing()

        assert (await stream.refused()).told == INVALID


@pytest.mark.parametrize(
    "later",
    [
        {"namespace": NS},
        {"topics": ["placed"]},
        {"in_flight_max": 5},
        {"refused": [pb.Refusal(id="x", reason="x" * 1025)]},
    ],
    ids=str,
)
async def test_a_later_request_only_acknowledges(tmp_path: Path, later: dict[str, Any]) -> None:
    async with offered(Queues(pending(1)), tmp_path) as (stub, service):
        stream = await Stream(stub).begin()
        await stream.take(1)
        await stream.call.write(pb.ConsumeRequest(**later))
        refused = await stream.refused()
        await gone(service.admission)

    assert refused.told == INVALID


async def test_fields_of_a_later_release_are_refused_wherever_they_are(tmp_path: Path) -> None:
    newer = b"\xca\x3e\x03new"
    first = pb.ConsumeRequest.FromString(pb.ConsumeRequest(namespace=NS).SerializeToString() + newer)
    later = pb.ConsumeRequest(refused=[pb.Refusal.FromString(newer)])
    async with offered(Queues(), tmp_path) as (stub, _):
        stream = Stream(stub)
        await stream.call.write(first)
        at_first = await stream.refused()
        stream = await Stream(stub).begin()
        await stream.call.write(later)
        within = await stream.refused()

    assert at_first.reason == within.reason == "FIELD_UNKNOWN"


@pytest.mark.parametrize(
    ("namespace", "told"),
    [
        ("", (grpc.StatusCode.INVALID_ARGUMENT, "NAMESPACE_INVALID")),
        ("sunk", (grpc.StatusCode.FAILED_PRECONDITION, "OUTBOX_HAS_SINK")),
    ],
)
async def test_a_namespace_that_nobody_can_consume_is_refused(
    tmp_path: Path, namespace: str, told: tuple[grpc.StatusCode, str]
) -> None:
    async with offered(Queues(), tmp_path) as (stub, _):
        assert (await (await Stream(stub).begin(namespace)).refused()).told == told


async def test_a_daemon_without_an_outbox_says_so() -> None:
    async with (
        serving(lambda server: add_OutboxServiceServicer_to_server(OutboxService(), server)) as target,
        grpc.aio.insecure_channel(target) as channel,
    ):
        refused = await (await Stream(OutboxServiceStub(channel)).begin()).refused()

    assert refused.told == (grpc.StatusCode.UNIMPLEMENTED, "CAPABILITY_MISSING")
