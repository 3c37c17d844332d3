"""Every kind of sink with the other side of it: a real server, what it has got, and how it is harmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.core.outbox import Pending
from tests.sinks.harness_aws import SnsFifo, SqsFifo, SqsStandard
from tests.sinks.harness_kafka import Kafka
from tests.sinks.harness_nats import JetStream
from tests.sinks.harness_redis import RedisStreams, RedisTls
from tests.sinks.harness_webhook import WebhookBinary, WebhookStructured
from tests.sinks.messages import Got


class Harness(Protocol):
    """One for each test."""

    url: str
    payload_max: int
    """The largest payload that it takes."""
    attributes_max: int
    """Bytes of attributes that it takes, with headers as they are."""
    refused_permanently: bool
    """Whether what `refused` makes is refused for ever."""

    async def start(self, *, own: bool) -> None:
        """Have a server: one of the test's own, which it may harm, or one that others use too."""
        ...

    async def stop(self) -> None:
        """Let it go."""
        ...

    async def received(self, count: int) -> list[Got]:
        """What it has, in its order, once it is as many."""
        ...

    def refused(self, message: Pending) -> Pending:
        """The message, changed so that it is not taken."""
        ...

    async def kill(self) -> None:
        """Without a word."""
        ...

    async def restart(self) -> None:
        """Where it was; what it had may be gone."""
        ...


HARNESSES: dict[str, type[Harness]] = {
    "redis": RedisStreams,
    "rediss": RedisTls,
    "webhook-structured": WebhookStructured,
    "webhook-binary": WebhookBinary,
    "sqs-fifo": SqsFifo,
    "sqs": SqsStandard,
    "sns-fifo": SnsFifo,
    "nats": JetStream,
    "kafka": Kafka,
}
ORDERED: Sequence[str] = [name for name in HARNESSES if name != "sqs"]
"""Those that promise an order."""
