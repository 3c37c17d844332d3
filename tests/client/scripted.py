"""A gRPC server that answers what a test says, call by call, and keeps what it was sent; and both clients as one."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status  # type: ignore[import-untyped]  # has no stubs

from statesidecar import AsyncStateClient, Session, StateClient
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceServicer, add_AdminServiceServicer_to_server
from statesidecar.v1.state_service_pb2_grpc import StateServiceServicer, add_StateServiceServicer_to_server

RPCS = (
    *("Get", "Set", "CAS", "Delete", "Touch", "Update", "BatchGet", "List", "DeletePrefix", "Transact"),
    *("Checkpoint", "GetCheckpoint", "ListCheckpoints", "DeleteCheckpoint", "Restore"),
)


def status(
    code: grpc.StatusCode,
    reason: str = "",
    *,
    message: str = "said no",
    metadata: dict[str, str] | None = None,
    retry_after_s: float | None = None,
    conflict: types_pb2.ConflictInfo | None = None,
) -> status_pb2.Status:
    """A status as the daemon sends it, made with the real googleapis messages; without a reason, as a proxy would."""
    details: list[Message] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="state-sidecar", metadata=metadata))
    if retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(round(retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if conflict is not None:
        details.append(conflict)
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code_pb2.Code.Value(code.name), message=message, details=packed)


@dataclass(frozen=True)
class Lost:
    """The request arrives, the reply never does. `received` is set when the request is there."""

    received: threading.Event = field(default_factory=threading.Event)


# A response, a google.rpc.Status, or Lost.
Step = Any


class Server:
    """Answers one step a call; a call that was not expected fails its test by INTERNAL and `surprises`."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.remaining_s: list[float] = []
        self.surprises: list[str] = []
        self.target = ""
        self._steps: deque[Step] = deque()
        self._executor = ThreadPoolExecutor(8)
        self._server = grpc.server(self._executor)

    def expect(self, *steps: Step) -> None:
        """Adds answers to the script."""
        self._steps.extend(steps)

    def left(self) -> int:
        """Answers that nobody has asked for."""
        return len(self._steps)

    def start(self) -> None:
        state, admin = StateServiceServicer(), AdminServiceServicer()
        for rpc in RPCS:
            setattr(state, rpc, self._answer)
        admin.GetStatus = self._answer  # type: ignore[method-assign]  # one handler for all
        add_StateServiceServicer_to_server(state, self._server)
        add_AdminServiceServicer_to_server(admin, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        """Cuts every connection, at once."""
        self._server.stop(0).wait()
        self._executor.shutdown()

    def _answer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        self.remaining_s.append(context.time_remaining() or 0.0)
        if not self._steps:
            self.surprises.append(type(request).__name__)
            context.abort(grpc.StatusCode.INTERNAL, "not in the script")
        step = self._steps.popleft()
        match step:
            case status_pb2.Status():
                return context.abort_with_status(rpc_status.to_status(step))
            case Lost():
                gone = threading.Event()
                if context.add_callback(gone.set):
                    step.received.set()
                    gone.wait(30)
                return context.abort(grpc.StatusCode.CANCELLED, "lost")
            case _:
                return step


class Blocking:
    """The blocking client, as tests call both."""

    def __init__(self, target: str, **options: Any) -> None:
        self.client = StateClient(target, **options)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self.client, method)(*arguments, **options)

    def listed(self, *arguments: Any, method: str = "list", **options: Any) -> list[Any]:
        return list(getattr(self.client, method)(*arguments, **options))

    @contextmanager
    def session(self, *arguments: Any, **options: Any) -> Iterator[Session]:
        with self.client.session(*arguments, **options) as session:
            yield session

    def close(self) -> None:
        self.client.close()


class Asyncio:
    """The asyncio client on a loop of its own, as tests call both."""

    def __init__(self, target: str, **options: Any) -> None:
        self.client = AsyncStateClient(target, **options)
        self._runner = asyncio.Runner()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._runner.run(getattr(self.client, method)(*arguments, **options))

    def listed(self, *arguments: Any, method: str = "list", **options: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [entry async for entry in getattr(self.client, method)(*arguments, **options)]

        return self._runner.run(collect())

    @contextmanager
    def session(self, *arguments: Any, **options: Any) -> Iterator[Session]:
        context = self.client.session(*arguments, **options)
        session = self._runner.run(_await(context.__aenter__))
        try:
            yield session
        except BaseException as error:
            self._runner.run(_await(context.__aexit__, type(error), error, None))
            raise
        self._runner.run(_await(context.__aexit__, None, None, None))

    def close(self) -> None:
        self._runner.run(self.client.close())
        self._runner.close()


async def _await(function: Callable[..., Any], *arguments: Any) -> Any:
    return await function(*arguments)


def entry(value: bytes = b"{}", version: int = 1, **fields: Any) -> types_pb2.Entry:
    """An entry as the daemon sends it."""
    named: dict[str, Any] = {"namespace": "session", "key": "alice", "value": value, "version": version}
    return types_pb2.Entry(**named | fields)


def got(value: bytes | None = None, version: int = 1, mode: str = "NORMAL", **fields: Any) -> pb.GetResponse:
    """What a Get answers; None: a miss."""
    found = None if value is None else entry(value, version)
    return pb.GetResponse(entry=found, mode=f"SERVING_MODE_{mode}", served_by="TIER_HOT", **fields)


def cas_done(version: int) -> pb.CASResponse:
    """What a CAS answers that won."""
    return pb.CASResponse(version=version, durability="DURABILITY_COMMITTED", mode="SERVING_MODE_NORMAL")


def set_done(version: int) -> pb.SetResponse:
    """What a Set answers."""
    return pb.SetResponse(version=version, durability="DURABILITY_COMMITTED", mode="SERVING_MODE_NORMAL")


def conflict(expected: int, current: int) -> status_pb2.Status:
    """What a CAS answers that lost."""
    info = types_pb2.ConflictInfo(key="alice", expected_version=expected, current_version=current)
    return status(grpc.StatusCode.ABORTED, "VERSION_MISMATCH", conflict=info)


def passthrough() -> status_pb2.Status:
    """What a guarded write gets while the authority is away."""
    return status(grpc.StatusCode.UNAVAILABLE, "PASSTHROUGH", retry_after_s=1.0)
