"""Consumers of both clients: iterators of messages that go on by themselves where a stream ended."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from statesidecar._channel import Connection
from statesidecar._consuming import CLOSE_S, Consuming, ended
from statesidecar._flag import Flag
from statesidecar._status import error_of_rpc
from statesidecar.errors import StateSidecarError
from statesidecar.outbox import ReceivedMessage


class Consumer(Iterator[ReceivedMessage]):
    """Messages as they come, each to be acknowledged or refused. Threads may share it, and any may settle a message.

    A stream that breaks is made again. `close`, or the end of its `with` block, sends the acknowledgements that are left
    and waits a moment until the daemon has them; messages that were not acknowledged go to other consumers.
    """

    def __init__(
        self,
        consuming: Consuming,
        borrow: Callable[[], Connection],
        give_back: Callable[[Connection], None],
    ) -> None:
        self._consuming = consuming
        self._borrow = borrow
        self._give_back = give_back
        self._receiving = threading.Lock()
        self._dropping = threading.Lock()
        self._closed = Flag()
        self._stream: _Stream | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ReceivedMessage:
        while not self._closed.is_set():
            if (message := self._next()) is not None:
                return message
            with self._receiving:
                # Another thread may have received some meanwhile.
                if (message := self._next()) is not None:
                    return message
                if not self._closed.is_set():
                    self._receive()
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it, from any thread. Idempotent."""
        self._closed.set()
        if (stream := self._stream) is None:
            return
        stream.finish()
        late = threading.Timer(CLOSE_S, stream.call.cancel)
        late.daemon = True
        late.start()
        try:
            with self._receiving:  # Whoever receives in another thread has come to the end then
                stream.drain()
        finally:
            late.cancel()
        self._drop(stream)

    def _next(self) -> ReceivedMessage | None:
        """What has come, if the stream still is: of a broken one, others may have it by now."""
        stream = self._stream
        return self._consuming.message() if stream is not None and stream.call.is_active() else None

    def _receive(self) -> None:
        """One response, or one error and the pause after it."""
        stream = self._stream or self._open()
        try:
            self._consuming.received(stream.receive())
            return
        except StopIteration:
            failure: StateSidecarError = ended()
        except grpc.RpcError as error:
            failure = error_of_rpc(error)
        self._drop(stream)
        if not self._closed.is_set():
            self._closed.wait(self._consuming.broken(failure))

    def _open(self) -> _Stream:
        stream = self._stream = _Stream(self._consuming, self._borrow())
        if self._closed.is_set():  # Meanwhile: `close` has not seen the stream
            stream.finish()
        return stream

    def _drop(self, stream: _Stream) -> None:
        with self._dropping:  # Whoever receives, and whoever closes
            if self._stream is not stream:
                return
            self._stream = None
        stream.finish()
        self._give_back(stream.connection)


class _Stream:
    """One stream of a blocking consumer. Its requests are made in a thread of gRPC's."""

    def __init__(self, consuming: Consuming, connection: Connection) -> None:
        self.connection = connection
        self._consuming = consuming
        # Whoever settles a message is the main thread, mostly, and may be interrupted within an Event: see `Flag`.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._finishing = False
        self._interrupted = False
        self.call: Any = connection.rpcs["Consume"](self._requests(consuming.begin(self._awake)))

    def receive(self) -> Any:
        """The next response. Raises StopIteration at the end, or grpc.RpcError."""
        self._interrupted = True
        try:
            response = next(self.call)
        except (StopIteration, grpc.RpcError):
            self._interrupted = False
            raise
        self._interrupted = False
        return response

    def drain(self) -> None:
        """Until the stream is over."""
        if self._interrupted:
            # By Ctrl-C: gRPC goes on receiving, and can't be asked to receive once more. If it lost the call's lock by it,
            # this thread has that for ever, and no other can end the call.
            if self.call.add_callback((over := threading.Event()).set) and not over.wait(CLOSE_S):
                self.call.cancel()
            return
        with suppress(grpc.RpcError):
            for _ in self.call:
                pass

    def finish(self) -> None:
        """No more requests than what is to be sent now."""
        self._finishing = True
        self._awake()

    def _awake(self) -> None:
        self._wake.put(None)

    def _requests(self, number: int) -> Iterator[Any]:
        yield self._consuming.first()
        while True:
            self._wake.get()
            last = self._finishing
            if (request := self._consuming.request(number)) is not None:
                yield request
            if last:
                return


