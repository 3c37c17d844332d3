"""Between protos and the core's values. Decides nothing, except what a proto can say that the core has no word for."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from sidecar.core.entry import Entry
from sidecar.core.errors import InvalidRequest, Unsupported
from sidecar.core.marks import callers_labels
from sidecar.core.merge import parse_request_json
from sidecar.core.operations import (
    Append,
    Change,
    Check,
    Increment,
    MergePatch,
    Operation,
    OperationResult,
    Put,
    Remove,
    WriteId,
)
from sidecar.engine.replies import Written
from sidecar.tiers.reading import Lookup
from statesidecar.v1 import outbox_service_pb2, types_pb2
from statesidecar.v1 import state_service_pb2 as pb

# ---- out


def wire(number: IntEnum) -> Any:
    """A mode, tier or durability as its proto enum: the numbers are the same."""
    return number


def timestamp(instant_ms: int) -> timestamp_pb2.Timestamp:
    """An instant in milliseconds as a Timestamp."""
    seconds, ms = divmod(instant_ms, 1000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=ms * 1_000_000)


def optional_timestamp(instant_ms: int | None) -> timestamp_pb2.Timestamp | None:
    """None stays unset."""
    return None if instant_ms is None else timestamp(instant_ms)


def duration(seconds: float) -> duration_pb2.Duration:
    """Seconds as a Duration."""
    whole = int(seconds)
    return duration_pb2.Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def entry(value: Entry) -> types_pb2.Entry:
    """An entry. Times are set in place, and labels only if there are any: this is the cost of a Get."""
    message = types_pb2.Entry()
    fill_entry(message, value)
    return message


def fill_entry(message: types_pb2.Entry, value: Entry) -> None:
    """An entry, where it is to be."""
    message.namespace = value.namespace
    message.key = value.key
    message.value = value.value
    message.version = value.version
    if value.content_type:
        message.content_type = value.content_type
    if value.schema_version:
        message.schema_version = value.schema_version
    _set_time(message.create_time, value.create_time)
    _set_time(message.update_time, value.update_time)
    if value.expire_time is not None:
        _set_time(message.expire_time, value.expire_time)
    if value.labels:
        message.labels.update(callers_labels(value.labels))


def fill_result(message: pb.BatchGetResult | pb.GetResponse, found: Lookup) -> None:
    """What was found of a key, where it is to be: a message that is given to another's constructor is copied."""
    copy, tier, stale_possible = found
    if type(copy) is Entry:
        fill_entry(message.entry, copy)
    message.served_by = wire(tier)
    if stale_possible:
        message.stale_possible = True


def fill_found(message: pb.GetResponse, found: Lookup) -> None:
    """The same of a Get."""
    fill_result(message, found)
    message.mode = wire(found.mode)


def _set_time(field: timestamp_pb2.Timestamp, instant_ms: int) -> None:
    field.seconds = instant_ms // 1000
    field.nanos = instant_ms % 1000 * 1_000_000


def set_response(written: Written, result: OperationResult) -> pb.SetResponse:
    """Of a set."""
    return pb.SetResponse(**_put_fields(written, result))


def cas_response(written: Written, result: OperationResult) -> pb.CASResponse:
    """Of a cas."""
    return pb.CASResponse(**_put_fields(written, result))


def _put_fields(written: Written, result: OperationResult) -> dict[str, Any]:
    return {
        "version": result.version,
        "durability": wire(written.durability),
        "mode": wire(written.mode),
        "expire_time": optional_timestamp(result.expire_time),
    }


def delete_response(written: Written, result: OperationResult) -> pb.DeleteResponse:
    """Of a delete."""
    return pb.DeleteResponse(
        found=result.found,
        version=result.version,
        durability=wire(written.durability),
        mode=wire(written.mode),
    )


def update_response(written: Written, result: OperationResult) -> pb.UpdateResponse:
    """Of an update."""
    return pb.UpdateResponse(
        version=result.version,
        value=result.value or b"",
        durability=wire(written.durability),
        mode=wire(written.mode),
        expire_time=optional_timestamp(result.expire_time),
    )


def transact_response(request: pb.TransactRequest, written: Written) -> pb.TransactResponse:
    """Of a transaction: each result in the words of its operation."""
    results: list[pb.TransactResult] = []
    for operation, result in zip(request.operations, written.results, strict=True):
        match operation.WhichOneof("operation"):
            case "set":
                results.append(pb.TransactResult(set=set_response(written, result)))
            case "cas":
                results.append(pb.TransactResult(cas=cas_response(written, result)))
            case "delete":
                results.append(pb.TransactResult(delete=delete_response(written, result)))
            case "update":
                results.append(pb.TransactResult(update=update_response(written, result)))
            case _:
                results.append(pb.TransactResult(check=operation.check))
    return pb.TransactResponse(
        results=results,
        version=written.version,
        durability=wire(written.durability),
        mode=wire(written.mode),
    )


# ---- in


def refuse_unknown_fields(request: Message) -> None:
    """FIELD_UNKNOWN for a field that this release doesn't know: dropping it would do another thing than was asked."""
    if unknown := UnknownFieldSet(request):
        number = next(iter(unknown)).field_number
        raise InvalidRequest(
            f"{request.DESCRIPTOR.name} has a field {number} that this release doesn't know",
            reason="FIELD_UNKNOWN",
            field=f"#{number}",
        )
    if type(request) in _NESTING:
        for field, value in request.ListFields():
            # A map is no message of ours: its keys and values are text.
            if (nesting := field.message_type) is not None and not nesting.GetOptions().map_entry:
                for nested in value if field.is_repeated else (value,):
                    refuse_unknown_fields(nested)


