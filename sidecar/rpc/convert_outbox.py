"""Between protos and the outbox's values."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.core.outbox import Message
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2


def carried(messages: Iterable[types_pb2.OutboxMessage], operation: int | None) -> tuple[Message, ...]:
    """What a write carries, of the operation of that index; None: of all of them."""
    return tuple(
        Message(
            topic=message.topic,
            payload=message.payload,
            content_type=message.content_type,
            attributes=dict(message.attributes),
            operation=operation,
        )
        for message in messages
    )


def transaction_outbox(request: pb.TransactRequest) -> tuple[Message, ...]:
    """Those of its operations, in their order, then its own."""
    inner = [
        message
        for index, operation in enumerate(request.operations)
        if (which := operation.WhichOneof("operation")) not in (None, "check")
        for message in carried(getattr(operation, which).outbox, index)
    ]
    return (*inner, *carried(request.outbox, None))
