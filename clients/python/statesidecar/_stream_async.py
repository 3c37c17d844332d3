"""Calls of an asyncio client that share one stream of Connect."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final

import grpc
import grpc.aio

from statesidecar._channel import Connection, let_go
from statesidecar._credentials import Token
from statesidecar._effects import Attempt
from statesidecar._frames import CARRIED, Frames, timed_out, without_connect
from statesidecar._status import error_of_rpc
from statesidecar.errors import CapabilityMissing, StateSidecarError, Unauthenticated
from statesidecar.v1 import state_service_pb2 as pb

#: What a write raises on a stream that has ended.
_BROKEN: Final = (grpc.RpcError, grpc.aio.InternalError, grpc.aio.UsageError, asyncio.InvalidStateError)
#: Between two looks at whose time is over, for each call in flight: looking never takes a tenth of all time.
_LOOK_S: Final = 1e-6


class Stream:
    """One stream, from its first call until it breaks or is closed.

    Two tasks: one writes whatever has queued while it wrote, the other gives the answers to who awaits them. The time of each
    call is watched by one timer for all of them: one of its own costs as much as the call's share of a frame.
    """

    def __init__(self, rpc: Callable[[None], Any], metadata: object, ended: Callable[[Stream], None]) -> None:
        """`rpc` begins the stream, with `metadata`: to be compared with those of now. `ended` is told when it is gone."""
        self.metadata = metadata
        #: It takes no more calls.
        self.ended = False
        #: The daemon has no Connect.
        self.refused = False
        self._tell_ended = ended
        self._loop = asyncio.get_running_loop()
        self._frames: Frames[asyncio.Future[Any]] = Frames(clock=self._loop.time)
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[Any] | None = None
        self._call = rpc(None)
        self._tasks = [self._loop.create_task(work) for work in (self._write(), self._read())]
        for task in self._tasks:
            task.add_done_callback(self._task_ended)
            # Who drops a client without closing it, together with its loop, is not told about tasks that it never saw.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio's own way to say so

    async def call(self, rpc: str, field: str, request: Any, timeout_s: float) -> Any:
        """The response, or raises StateSidecarError. None: the request is too large for a stream."""
        answer: asyncio.Future[Any] | None = self._loop.create_future()
        call_id = self._frames.add(field, request, timeout_s, answer)  # type: ignore[arg-type]  # None only below
        if not call_id:
            return None
        idle = self._idle
        if idle is not None and not idle.done():
            idle.set_result(self._begun() if self._frames.in_flight == 1 else None)
        timer, when = self._timer, self._loop.time() + timeout_s
        if timer is None or when < timer.when():
            self._watch(when)
        try:
            came = await answer  # type: ignore[misc]  # as above
        except asyncio.CancelledError:
            self._frames.give_up(call_id)
            raise
        finally:
            answer = None  # An error has this frame in its traceback
        if came is None:
            raise timed_out(rpc)
        if isinstance(came, StateSidecarError):
            try:
                raise came
            finally:
                del came  # As above
        return came

    def half_close(self) -> None:
        """Takes no more calls; ends when those that it has are answered."""
        self.ended = True
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def close(self) -> None:
        """Ends it now. Calls in flight are cancelled, as gRPC does with those of a channel that is closed."""
        self.ended = True
        for answer, _ in self._frames.ended(None):
            answer.cancel()
        tasks = self._tasks
        if self._call is not None:
            self._call.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self) -> None:
        frames, call = self._frames, self._call
        try:
            await call.wait_for_connection()
            while True:
                frame = frames.next_frame()
                if frame is not None:
                    await self._send(frame)
                    continue
                if self.ended:
                    await call.done_writing()
                    return
                self._idle = self._loop.create_future()
                begun = await self._idle
                if begun is not None:
                    await _rest(*begun)
        except _BROKEN:
            return  # The reader hears why

    def _send(self, frame: pb.ConnectRequest) -> Coroutine[Any, Any, None]:
        # What is below `write`: that one answers a message that could not be sent any more by setting the call's status to
        # INTERNAL, in place of the daemon's own, which says why and may be on its way.
        sending: Coroutine[Any, Any, None] = self._call._cython_call.send_serialized_message(  # noqa: SLF001 - as said
            frame.SerializeToString()
        )
        return sending

    def _begun(self) -> tuple[Coroutine[Any, Any, None], Any] | None:
        """Begins to write what waits: a lone caller is spared a turn of the loop. For the writer, which is idle, to end."""
        frame = self._frames.next_frame()
        if frame is None:
            return None
        sending = self._send(frame)
        try:
            return sending, sending.send(None)
        except (StopIteration, *_BROKEN):
            return None

    async def _read(self) -> None:
        frames, read, eof = self._frames, self._call.read, grpc.aio.EOF
        error: StateSidecarError | None = None
        try:
            while (response := await read()) is not eof:
                for answer, came in frames.came(response):
                    if not answer.done():  # Cancelled a moment ago
                        answer.set_result(came)
                del response
        except grpc.RpcError as broken:
            error = error_of_rpc(broken)
        except asyncio.CancelledError:
            self._end(None)
            raise
        self._end(error)

    def _end(self, error: StateSidecarError | None) -> None:
        self.ended = True
        self.refused = error is not None and without_connect(error) and not self._frames.answers
        if self._timer is not None:
            self._timer.cancel()
        for answer, came in self._frames.ended(error):
            if not answer.done():
                answer.set_result(came)
        self._tasks[0].cancel()
        self._tell_ended(self)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        # A task that has ended holds its frames, and they this: else all wait for the collector, and the socket with them.
        self._tasks = [other for other in self._tasks if other is not task]
        if not self._tasks:
            let_go(self._call)
            self._call = self._idle = None

    def _watch(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        late, next_deadline = self._frames.expired()
        for answer in late:
            if not answer.done():
                answer.set_result(None)
        if next_deadline is not None:
            self._watch(max(next_deadline, self._loop.time() + self._frames.in_flight * _LOOK_S))


@types.coroutine
def _rest(begun: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """What is left of a coroutine that awaits this by now."""
    while True:
        try:
            yield awaited
        except BaseException as error:  # noqa: BLE001 - of the future, or that the task is cancelled: all is the coroutine's
            step = partial(begun.throw, error)
        else:
            step = partial(begun.send, None)
        try:
            awaited = step()
        except StopIteration:
            return


async def send(connection: Connection, attempt: Attempt, token: Token | None) -> Any:
    """The response, over the connection's stream or unary. Raises StateSidecarError."""
    field = CARRIED.get(attempt.rpc)
    if field is None or not connection.connects:
        return await _unary(connection, attempt.rpc, attempt.request, attempt.timeout_s)
    metadata = None if token is None else token.metadata
    stream: Stream | None = connection.stream
    if stream is None or stream.ended or stream.metadata != metadata:
        if stream is not None:
            stream.half_close()  # It has another token; who was let in with that one is answered
        stream = connection.stream = Stream(connection.rpcs["Connect"], metadata, connection.ended)
        connection.streams.add(stream)
    begun = time.monotonic()
    try:
        reply = await stream.call(attempt.rpc, field, attempt.request, attempt.timeout_s)
    except CapabilityMissing as error:
        if not without_connect(error):
            raise
        reply = None  # It was not even read
    except Unauthenticated:
        stream.half_close()
        raise
    if reply is not None:
        return reply
    left_s = attempt.timeout_s - (time.monotonic() - begun)
    return await _unary(connection, attempt.rpc, attempt.request, left_s)


async def end(connection: Connection) -> None:
    """Closes it. Calls in flight are cancelled."""
    for stream in list(connection.streams):
        await stream.close()
    if connection.channel is not None:
        await connection.channel.close()


async def _unary(connection: Connection, rpc: str, request: Any, timeout_s: float) -> Any:
    call = connection.rpcs[rpc](request, timeout=timeout_s)
    try:
        return await call
    except grpc.RpcError as error:
        raise error_of_rpc(error) from error
    finally:
        let_go(call)
