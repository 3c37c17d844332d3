"""Messages to publish, and what a consumer is to see of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from sidecar.core.outbox import Pending, message_id, order_of
from sidecar.core.sinks import Delivery
from sidecar.sinks.events import published_id

APP = "shop é/1"
NAMESPACE = "orders ü"
START_MS = 1_800_000_000_123
_versions = count(1 << 48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """A message as a consumer has it. `json`: its payload came as JSON, and is compared as what it says."""

    id: str
    namespace: str
    key: str
    version: int
    topic: str
    payload: bytes
    content_type: str
    commit_time: int
    attributes: Mapping[str, str] = field(default_factory=dict)


def message(
    key: str = "a key",
    *,
    topic: str = "orders.placed",
    payload: bytes = b"payload",
    content_type: str = "text/plain",
    attributes: Mapping[str, str] | None = None,
    order: str = "",
    namespace: str = NAMESPACE,
) -> Pending:
    """A committed message, later than all before."""
    version = next(_versions)
    return Pending(
        id=message_id(version, 0),
        namespace=namespace,
        order=order or order_of(key),
        key=key,
        version=version,
        commit_time=START_MS + version % 1000,
        topic=topic,
        payload=payload,
        content_type=content_type,
        attributes=attributes or {},
    )


def deliveries(messages: Sequence[Pending]) -> list[Delivery]:
    """The same, each for the first time."""
    return [Delivery(each) for each in messages]


def expected(sent: Pending, app: str = APP) -> Got:
    """What a consumer of it sees."""
    return Got(
        id=published_id(app, sent),
        namespace=sent.namespace,
        key=sent.key,
        version=sent.version,
        topic=sent.topic,
        payload=sent.payload,
        content_type=sent.content_type,
        commit_time=sent.commit_time,
        attributes=dict(sent.attributes),
    )