class AsyncConsumer(AsyncIterator[ReceivedMessage]):
    """As `Consumer`, for asyncio: `async for`, `async with`. An `anext` that is cancelled loses nothing."""

    def __init__(
        self,
        consuming: Consuming,
        borrow: Callable[[], Connection],
        give_back: Callable[[Connection], Any],
    ) -> None:
        self._consuming = consuming
        self._borrow = borrow
        self._give_back = give_back
        self._receiving = asyncio.Lock()
        self._closed = asyncio.Event()
        self._stream: _AsyncStream | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedMessage:
        while not self._closed.is_set():
            if (message := self._next()) is not None:
                return message
            async with self._receiving:
                # Another task may have received some meanwhile.
                if (message := self._next()) is not None:
                    return message
                if not self._closed.is_set():
                    await self._receive()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends it. Idempotent."""
        self._closed.set()
        if (stream := self._stream) is None:
            return
        stream.finish()
        try:
            with suppress(TimeoutError, grpc.RpcError):
                async with asyncio.timeout(CLOSE_S), self._receiving:
                    while await stream.read() is not None:
                        pass
        finally:
            await self._drop(stream)

    def _next(self) -> ReceivedMessage | None:
        stream = self._stream
        return self._consuming.message() if stream is not None and not stream.call.done() else None

    async def _receive(self) -> None:
        stream = self._stream or self._open()
        try:
            response = await stream.read()
            if response is not None:
                self._consuming.received(response)
                return
            failure: StateSidecarError = ended()
        except grpc.RpcError as error:
            failure = error_of_rpc(error)
        await self._drop(stream)
        if not self._closed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._consuming.broken(failure)):
                    await self._closed.wait()

    def _open(self) -> _AsyncStream:
        self._stream = _AsyncStream(self._consuming, self._borrow())
        return self._stream

    async def _drop(self, stream: _AsyncStream) -> None:
        if self._stream is stream:
            self._stream = None
            stream.finish()
            stream.call.cancel()
            await self._give_back(stream.connection)


class _AsyncStream:
    """One stream of an asyncio consumer."""

    def __init__(self, consuming: Consuming, connection: Connection) -> None:
        self.connection = connection
        self._consuming = consuming
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._finishing = False
        self._reading: asyncio.Task[Any] | None = None
        self.call: Any = connection.rpcs["Consume"](self._requests(consuming.begin(self._settled)))

    async def read(self) -> Any:
        """The next response; None: the stream has ended well, or was cancelled. Raises grpc.RpcError.

        Whoever is cancelled while it waits leaves the read to the next: a read that is cancelled takes its stream with it.
        """
        if self._reading is None:
            self._reading = self._loop.create_task(self.call.read())
        reading = self._reading
        await asyncio.wait((reading,))
        self._reading = None
        response = None if reading.cancelled() else reading.result()
        return None if response is grpc.aio.EOF else response

    def finish(self) -> None:
        """No more requests than what is to be sent now."""
        self._finishing = True
        self._wake.set()

    def _settled(self) -> None:
        # From any thread: what is slow is dealt with there.
        self._loop.call_soon_threadsafe(self._wake.set)

    async def _requests(self, number: int) -> AsyncIterator[Any]:
        yield self._consuming.first()
        while True:
            await self._wake.wait()
            self._wake.clear()
            last = self._finishing
            if (request := self._consuming.request(number)) is not None:
                yield request
            if last:
                return
