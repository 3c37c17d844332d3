"""Every request that the services take, found in their descriptors, with one of its fields filled by a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from statesidecar.v1 import admin_service_pb2, outbox_service_pb2, state_service_pb2

NAMESPACE = "process"
KEY = "key"
SERVICES = tuple(
    service
    for file in (state_service_pb2, outbox_service_pb2, admin_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
METHODS: tuple[MethodDescriptor, ...] = tuple(method for service in SERVICES for method in service.methods)
_TEXTS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_USUAL: dict[str, Any] = {
    "namespace": NAMESPACE,
    "key": KEY,
    "keys": [KEY],
    "topic": "topic",
    "id": "1",
    "ids": ["1"],
    "create": True,
}
"""What a request has that is about nothing else."""


@dataclass(frozen=True)
class Place:
    """A field that takes text, bytes, or any number of something: `fields` lead to it from the request."""

    method: MethodDescriptor
    fields: tuple[FieldDescriptor, ...]

    @property
    def field(self) -> FieldDescriptor:
        """The last one."""
        return self.fields[-1]

    @property
    def repeats(self) -> bool:
        """Whether there may be many of it."""
        return bool(self.field.is_repeated)

    @property
    def holds_text(self) -> bool:
        """Whether it, or each of it, is text or bytes."""
        return self.field.type in _TEXTS

    def __str__(self) -> str:
        return f"{self.method.name}.{'.'.join(field.name for field in self.fields)}"

    def request(self, fill: Callable[[Any, FieldDescriptor], None]) -> Any:
        """A request that is right but for this field, which `fill` sets in the message that has it."""
        request = message = usual(self.method.input_type)
        for field in self.fields[:-1]:
            message = getattr(message, field.name)
            if field.is_repeated:
                message = message.add() if not message else message[0]
            message.SetInParent()
            assert field.message_type is not None
            message.MergeFrom(usual(field.message_type))
        if self.field.name in {"key_prefix", "checkpoint_id"} and "key" in message.DESCRIPTOR.fields_by_name:
            message.ClearField("key")
        message.ClearField(self.field.name)
        fill(message, self.field)
        return request


def usual(descriptor: Descriptor) -> Any:
    """A message with what no request of its kind can do without."""
    message = GetMessageClass(descriptor)()
    for name, value in _USUAL.items():
        field = descriptor.fields_by_name.get(name)
        if field is None or (field.type not in _TEXTS and value is not True):
            continue
        if field.is_repeated == isinstance(value, list):
            if field.is_repeated:
                getattr(message, name).extend(value)
            else:
                setattr(message, name, value)
    return message


def places(methods: tuple[MethodDescriptor, ...] = METHODS) -> Iterator[Place]:
    """All of them. What is inside a frame of `Connect` is what the unary methods take, and is not told again."""
    for method in methods:
        depth = 1 if method.name == "Connect" else 8
        for fields in _fields(method.input_type, (), depth):
            yield Place(method, fields)


def _fields(
    descriptor: Descriptor, above: tuple[FieldDescriptor, ...], depth: int
) -> Iterator[tuple[FieldDescriptor, ...]]:
    for field in descriptor.fields:
        here = (*above, field)
        if field.is_repeated or field.type in _TEXTS:
            yield here
        inner = field.message_type
        if inner is not None and not is_map(field) and not inner.full_name.startswith("google.") and len(here) < depth:
            yield from _fields(inner, here, depth)


def is_map(field: FieldDescriptor) -> bool:
    """Whether it is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def stub_of(stubs: Any, method: MethodDescriptor) -> Any:
    """The callable of a method."""
    service = {"StateService": stubs.state, "OutboxService": stubs.outbox, "AdminService": stubs.admin}
    return getattr(service[method.containing_service.name], method.name)


async def answers(stubs: Any, method: MethodDescriptor, request: Any, *, timeout_s: float = 10.0, **given: Any) -> Any:
    """Call it; the reply, or the first of a stream. Raises AioRpcError."""
    call = stub_of(stubs, method)
    if not method.client_streaming and not method.server_streaming:
        return await call(request, timeout=timeout_s, **given)
    stream = call(timeout=timeout_s, **given) if method.client_streaming else call(request, timeout=timeout_s, **given)
    try:
        if method.client_streaming:
            await stream.write(request)
        return await stream.read()
    finally:
        stream.cancel()
