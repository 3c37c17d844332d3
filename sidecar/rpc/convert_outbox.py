"""Between protos and the outbox's values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sidecar.core import paging
from sidecar.core.errors import InvalidRequest
from sidecar.core.outbox import TOPIC_BYTES_MAX, Message, Pending
from sidecar.core.sinks import Receipt, Refused
from sidecar.engine.outbox.letters import DeadLetter, LetterPage
from sidecar.rpc.calls import refuse_unreadable
from sidecar.rpc.convert import timestamp
from statesidecar.v1 import outbox_service_pb2, types_pb2
from statesidecar.v1 import state_service_pb2 as pb

WINDOW_MAX = 1000
WINDOW_DEFAULT = 100
TOPICS_MAX = 100
"""Of a consumer."""
REASON_BYTES_MAX = 1024
"""Of a refusal."""
PAGE_SIZE_MAX = 1000
IDS_MAX = 1000
"""That a request names: as many as a page has."""
ID_BYTES_MAX = 1024
PAGE_SIZE_DEFAULT = 100
PAGE_BYTES_MAX = 4 * 1024 * 1024
"""Of payloads. A page has at least one dead letter, however large."""


# ---- messages of a write


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


# ---- a consumer


def first(request: Any) -> outbox_service_pb2.ConsumeRequest:
    """What is to be consumed, if the request says that and nothing else. None: there is none."""
    if request is None:
        raise _invalid("the stream ended before it named what to consume", "namespace")
    refuse_unreadable(request)
    asked: outbox_service_pb2.ConsumeRequest = request
    if asked.acknowledged_ids or asked.refused:
        raise _invalid("the first request names what to consume; the later ones acknowledge", "acknowledged_ids")
    if not 0 <= asked.in_flight_max <= WINDOW_MAX:
        raise _invalid(f"in_flight_max {asked.in_flight_max} is not 0 (the default) to {WINDOW_MAX}", "in_flight_max")
    if len(asked.topics) > TOPICS_MAX:
        raise _invalid(f"{len(asked.topics)} topics, at most {TOPICS_MAX} are allowed; none: all", "topics")
    if any(not 0 < len(topic.encode()) <= TOPIC_BYTES_MAX for topic in asked.topics):
        raise _invalid(f"a topic has 1 to {TOPIC_BYTES_MAX} bytes", "topics")
    return asked


def receipts(request: Any) -> Iterator[tuple[str, Receipt]]:
    """What a later request says of messages, by id."""
    refuse_unreadable(request)
    later: outbox_service_pb2.ConsumeRequest = request
    if later.namespace or later.topics or later.in_flight_max:
        raise _invalid("only the first request names what to consume: make a stream for each", "namespace")
    yield from ((name, None) for name in later.acknowledged_ids)
    for refusal in later.refused:
        if len(refusal.reason.encode()) > REASON_BYTES_MAX:
            raise _invalid(f"the reason of a refusal has at most {REASON_BYTES_MAX} bytes", "refused")
        yield refusal.id, Refused(refusal.reason, permanent=refusal.permanent)


def delivered(message: Pending, attempt: int) -> outbox_service_pb2.DeliveredMessage:
    """A message on its way."""
    return outbox_service_pb2.DeliveredMessage(
        id=message.id,
        key=message.key,
        version=message.version,
        message=types_pb2.OutboxMessage(
            topic=message.topic,
            payload=message.payload,
            content_type=message.content_type,
            attributes=message.attributes,
        ),
        commit_time=timestamp(message.commit_time),
        attempt=attempt,
    )


def _invalid(message: str, field: str) -> InvalidRequest:
    return InvalidRequest(message, reason="CONSUMER_INVALID", field=field)


# ---- dead letters


def page_size(request: outbox_service_pb2.ListDeadLettersRequest) -> int:
    """How many dead letters a page has."""
    if not 0 <= request.page_size <= PAGE_SIZE_MAX:
        raise InvalidRequest(
            f"page_size {request.page_size} is not 0 (the default) to {PAGE_SIZE_MAX}",
            reason="PAGE_SIZE_INVALID",
            field="page_size",
        )
    return request.page_size or PAGE_SIZE_DEFAULT


def after(request: outbox_service_pb2.ListDeadLettersRequest) -> str:
    """Where the page begins; empty: at the oldest."""
    return paging.after_key(request.page_token, _list_name(request.namespace), "") if request.page_token else ""


def dead_letters(namespace: str, page: LetterPage) -> outbox_service_pb2.ListDeadLettersResponse:
    """As many of a page as fit a message."""
    shown = paging.fitting(page.letters, lambda letter: len(letter.message.payload), PAGE_BYTES_MAX)
    response = outbox_service_pb2.ListDeadLettersResponse(dead_letters=[_dead_letter(letter) for letter in shown])
    if after := page.after if len(shown) == len(page.letters) else shown[-1].cursor:
        response.next_page_token = paging.page_token(_list_name(namespace), "", after)
    return response


def named(request: outbox_service_pb2.RedriveRequest) -> frozenset[str] | None:
    """The ids that are to be put back; None: all."""
    if bool(request.ids) == request.all:
        raise InvalidRequest(
            "name dead letters by `ids`, or take `all` of them: one of the two",
            reason="DEAD_LETTERS_UNNAMED",
            field="ids",
        )
    check_ids(request.ids, reason="DEAD_LETTERS_UNNAMED")
    return None if request.all else frozenset(request.ids)


def check_ids(ids: Sequence[str], *, reason: str) -> None:
    """InvalidRequest of that reason for more ids than a page has, or one that is longer than any."""
    if len(ids) > IDS_MAX:
        raise InvalidRequest(f"{len(ids)} ids, at most {IDS_MAX} are allowed", reason=reason, field="ids")
    if any(not 0 < len(one.encode()) <= ID_BYTES_MAX for one in ids):
        raise InvalidRequest(f"an id has 1 to {ID_BYTES_MAX} bytes", reason=reason, field="ids")


def _dead_letter(letter: DeadLetter) -> outbox_service_pb2.DeadLetter:
    return outbox_service_pb2.DeadLetter(
        message=delivered(letter.message, letter.attempts),
        reason=letter.reason,
        dead_time=timestamp(letter.time),
    )


def _list_name(namespace: str) -> str:
    """No namespace has such a name, so that no token of its keys is taken for one of dead letters."""
    return f"dead letters\n{namespace}"
