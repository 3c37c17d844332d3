"""Dead writes as protos, and what requests about them choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from sidecar.core import paging
from sidecar.core.errors import InvalidRequest
from sidecar.core.journal import DeadWrite
from sidecar.core.limits import Limits, check_namespace
from sidecar.core.merge import dump_json
from sidecar.core.operations import Append, Increment, MergePatch, Put
from sidecar.rpc.convert import timestamp
from sidecar.rpc.convert_outbox import check_ids
from statesidecar.v1 import admin_service_pb2 as pb

PAGE_SIZE_MAX = 1000
PAGE_SIZE_DEFAULT = 100
PAGE_BYTES_MAX = 1024 * 1024
"""Of values. A page has at least one dead write, however large."""

Position = tuple[int, int]
"""Where a dead write is in a listing: when it died, and its sequence."""


def dead_write(dead: DeadWrite) -> pb.DeadWrite:
    """One of them."""
    write = dead.buffered.write
    name, value = _operation(write.operation.change if not isinstance(write.operation, Put) else write.operation)
    return pb.DeadWrite(
        id=str(dead.buffered.sequence),
        namespace=write.namespace,
        key=write.operation.key,
        operation=name,
        request_id=write.request.request_id,
        value=value,
        base_version=write.base.version if write.base is not None and write.base.version >= 0 else None,
        buffered_time=timestamp(write.time),
        dead_time=timestamp(dead.dead_time),
        reason=dead.reason,
        message=dead.message,
    )


def _operation(operation: Put | MergePatch | Append | Increment) -> tuple[str, bytes]:
    match operation:
        case Put():
            return "set", operation.value
        case MergePatch():
            return "merge_patch", _json(operation.patch)
        case Append():
            return "append", _json(_given(items=operation.items, max_items=operation.max_items or None))
        case Increment():
            bounds = {"minimum": operation.minimum, "maximum": operation.maximum}
            return "increment", _json(_given(delta=operation.delta, **bounds))
        case _:
            assert_never(operation)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _json(value: Any) -> bytes:
    """Empty where it is nested too deeply: one such write must not hide the others."""
    try:
        return dump_json(value)
    except RecursionError:
        return b""


def page(request: pb.ListDeadWritesRequest, dead: Sequence[DeadWrite]) -> pb.ListDeadWritesResponse:
    """The page that is asked for. Dead writes may come and go between pages: nothing else is left out or told twice."""
    if not 0 <= request.page_size <= PAGE_SIZE_MAX:
        raise InvalidRequest(
            f"page_size {request.page_size} is not 0 (the default) to {PAGE_SIZE_MAX}",
            reason="PAGE_SIZE_INVALID",
            field="page_size",
        )
    after = _after(request) if request.page_token else None
    listed = sorted(
        (write for write in _of(request.namespace, dead) if after is None or _position(write) > after), key=_position
    )
    response = pb.ListDeadWritesResponse()
    size = 0
    for index, write in enumerate(listed):
        response.dead_writes.append(dead_write(write))
        size += len(response.dead_writes[-1].value)
        full = size >= PAGE_BYTES_MAX or index + 1 == (request.page_size or PAGE_SIZE_DEFAULT)
        if full and index + 1 < len(listed):
            response.next_page_token = _token(request.namespace, write)
            break
    return response


def chosen(request: pb.RedriveDeadWritesRequest | pb.DiscardDeadWritesRequest, dead: Sequence[DeadWrite]) -> list[int]:
    """Sequences of those that a request names and that are there, in the order in which they were written.

    DEAD_WRITES_UNNAMED unless it names some, or all.
    """
    if bool(request.ids) == request.all:
        raise InvalidRequest(
            "name dead writes by `ids`, or take `all` of them: one of the two",
            reason="DEAD_WRITES_UNNAMED",
            field="ids",
        )
    check_ids(request.ids, reason="DEAD_WRITES_UNNAMED")
    ids = set(request.ids)
    sequences = sorted(write.buffered.sequence for write in _of(request.namespace, dead))
    return [sequence for sequence in sequences if request.all or str(sequence) in ids]


def overwrites(resolution: int) -> bool:
    """Whether what is there now is to be overwritten."""
    match resolution:
        case pb.DEAD_WRITE_RESOLUTION_OVERWRITE:
            return True
        case pb.DEAD_WRITE_RESOLUTION_RETRY | pb.DEAD_WRITE_RESOLUTION_UNSPECIFIED:
            return False
        case _:
            raise InvalidRequest(
                f"resolution {resolution} is none that this release knows",
                reason="RESOLUTION_INVALID",
                field="resolution",
            )


def _of(namespace: str, dead: Sequence[DeadWrite]) -> list[DeadWrite]:
    if namespace:
        check_namespace(namespace, Limits())
    return [write for write in dead if namespace in {"", write.buffered.write.namespace}]


def _position(write: DeadWrite) -> Position:
    return write.dead_time, write.buffered.sequence


def _token(namespace: str, write: DeadWrite) -> str:
    died, sequence = _position(write)
    return paging.page_token(_list_name(namespace), "", f"{died}:{sequence}")


def _after(request: pb.ListDeadWritesRequest) -> Position:
    after = paging.after_key(request.page_token, _list_name(request.namespace), "")
    died, _, sequence = after.partition(":")
    try:
        return int(died), int(sequence)
    except ValueError as exc:
        raise InvalidRequest("page_token is not one of ours", reason="PAGE_TOKEN_INVALID", field="page_token") from exc


def _list_name(namespace: str) -> str:
    """No namespace has such a name, so that no token of its keys is taken for one of dead writes."""
    return f"dead writes\n{namespace}"
