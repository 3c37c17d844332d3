"""A daemon's Connect as a test says, over the real wire: which calls of a key are held back, how a stream ends; and what came."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status  # type: ignore[import-untyped]  # has no stubs

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceServicer, add_StateServiceServicer_to_server

HELD = "held"
"""A Get of this key is answered when its stream is half-closed."""


class Connecting(StateServiceServicer):
    """Answers each Get with its key as the value, in a frame and unary."""

    def __init__(self, *, ends_with: status_pb2.Status | None = None) -> None:
        """`ends_with`: of every stream, as soon as it has brought a frame."""
        self.frames: list[list[str]] = []
        """The keys of each frame."""
        self.tokens: list[str] = []
        """Of each stream, as it began."""
        self.unary: list[str] = []
        """The keys of calls that came by themselves."""
        self.held = threading.Semaphore(0)
        """Counts the calls that are held back."""
        self.over = threading.Semaphore(0)
        """Counts the streams that have ended."""
        self._ends_with = ends_with
        self._executor = ThreadPoolExecutor(max_workers=16)
        self._server = grpc.server(self._executor)
        add_StateServiceServicer_to_server(self, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()
        self._executor.shutdown()

    def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:  # noqa: N802  # gRPC's name
        """By itself."""
        self.unary.append(request.key)
        return _answer(request)

    def Connect(  # noqa: N802  # as above
        self, request_iterator: Iterator[pb.ConnectRequest], context: Any
    ) -> Iterator[pb.ConnectResponse]:
        """Frames."""
        self.tokens += [str(value) for key, value in context.invocation_metadata() if key == "authorization"]
        context.add_callback(self.over.release)
        late = pb.ConnectResponse()
        for frame in request_iterator:
            self.frames.append([call.get.key for call in frame.calls])
            if self._ends_with is not None:
                context.abort_with_status(rpc_status.to_status(self._ends_with))
            response = pb.ConnectResponse()
            for call in frame.calls:
                if call.get.key == HELD:
                    late.results.add(id=call.id, get=_answer(call.get))
                    self.held.release()
                else:
                    response.results.add(id=call.id, get=_answer(call.get))
            yield response
        yield late


def _answer(request: pb.GetRequest) -> pb.GetResponse:
    response = pb.GetResponse()
    response.entry.key, response.entry.value, response.entry.version = request.key, request.key.encode(), 1
    return response


class Caller:
    """One call in a thread of its own; what came of it."""

    def __init__(self, call: Any) -> None:
        self._came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(call,))
        self._thread.start()

    def result(self) -> Any:
        """A result, or an exception."""
        came = self._came.get(timeout=20)
        self._thread.join()
        return came

    def _run(self, call: Any) -> None:
        try:
            self._came.put(call())
        except Exception as error:  # noqa: BLE001  # whatever it is, the test judges it
            self._came.put(error)
