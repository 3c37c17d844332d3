"""A caller of Connect that knows nothing of the client library: frames out, results in, by id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from statesidecar.v1 import state_service_pb2 as pb

ANSWERED_S = 20.0
"""Bounds how long a failing test waits."""


class Frames:
    """One stream. Results are collected as they come."""

    def __init__(self, stub: Any, metadata: Sequence[tuple[str, str]] = ()) -> None:
        self.stream = stub.Connect(metadata=tuple(metadata))
        self.results: dict[int, pb.CallResult] = {}
        self.frames: list[pb.ConnectResponse] = []
        self.ended: asyncio.Future[grpc.StatusCode] = asyncio.get_running_loop().create_future()
        self._came = asyncio.Condition()
        self._id = 0
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def send(self, *requests: Any, timeout_s: float | None = None, traceparent: str = "") -> list[int]:
        """A frame with these, and the ids of its calls."""
        calls = []
        for request in requests:
            self._id += 1
            timeout = None
            if timeout_s is not None:
                timeout = duration_pb2.Duration(seconds=int(timeout_s), nanos=int(timeout_s % 1 * 1e9))
            calls.append(pb.Call(id=self._id, timeout=timeout, traceparent=traceparent, **{field_of(request): request}))
        await self.stream.write(pb.ConnectRequest(calls=calls))
        return [call.id for call in calls]

    async def answers(self, ids: Sequence[int]) -> list[Any]:
        """The response, or the status, of each."""
        async with asyncio.timeout(ANSWERED_S), self._came:
            await self._came.wait_for(lambda: all(one in self.results for one in ids))
        results = [self.results[one] for one in ids]
        return [
            status_pb2.Status.FromString(result.status)
            if result.WhichOneof("result") == "status"
            else getattr(result, str(result.WhichOneof("result")))
            for result in results
        ]

    async def ask(self, *requests: Any, timeout_s: float | None = None) -> list[Any]:
        """A frame, and its answers."""
        return await self.answers(await self.send(*requests, timeout_s=timeout_s))

    async def end(self) -> grpc.StatusCode:
        """How the stream ends."""
        async with asyncio.timeout(ANSWERED_S):
            return await asyncio.shield(self.ended)

    async def close(self) -> None:
        """Go away."""
        self.stream.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while (frame := await self.stream.read()) is not grpc.aio.EOF:
                self.frames.append(frame)
                async with self._came:
                    for result in frame.results:
                        assert result.id not in self.results, "a call is answered once"
                        self.results[result.id] = result
                    self._came.notify_all()
        except grpc.aio.AioRpcError:
            pass  # the code says it
        self.ended.set_result(await self.stream.code())


def field_of(request: Any) -> str:
    """The field of a call that takes the request."""
    [name] = [
        field.name
        for field in pb.Call.DESCRIPTOR.oneofs_by_name["request"].fields
        if field.message_type is request.DESCRIPTOR
    ]
    return str(name)


def told(status: status_pb2.Status) -> tuple[int, str]:
    """The number of the code, and the reason."""
    [info] = [
        error_details_pb2.ErrorInfo.FromString(packed.value)
        for packed in status.details
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)
    ]
    return status.code, info.reason


@asynccontextmanager
async def frames(stub: Any, metadata: Sequence[tuple[str, str]] = ()) -> AsyncIterator[Frames]:
    """A stream, gone with the block."""
    opened = Frames(stub, metadata)
    try:
        yield opened
    finally:
        await opened.close()
