"""A server of Connect in this event loop, which does what a test tells it: a real stream, and no daemon behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from statesidecar.v1 import state_service_pb2 as pb

_MISS = pb.GetResponse(mode="SERVING_MODE_NORMAL", served_by="TIER_HOT")


class Link:
    """One stream of a client."""

    def __init__(self, context: Any) -> None:
        self.metadata = dict(context.invocation_metadata())
        #: The client has half-closed.
        self.closed = asyncio.Event()
        self._context = context
        self._unanswered = 0
        self._calls: asyncio.Queue[pb.Call] = asyncio.Queue()
        self._end: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()

    async def call(self) -> pb.Call:
        """The next call that came."""
        return await asyncio.wait_for(self._calls.get(), 10)

    async def calls(self, count: int) -> list[pb.Call]:
        """So many."""
        return [await self.call() for _ in range(count)]

    async def answer(self, *calls: pb.Call) -> None:
        """Answers Gets with a miss, in one frame."""
        results = [pb.CallResult(id=call.id, get=_MISS) for call in calls]
        await self._write(results)

    async def refuse(self, call: pb.Call, status: bytes) -> None:
        """Answers with a serialized `google.rpc.Status`."""
        await self._write([pb.CallResult(id=call.id, status=status)])

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK, message: str = "") -> None:
        """Ends the stream."""
        self._end.set_result((code, message))

    async def serve(self, reading: asyncio.Event) -> None:
        """Until it ends."""
        reader = asyncio.create_task(self._read(reading))
        try:
            code, message = await self._end
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if code is not grpc.StatusCode.OK:
            await self._context.abort(code, message)

    async def _read(self, reading: asyncio.Event) -> None:
        await reading.wait()
        while (frame := await self._context.read()) is not grpc.aio.EOF:
            for call in frame.calls:
                self._unanswered += 1
                self._calls.put_nowait(call)
        self.closed.set()
        self._end_if_answered()

    async def _write(self, results: list[pb.CallResult]) -> None:
        await self._context.write(pb.ConnectResponse(results=results))
        self._unanswered -= len(results)
        self._end_if_answered()

    def _end_if_answered(self) -> None:
        if self.closed.is_set() and not self._unanswered and not self._end.done():
            self.end()


class Peer:
    """The server."""

    def __init__(self) -> None:
        self.target = ""
        #: Cleared, nothing is read from streams that begin.
        self.reading = asyncio.Event()
        self.reading.set()
        self._links: asyncio.Queue[Link] = asyncio.Queue()

    async def link(self) -> Link:
        """The next stream that began."""
        return await asyncio.wait_for(self._links.get(), 10)

    async def connect(self, _: object, context: Any) -> None:
        """The handler."""
        link = Link(context)
        self._links.put_nowait(link)
        await link.serve(self.reading)


@asynccontextmanager
async def serving() -> AsyncIterator[Peer]:
    """A peer on a free port."""
    peer = Peer()
    server = grpc.aio.server()
    deserializer: Callable[[bytes], Any] = pb.ConnectRequest.FromString
    handler = grpc.stream_stream_rpc_method_handler(peer.connect, deserializer, pb.ConnectResponse.SerializeToString)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("statesidecar.v1.StateService", {"Connect": handler}),)
    )
    peer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield peer
    finally:
        await server.stop(0)
