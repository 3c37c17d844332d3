"""From arguments to request messages: pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, assert_never

from google.protobuf.duration_pb2 import Duration as DurationMessage

from statesidecar import errors
from statesidecar.operations import (
    AppendOp,
    CasOp,
    CheckOp,
    DeleteOp,
    IncrementOp,
    MergePatchOp,
    Operation,
    SetOp,
    UpdateOp,
)
from statesidecar.outbox import OutboxMessage
from statesidecar.types import Consistency, Ttl
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2

JSON_CONTENT_TYPE: Final = "application/json"
_DURATION_SECONDS_MAX: Final = 315_576_000_000  # of google.protobuf.Duration


def encode_json(value: Any) -> bytes:
    """The value as compact JSON. Raises TypeError or ValueError for what JSON cannot say."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def decode_json(value: bytes) -> Any:
    """A stored value as JSON. Raises FailedPrecondition (NOT_JSON) if it is none."""
    try:
        return json.loads(value)
    except ValueError as error:
        raise errors.FailedPrecondition(errors.NOT_JSON, f"the stored value is not JSON: {error}") from error


def get(
    namespace: str, key: str, consistency: Consistency, min_version: int, max_schema_version: int = 0
) -> pb.GetRequest:
    """Of `get`."""
    return pb.GetRequest(
        namespace=namespace,
        key=key,
        consistency=int(consistency),  # type: ignore[arg-type]  # the stubs don't take an enum's number
        min_version=min_version,
        max_schema_version=max_schema_version,
    )


def batch_get(
    namespace: str,
    keys: Iterable[str],
    consistency: Consistency,
    min_versions: Iterable[int],
    max_schema_version: int = 0,
    *,
    packed: bool = False,
) -> pb.BatchGetRequest:
    """Of `batch_get`, and of `vectors`."""
    return pb.BatchGetRequest(
        namespace=namespace,
        keys=keys,
        consistency=int(consistency),  # type: ignore[arg-type]  # as above
        min_versions=min_versions,
        max_schema_version=max_schema_version,
        packed=packed,
    )


def set(namespace: str, op: SetOp, request_id: str) -> pb.SetRequest:
    """Of `set`."""
    return pb.SetRequest(namespace=namespace, request_id=request_id, **_written(op))


def cas(namespace: str, op: CasOp, request_id: str) -> pb.CASRequest:
    """Of `cas`."""
    return pb.CASRequest(
        namespace=namespace, request_id=request_id, expected_version=op.expected_version, **_written(op)
    )


def delete(namespace: str, op: DeleteOp, request_id: str) -> pb.DeleteRequest:
    """Of `delete`."""
    return pb.DeleteRequest(
        namespace=namespace,
        key=op.key,
        expected_version=op.expected_version,
        request_id=request_id,
        outbox=messages(op.outbox),
    )


def update(namespace: str, op: UpdateOp, request_id: str) -> pb.UpdateRequest:
    """Of `merge_patch`, `append` and `increment`."""
    request = pb.UpdateRequest(
        namespace=namespace,
        key=op.key,
        create=op.create,
        ttl=duration(op.ttl),
        request_id=request_id,
        return_value=op.return_value,
        outbox=messages(op.outbox),
        schema_version=op.schema_version,
    )
    match op:
        case MergePatchOp():
            request.merge_patch = encode_json(op.patch)
        case AppendOp():
            request.append.CopyFrom(pb.Append(items=[encode_json(item) for item in op.items], max_items=op.max_items))
        case IncrementOp():
            request.increment.CopyFrom(pb.Increment(delta=op.delta, minimum=op.minimum, maximum=op.maximum))
        case _:
            assert_never(op)
    return request


def transact(
    namespace: str, operations: Iterable[Operation], outbox: Iterable[OutboxMessage], request_id: str
) -> pb.TransactRequest:
    """Of `transact`. The operations' own namespace and request id stay empty: the request's count."""
    return pb.TransactRequest(
        namespace=namespace,
        operations=[_operation(op) for op in operations],
        outbox=messages(outbox),
        request_id=request_id,
    )


def watch(
    namespace: str,
    *,
    key: str,
    prefix: str,
    all_keys: bool,
    include_value: bool,
    snapshot: bool,
    resume_token: str,
    max_schema_version: int,
) -> pb.WatchRequest:
    """Of `watch`."""
    return pb.WatchRequest(
        namespace=namespace,
        key=key,
        key_prefix=prefix,
        all=all_keys,
        include_value=include_value,
        snapshot=snapshot,
        resume_token=resume_token,
        max_schema_version=max_schema_version,
    )


def duration(ttl: Ttl | None) -> DurationMessage | None:
    """A ttl as a message. Raises InvalidRequest for one that no message can hold; the daemon judges the others."""
    if ttl is None:
        return None
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if not abs(seconds) <= _DURATION_SECONDS_MAX:  # Not a number fails, too
        raise errors.InvalidRequest("TTL_OUT_OF_RANGE", f"a ttl of {seconds} s cannot be expressed")
    message = DurationMessage()
    if isinstance(ttl, timedelta):
        message.FromTimedelta(ttl)
    else:
        message.FromNanoseconds(round(ttl * 1e9))
    return message


def _written(op: SetOp | CasOp) -> dict[str, Any]:
    labels: Mapping[str, str] = op.labels or {}
    return {
        "key": op.key,
        "value": op.value.encode() if isinstance(op.value, str) else op.value,
        "content_type": op.content_type,
        "schema_version": op.schema_version,
        "labels": labels,
        "ttl": duration(op.ttl),
        "outbox": messages(op.outbox),
    }


def messages(outbox: Iterable[OutboxMessage]) -> list[types_pb2.OutboxMessage]:
    """What a write carries."""
    return [
        types_pb2.OutboxMessage(
            topic=message.topic,
            payload=message.payload.encode() if isinstance(message.payload, str) else message.payload,
            content_type=message.content_type,
            attributes=message.attributes or {},
        )
        for message in outbox
    ]


def _operation(op: Operation) -> pb.TransactOperation:
    match op:
        case SetOp():
            return pb.TransactOperation(set=set("", op, ""))
        case CasOp():
            return pb.TransactOperation(cas=cas("", op, ""))
        case DeleteOp():
            return pb.TransactOperation(delete=delete("", op, ""))
        case MergePatchOp() | AppendOp() | IncrementOp():
            return pb.TransactOperation(update=update("", op, ""))
        case CheckOp():
            return pb.TransactOperation(check=pb.Check(key=op.key, expected_version=op.expected_version))
        case _:
            assert_never(op)
