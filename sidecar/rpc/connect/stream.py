"""One stream: frames in, each call begun at once, answers out as they come.

Whoever has an answer while nobody writes, writes, and goes on until nothing is left: what was answered while a frame was on
its way goes into the next one, and a lone answer waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from sidecar.core.errors import DeadlineExceeded, Draining, InvalidRequest, Unsupported
from sidecar.rpc import convert
from sidecar.rpc.calls import Context, Malformed, refuse_unreadable
from sidecar.rpc.connect.calls import CARRIED, Aborted, CallContext, Door, status_of
from sidecar.rpc.large import CarriedResponse
from sidecar.rpc.status import as_sidecar_error
from sidecar.tiers.reading import Lookup
from statesidecar.v1 import state_service_pb2 as pb

if TYPE_CHECKING:
    from sidecar.rpc.connect.streams import Streams

CALLS_MAX = 1024
"""Calls of a stream that are not answered: the next frame is not read before there is room."""
SLICE = 64
"""Calls that are begun without a look at other streams."""
FRAME_BYTES_MAX = 1 << 20
"""Of answers that go together. One that is larger goes alone."""
UNSENT_BYTES_MAX = 8 << 20
"""Of answers that wait for their caller to take them: meanwhile no other call of the stream is begun."""
_OVERHEAD_BYTES = 64


LATE = status_of(DeadlineExceeded("the caller's time was over"))


class Answer(NamedTuple):
    """Of one call. `body`: a response; or a Lookup, of a Get; or a status."""

    call_id: int
    field: str
    body: Any
    size: int


class Stream:
    """One caller's stream of frames."""

    def __init__(self, streams: Streams, context: Context, door: Door | None) -> None:
        self.door = door
        self._streams = streams
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._timer = asyncio.timeout(None)
        self._answers: deque[Answer] = deque()
        self._unsent_bytes = 0
        self._unanswered = 0
        self._reading = False
        self._writing = False
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def serve(self) -> None:
        """Until the caller half-closes, or `end`, or a frame is none. All that was read is answered before it ends.

        Raises DRAINING after `end`, InvalidRequest for such a frame.
        """
        draining = False
        try:
            try:
                draining = await self._read()
            except InvalidRequest as exc:
                self._failure = exc
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
        if self._failure is not None:
            raise self._failure
        if draining:
            raise Draining(
                "the daemon is stopping: what was not answered was not begun; go on there", retry_after_s=0.5
            )

    def end(self) -> None:
        """Read nothing more. Idempotent."""
        if self._reading:
            self._timer.reschedule(self._loop.time())

    async def _read(self) -> bool:
        """Whether it was told to end."""
        try:
            async with self._timer:
                self._reading = True
                while (frame := await self._context.read()) is not grpc.aio.EOF:
                    if isinstance(frame, Malformed):
                        refuse_unreadable(frame)
                    await self._begin(frame)
        except TimeoutError:
            if not self._timer.expired():
                raise  # somebody else's, and a bug
            return True
        finally:
            self._reading = False
        return False

    async def _begin(self, frame: pb.ConnectRequest) -> None:
        convert.refuse_unknown_fields(frame)
        calls = frame.calls
        for first in range(0, len(calls), SLICE):
            some = calls[first : first + SLICE]
            while self._unanswered + len(some) > CALLS_MAX or self._unsent_bytes > UNSENT_BYTES_MAX:
                self._room.clear()
                await self._room.wait()
            self._unanswered += len(some)
            self._dispatch(some)

    def _dispatch(self, calls: Sequence[pb.Call]) -> None:
        gets: list[pb.Call] = []
        for call in calls:
            field = call.WhichOneof("request")
            if field == "get":
                gets.append(call)
            elif field is None:
                self.run(self._refuse(call))
            else:
                self.run(self.one(call, field))
        if gets:
            for work in self._streams.reads.begin(self, gets):
                self.run(work)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Have this done; the stream ends no sooner."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._failure is None:
            self._failure = error
            self.end()

    # ---- calls

    def deadline(self, call: pb.Call) -> float:
        """When the caller's time ends, at most the daemon's own; by the event loop's clock."""
        now, timeout_s = self._loop.time(), self._streams.timeout_s
        if call.HasField("timeout"):
            timeout_s = min(timeout_s, call.timeout.seconds + call.timeout.nanos / 1e9)
        return now + timeout_s

    def context(self, call: pb.Call, deadline: float) -> CallContext:
        """For the behaviour of the call's RPC."""
        return CallContext(
            self._context, deadline=deadline, now=self._loop.time(), traceparent=call.traceparent, door=self.door
        )

    async def one(self, call: pb.Call, field: str, context: Any = None) -> None:
        """A call by itself: as its own RPC would."""
        deadline = self.deadline(call)
        context = context or self.context(call, deadline)
        rpc = CARRIED[field]
        if deadline <= self._loop.time():
            await self.answer([Answer(call.id, "status", LATE, 0)])
            return
        try:
            convert.refuse_unknown_fields(call)
            async with asyncio.timeout_at(deadline):
                reply = await self._streams.behaviours[rpc](getattr(call, field), context)
        except Aborted:
            body: Any = context.status
        except TimeoutError:
            body = LATE
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            body = status_of(as_sidecar_error(exc, rpc))
        else:
            body = pb.GetResponse.FromString(reply.serialize()) if type(reply) is CarriedResponse else reply
        await self.answer([Answer(call.id, field, body, _size(body))])

    async def _refuse(self, call: pb.Call) -> None:
        try:
            convert.refuse_unknown_fields(call)
            error: InvalidRequest | Unsupported = Unsupported("the call has no request that this release knows")
        except InvalidRequest as exc:
            error = exc
        await self.answer([Answer(call.id, "status", status_of(error), 0)])

    # ---- answers

    async def answer(self, answers: Sequence[Answer]) -> None:
        """Have these sent; by whoever writes now, or else here."""
        self._answers.extend(answers)
        self._unsent_bytes += sum(answer.size for answer in answers)
        if self._writing:
            return
        self._writing = True
        try:
            if len(answers) == 1 < self._unanswered:
                await asyncio.sleep(0)  # what is answered in this turn of the loop goes along
            while self._answers:
                await self._context.write(self._gathered())
                self._room.set()
        finally:
            self._writing = False

    def _gathered(self) -> pb.ConnectResponse:
        response = pb.ConnectResponse()
        add, answers, size = response.results.add, self._answers, 0
        while answers and (not size or size + answers[0].size < FRAME_BYTES_MAX):
            call_id, field, body, bytes_ = answers.popleft()
            size += bytes_ + _OVERHEAD_BYTES
            self._unsent_bytes -= bytes_
            self._unanswered -= 1
            if type(body) is Lookup:
                convert.fill_found(add(id=call_id).get, body)
            elif type(body) is bytes:
                add(id=call_id, status=body)
            else:
                add(id=call_id, **{field: body})
        return response


def _size(body: Any) -> int:
    return len(body) if type(body) is bytes else int(body.ByteSize())
