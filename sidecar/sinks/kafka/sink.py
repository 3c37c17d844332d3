"""KafkaSink: each message a record of its topic, confirmed when all replicas in sync have it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from sidecar.core.outbox import Pending
from sidecar.core.sinks import Delivery, Receipt, Refused, SinkUnavailable
from sidecar.sinks import events
from sidecar.sinks.kafka.producer import Headers, Producer
from sidecar.sinks.kafka.target import TOPIC, KafkaTarget
from sidecar.sinks.ordered import one_by_one

BATCH_MAX = 32
_NEVER = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
    }
)
_OF_THE_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001  # the library's own codes begin so
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
    }
)


class KafkaSink:
    """Topics of a cluster. Records of a key are in one partition, in the order in which they were committed."""

    def __init__(self, target: KafkaTarget, *, app: str) -> None:
        self._target = target
        self._app = app
        self._producer: Producer | None = None
        self._changing = asyncio.Lock()

    @property
    def batch_max(self) -> int:
        return BATCH_MAX

    async def open(self) -> None:
        producer = await self._made()
        try:
            await producer.ask()
        except KafkaException as exc:
            raise self._unavailable(exc.args[0], producer) from exc

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        producer = await self._made()

        async def send(delivery: Delivery) -> Refused | None:
            return await self._send(producer, delivery.message)

        return await one_by_one(deliveries, send)

    async def close(self) -> None:
        await self._drop(self._producer)

    async def _made(self) -> Producer:
        async with self._changing:
            if self._producer is None:
                self._producer = Producer(self._target)
            return self._producer

    async def _drop(self, producer: Producer | None) -> None:
        """Let a producer go, if nobody has already."""
        async with self._changing:
            if producer is not None and producer is self._producer:
                self._producer = None
                await producer.close()

    async def _send(self, producer: Producer, message: Pending) -> Refused | None:
        topic = f"{self._target.topic_prefix}{message.topic}"
        # Those with two underscores are the brokers' own.
        if not TOPIC.fullmatch(topic) or topic in (".", "..") or topic.startswith("__"):
            return Refused("its topic can't be a topic of Kafka", permanent=True)
        try:
            error = await producer.send(
                topic, key=events.group_of(message).encode(), value=message.payload, headers=self._headers(message)
            )
        except KafkaException as exc:
            error = exc.args[0]
        except BufferError as exc:
            raise SinkUnavailable(f"{self._target}: too many messages wait for its brokers") from exc
        if error is None:
            return None
        code = error.code()
        if code in _NEVER or code in _OF_THE_TOPIC:
            return Refused(f"{self._target} refuses it for topic {topic}: {error.str()}", permanent=code in _NEVER)
        if producer.failed:
            # It would refuse everything from now on; the next call has another one.
            await self._drop(producer)
        raise self._unavailable(error, producer)

    def _unavailable(self, error: Any, producer: Producer) -> SinkUnavailable:
        return SinkUnavailable(f"{self._target} does not confirm messages: {error.str()}{producer.said}")

    def _headers(self, message: Pending) -> Headers:
        found = events.attributes(self._app, message)
        content_type = found.pop("datacontenttype", "")
        headers = [(f"ce_{name}", value.encode()) for name, value in found.items()]
        return [*headers, ("content-type", content_type.encode())] if content_type else headers