def has_unknown_fields(message: Message) -> bool:
    """Whether it has a field that this release doesn't know; those within it are not looked at."""
    return len(UnknownFieldSet(message)) > 0


_NESTING = {
    pb.SetRequest,
    pb.CASRequest,
    pb.DeleteRequest,
    pb.UpdateRequest,
    pb.TransactRequest,
    pb.TransactOperation,
    outbox_service_pb2.ConsumeRequest,
}
"""Messages that carry messages of ours."""


def write_id(request: Message, request_id: str) -> WriteId | None:
    """A request's id with a digest of all that it asks for; None: it has no id."""
    if not request_id:
        return None
    digest = hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16)
    digest.update(request.DESCRIPTOR.name.encode())
    return WriteId(request_id=request_id, fingerprint=digest.digest())


def ttl_ms(ttl: duration_pb2.Duration) -> int:
    """A Duration in whole milliseconds, rounded up, so that it is never above zero by mistake nor below."""
    return -(-(ttl.seconds * 1_000_000_000 + ttl.nanos) // 1_000_000)


def optional_ttl_ms(request: pb.SetRequest | pb.CASRequest | pb.UpdateRequest | pb.TouchRequest) -> int | None:
    """The ttl if there is one: zero is a value, and not allowed."""
    return ttl_ms(request.ttl) if request.HasField("ttl") else None


_SET = pb.SetRequest.DESCRIPTOR


def put(request: pb.SetRequest | pb.CASRequest) -> Put:
    """Of a Set, or of a CAS with its guard."""
    return Put(
        key=request.key,
        value=request.value,
        content_type=request.content_type,
        schema_version=request.schema_version,
        labels=dict(request.labels),
        ttl_ms=optional_ttl_ms(request),
        # By its descriptor: of a request that carries its value beside it, the class is another.
        expected_version=None if request.DESCRIPTOR is _SET else request.expected_version,  # type: ignore[union-attr]
    )


def remove(request: pb.DeleteRequest) -> Remove:
    """Of a Delete."""
    expected = request.expected_version if request.HasField("expected_version") else None
    return Remove(key=request.key, expected_version=expected)


def change(request: pb.UpdateRequest) -> Change:
    """Of an Update; its JSON is parsed here, so that what is wrong with it is the request's fault."""
    operation: MergePatch | Append | Increment
    match request.WhichOneof("operation"):
        case "merge_patch":
            operation = MergePatch(patch=parse_request_json(request.merge_patch, field="merge_patch"))
        case "append":
            items = tuple(
                parse_request_json(item, field=f"append.items[{index}]")
                for index, item in enumerate(request.append.items)
            )
            operation = Append(items=items, max_items=request.append.max_items)
        case "increment":
            operation = _increment(request.increment)
        case _:
            raise InvalidRequest(
                "an update needs one of merge_patch, append, increment", reason="OPERATION_MISSING", field="operation"
            )
    return Change(
        key=request.key,
        change=operation,
        create=request.create,
        ttl_ms=optional_ttl_ms(request),
        return_value=request.return_value,
        schema_version=request.schema_version,
    )


def _increment(request: pb.Increment) -> Increment:
    minimum = request.minimum if request.HasField("minimum") else None
    maximum = request.maximum if request.HasField("maximum") else None
    if minimum is not None and maximum is not None and minimum > maximum:
        raise InvalidRequest(
            f"minimum {minimum} is above maximum {maximum}", reason="INCREMENT_OUT_OF_RANGE", field="increment.minimum"
        )
    return Increment(delta=request.delta, minimum=minimum, maximum=maximum)


def operations(request: pb.TransactRequest) -> tuple[Operation, ...]:
    """Of a transaction."""
    converted: list[Operation] = []
    for index, operation in enumerate(request.operations):
        try:
            converted.append(_operation(request.namespace, operation, index))
        except (InvalidRequest, Unsupported) as exc:
            exc.metadata["operation"] = str(index)
            raise
    return tuple(converted)


def _operation(namespace: str, operation: pb.TransactOperation, index: int) -> Operation:
    which = operation.WhichOneof("operation")
    if which is None:
        raise InvalidRequest(
            f"operation {index} is none of set, cas, delete, update, check",
            reason="OPERATION_MISSING",
            field=f"operations[{index}]",
        )
    if which == "check":
        return Check(key=operation.check.key, expected_version=operation.check.expected_version)
    inner: pb.SetRequest | pb.CASRequest | pb.DeleteRequest | pb.UpdateRequest = getattr(operation, which)
    if inner.namespace not in {"", namespace}:
        raise InvalidRequest(
            f"operation {index} names another namespace; a transaction has one",
            reason="NAMESPACE_INVALID",
            field=f"operations[{index}].{which}.namespace",
        )
    if inner.request_id:
        raise InvalidRequest(
            f"operation {index} has a request_id of its own; only the transaction has one",
            reason="REQUEST_ID_INVALID",
            field=f"operations[{index}].{which}.request_id",
        )
    match inner:
        case pb.SetRequest() | pb.CASRequest():
            return put(inner)
        case pb.DeleteRequest():
            return remove(inner)
        case _:
            return change(inner)
