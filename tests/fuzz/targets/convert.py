"""Requests of every RPC, parsed and converted as the services do. They may be refused with InvalidRequest and Unsupported.

What is converted says what the message says, and the digest under a request id is that of the message parsed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message

from sidecar.core import limits, outbox
from sidecar.core.errors import InvalidRequest, Unsupported
from sidecar.core.journal import Buffering
from sidecar.core.operations import Append, Change, MergePatch, Put, WriteId
from sidecar.rpc import convert, convert_dead, convert_outbox
from sidecar.rpc.calls import refuse_unreadable
from sidecar.stores.journal.records import encoded_parts
from statesidecar.v1 import admin_service_pb2, outbox_service_pb2, state_service_pb2, types_pb2
from statesidecar.v1 import state_service_pb2 as pb

_LIMITS = limits.Limits()
_REQUESTS: list[type[Message]] = sorted(
    {
        message_factory.GetMessageClass(method.input_type)
        for file in (state_service_pb2, admin_service_pb2, outbox_service_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    },
    key=lambda kind: kind.DESCRIPTOR.full_name,
)


def seeds() -> Iterator[bytes]:
    message = types_pb2.OutboxMessage(topic="t", payload=b"p", attributes={"a": "b"})
    patch = pb.UpdateRequest(namespace="n", key="k", merge_patch=b'{"a":[1,null]}', request_id="r", outbox=[message])
    put = pb.SetRequest(namespace="n", key="k", value=b"v", labels={"a": "b"}, request_id="r", outbox=[message])
    put.ttl.seconds = 3
    transact = pb.TransactRequest(namespace="n", request_id="r", outbox=[message])
    transact.operations.add().set.CopyFrom(pb.SetRequest(key="a", value=b"v"))
    transact.operations.add().update.CopyFrom(pb.UpdateRequest(key="b", append=pb.Append(items=[b"[1]", b'"x"'])))
    transact.operations.add().check.CopyFrom(pb.Check(key="c", expected_version=1))
    increment = pb.UpdateRequest(namespace="n", key="k", increment=pb.Increment(delta=1, minimum=2, maximum=1))
    consume = outbox_service_pb2.ConsumeRequest(namespace="n", topics=["t"], in_flight_max=3)
    letters = outbox_service_pb2.RedriveRequest(namespace="n", ids=["1"])
    for request in (patch, put, transact, increment, consume, letters):
        yield bytes([_REQUESTS.index(type(request))]) + request.SerializeToString()
    yield from (bytes([index]) for index in range(len(_REQUESTS)))


def check(data: bytes) -> None:
    kind = _REQUESTS[data[0] % len(_REQUESTS)] if data else _REQUESTS[0]
    try:
        request: Any = kind.FromString(data[1:])
    except DecodeError:
        return
    with suppress(InvalidRequest, Unsupported):
        refuse_unreadable(request)
        _checked(request)
        _converted(request)


def _checked(request: Any) -> None:
    """The bounds of what most requests have."""
    named = request.DESCRIPTOR.fields_by_name
    if "request_id" in named:
        first, again = (convert.write_id(each, each.request_id) for each in (request, _again(request)))
        assert first == again
        limits.check_request_id(request.request_id, _LIMITS)
    if "page_size" in named:
        with suppress(InvalidRequest):
            limits.check_page_size(request.page_size, _LIMITS)
    for name, bound in (("namespace", limits.check_namespace), ("key", limits.check_key)):
        if name in named:
            with suppress(InvalidRequest):
                bound(getattr(request, name), _LIMITS)
    if "ttl" in named and request.HasField("ttl"):
        ttl_ms = convert.optional_ttl_ms(request)
        assert ttl_ms is not None
        total = request.ttl.seconds * 10**9 + request.ttl.nanos
        assert (ttl_ms - 1) * 10**6 < total <= ttl_ms * 10**6


def _again(request: Any) -> Any:
    return type(request).FromString(request.SerializeToString())


def _converted(request: Any) -> None:
    match request:
        case pb.SetRequest() | pb.CASRequest():
            put = convert.put(request)
            assert (put.key, put.value, put.labels) == (request.key, request.value, dict(request.labels))
            limits.check_labels(put.labels, _LIMITS)
            _carried(request.outbox)
        case pb.DeleteRequest():
            assert convert.remove(request).key == request.key
            _carried(request.outbox)
        case pb.UpdateRequest():
            _kept(convert.change(request))
            _carried(request.outbox)
        case pb.TransactRequest():
            operations = convert.operations(request)
            assert len(operations) == len(request.operations)
            limits.check_messages(convert_outbox.transaction_outbox(request), _LIMITS)
            for operation in operations:
                if isinstance(operation, Put | Change):
                    _kept(operation)
        case outbox_service_pb2.ConsumeRequest():
            with suppress(InvalidRequest):
                convert_outbox.first(request)
            list(convert_outbox.receipts(request))
        case outbox_service_pb2.ListDeadLettersRequest():
            with suppress(InvalidRequest):
                assert convert_outbox.page_size(request) > 0
            convert_outbox.after(request)
        case outbox_service_pb2.RedriveRequest():
            convert_outbox.named(request)
        case admin_service_pb2.ListDeadWritesRequest():
            convert_dead.page(request, ())
        case admin_service_pb2.RedriveDeadWritesRequest():
            convert_dead.overwrites(request.resolution)
            convert_dead.chosen(request, ())
        case admin_service_pb2.DiscardDeadWritesRequest():
            convert_dead.chosen(request, ())
        case _:
            pass


def _carried(messages: Any) -> None:
    carried = convert_outbox.carried(messages, 0)
    assert [message.topic for message in carried] == [message.topic for message in messages]
    limits.check_messages(carried, _LIMITS)
    assert len(carried) <= outbox.MESSAGES_MAX


def _kept(operation: Put | Change) -> None:
    """What was converted can be kept in a journal."""
    if isinstance(operation, Change) and isinstance(operation.change, MergePatch | Append):
        write = WriteId(request_id="r", fingerprint=b"")
        encoded_parts(Buffering(namespace="n", operation=operation, request=write, base=None, hlc=0, time=0))
