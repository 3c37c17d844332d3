"""A server whose Consume does what a test says, stream by stream; and the consumers of both clients as one."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status  # type: ignore[import-untyped]  # has no stubs
from typing_extensions import override

from statesidecar import AsyncStateClient, ReceivedMessage, StateClient
from statesidecar.v1 import outbox_service_pb2 as pb
from statesidecar.v1 import types_pb2
from statesidecar.v1.outbox_service_pb2_grpc import OutboxServiceServicer, add_OutboxServiceServicer_to_server

WAIT_S = 20.0
_OVER = object()


def message(number: int, *, key: str = "key", attempt: int = 1) -> pb.DeliveredMessage:
    """A message as the daemon sends it."""
    carried = types_pb2.OutboxMessage(topic="placed", payload=b"%d" % number)
    return pb.DeliveredMessage(id=f"id {number}", key=key, version=number, message=carried, attempt=attempt)


class Stream:
    """One stream of a consumer, from the daemon's side."""

    def __init__(self, requests: Iterator[pb.ConsumeRequest]) -> None:
        self.first = next(requests)
        self._said: queue.SimpleQueue[pb.ConsumeRequest | object] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(requests,))
        self._reader.start()

    def send(self, *numbers: int, attempt: int = 1) -> None:
        """These messages, in one response."""
        self._answers.put(pb.ConsumeResponse(messages=[message(number, attempt=attempt) for number in numbers]))

    def end(self, status: status_pb2.Status | None = None) -> None:
        """The stream is over: well, or with this status."""
        self._answers.put(status or _OVER)

    def said(self) -> pb.ConsumeRequest:
        """The next request."""
        request = self._said.get(timeout=WAIT_S)
        assert isinstance(request, pb.ConsumeRequest), "the caller has no more requests"
        return request

    def acked(self, *numbers: int) -> None:
        """Until exactly these were acknowledged, in whatever requests."""
        missing = {f"id {number}" for number in numbers}
        while missing:
            said = set(self.said().acknowledged_ids)
            assert said <= missing
            missing -= said

    def half_closed(self) -> None:
        """Until the caller has no more requests, and had none."""
        assert self._said.get(timeout=WAIT_S) is _OVER

    def answers(self, context: grpc.ServicerContext) -> Iterator[pb.ConsumeResponse]:
        while (answer := self._answers.get()) is not _OVER:
            if isinstance(answer, status_pb2.Status):
                context.abort_with_status(rpc_status.to_status(answer))
            yield answer

    def join(self) -> None:
        self._answers.put(_OVER)
        self._reader.join(WAIT_S)

    def _read(self, requests: Iterator[pb.ConsumeRequest]) -> None:
        try:
            for request in requests:
                self._said.put(request)
        except grpc.RpcError:
            pass  # The caller is gone
        self._said.put(_OVER)


class StreamServer(OutboxServiceServicer):
    """Accepts streams, unless there is a `refusal`.

    One refusal for all: the asyncio client may lose the status of a stream that ends while its first request is sent.
    """

    def __init__(self) -> None:
        self.refusal: status_pb2.Status | None = None
        self._accepted: queue.SimpleQueue[Stream] = queue.SimpleQueue()
        self._streams: list[Stream] = []
        self._executor = ThreadPoolExecutor(8)
        self._server = grpc.server(self._executor)
        add_OutboxServiceServicer_to_server(self, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def accept(self) -> Stream:
        """The next stream."""
        return self._accepted.get(timeout=WAIT_S)

    @override
    def Consume(self, request_iterator: Any, context: Any) -> Iterator[pb.ConsumeResponse]:
        if self.refusal is not None:
            context.abort_with_status(rpc_status.to_status(self.refusal))
        stream = Stream(request_iterator)
        self._streams.append(stream)
        self._accepted.put(stream)
        yield from stream.answers(context)

    def stop(self) -> None:
        """Cuts every connection."""
        self._server.stop(0).wait()
        for stream in self._streams:
            stream.join()
        self._executor.shutdown()


class BlockingConsumer:
    """The blocking client's consumer, as tests call both."""

    def __init__(self, target: str, *arguments: Any, client: dict[str, Any], **options: Any) -> None:
        self.client = StateClient(target, **client)
        self.consumer = self.client.outbox.consume(*arguments, **options)

    def next(self) -> ReceivedMessage:
        return next(self.consumer)

    def when_broken(self, then: Callable[[], None]) -> None:
        """Calls this when the stream that is open now is known to be over."""
        assert self.consumer._stream is not None
        if not self.consumer._stream.call.add_callback(then):
            then()

    def close(self) -> None:
        self.consumer.close()
        self.client.close()


class AsyncioConsumer:
    """The asyncio client's consumer on a loop that runs in a thread, as tests call both."""

    def __init__(self, target: str, *arguments: Any, client: dict[str, Any], **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.client = AsyncStateClient(target, **client)
        self.consumer = self.client.outbox.consume(*arguments, **options)

    def next(self) -> ReceivedMessage:
        async def following() -> ReceivedMessage | None:
            try:
                return await anext(self.consumer)
            except StopAsyncIteration:
                return None

        found = self.run(following())
        if found is None:
            raise StopIteration
        assert isinstance(found, ReceivedMessage)
        return found

    def when_broken(self, then: Callable[[], None]) -> None:
        assert self.consumer._stream is not None
        call = self.consumer._stream.call
        self.loop.call_soon_threadsafe(call.add_done_callback, lambda _: then())

    def run(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(WAIT_S)

    def close(self) -> None:
        if self.loop.is_running():
            self.run(self.consumer.close())
            self.run(self.client.close())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(WAIT_S)
            self.loop.close()
