"""One call of a client: from an operation to a request, and from a reply or an error to what is certain afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.chaos.history import READS, Kind, Operation, Outcome

DETAILS_KEY = "grpc-status-details-bin"
UNREACHABLE = "UNREACHABLE"
_NOT_SENT = ("failed to connect", "connection refused", "connections to all backends failing")
UNKNOWN_REASONS = frozenset({"WRITE_OUTCOME_UNKNOWN", "INTERNAL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was heard. `late`: nothing, in time. `reason`: of an error."""

    outcome: Outcome
    version: int = 0
    read: bytes | None = None
    durability: str = ""
    mode: str = ""
    reason: str = ""
    late: bool = False

    @property
    def settles(self) -> bool:
        """Whether it also says what became of an earlier attempt under the same request id."""
        return self.outcome is Outcome.CONFLICT or (self.outcome is Outcome.OK and self.durability != "DISCARDED")


async def ask(stub: Any, asked: Operation, *, timeout_s: float) -> Answer:
    """Send it, once."""
    method, request = _request(stub, asked)
    try:
        reply = await method(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        return of_error(error, asked.kind)
    return of_reply(reply, asked.kind)


def _request(stub: Any, asked: Operation) -> tuple[Any, Any]:
    at: dict[str, Any] = {"namespace": asked.namespace, "key": asked.key}
    write = at | {"request_id": asked.request_id}
    match asked.kind:
        case Kind.GET_STRONG:
            return stub.Get, pb.GetRequest(**at, consistency=types_pb2.CONSISTENCY_STRONG)
        case Kind.GET_CACHED:
            return stub.Get, pb.GetRequest(**at, min_version=asked.expected_version or 0)
        case Kind.SET:
            return stub.Set, pb.SetRequest(**write, value=asked.value)
        case Kind.CAS:
            return stub.CAS, pb.CASRequest(**write, value=asked.value, expected_version=asked.expected_version)
        case Kind.DELETE:
            return stub.Delete, pb.DeleteRequest(**write)
        case Kind.UPDATE_APPEND:
            assert asked.value is not None
            return stub.Update, pb.UpdateRequest(**write, append=pb.Append(items=[asked.value[1:-1]]), create=True)
        case Kind.UPDATE_INCREMENT:
            assert asked.value is not None
            increment = pb.Increment(delta=int(asked.value))
            return stub.Update, pb.UpdateRequest(**write, increment=increment, create=True, return_value=True)


def of_reply(reply: Any, kind: Kind) -> Answer:
    """What a reply says."""
    mode = types_pb2.ServingMode.Name(reply.mode).removeprefix("SERVING_MODE_")
    if kind in READS:
        there = reply.HasField("entry")
        return Answer(
            outcome=Outcome.OK,
            version=reply.entry.version if there else 0,
            read=reply.entry.value if there else None,
            mode="DEGRADED" if mode == "NORMAL" and reply.stale_possible else mode,
        )
    durability = types_pb2.Durability.Name(reply.durability).removeprefix("DURABILITY_")
    read = reply.value if kind is Kind.UPDATE_INCREMENT and durability == "COMMITTED" else None
    return Answer(outcome=Outcome.OK, version=reply.version, read=read, durability=durability, mode=mode)


def of_error(error: Any, kind: Kind) -> Answer:
    """What an error leaves certain: nothing, unless the daemon says so. A read has no effect in any case."""
    reason, conflict = _details(error)
    late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED or not reason
    if conflict is not None:
        return Answer(outcome=Outcome.CONFLICT, version=conflict.current_version, reason=reason)
    if not reason:
        sent = not any(said in (error.details() or "").lower() for said in _NOT_SENT)
        certain = kind in READS or not sent
        reason = error.code().name if sent else UNREACHABLE
    else:
        certain = kind in READS or reason not in UNKNOWN_REASONS
    return Answer(outcome=Outcome.FAILED if certain else Outcome.UNKNOWN, reason=reason, late=late)


def _details(error: Any) -> tuple[str, Any]:
    """The reason, and the conflict if it is one."""
    metadata = dict(error.trailing_metadata() or ())
    if DETAILS_KEY not in metadata:
        return "", None
    reason, conflict = "", None
    for detail in status_pb2.Status.FromString(metadata[DETAILS_KEY]).details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            reason = info.reason
        elif detail.Is(types_pb2.ConflictInfo.DESCRIPTOR):
            conflict = types_pb2.ConflictInfo()
            detail.Unpack(conflict)
    return reason, conflict
