"""Topics of librdkafka's mock broker."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from sidecar.core.outbox import Pending
from tests.sinks import cloudevents
from tests.sinks.kafka_mock import MockKafka
from tests.sinks.messages import Got

REFUSED = "refused"
PREFIX = "shop."
_WAIT_S = 10.0


class Kafka:
    payload_max = 256 * 1024
    attributes_max = 64 * 1024
    refused_permanently = False

    def __init__(self) -> None:
        self.server = MockKafka()
        self.url = f"kafka://{self.server.brokers}?topic_prefix={PREFIX}"

    async def start(self, *, own: bool) -> None:
        self.server.refuse_topic(f"{PREFIX}{REFUSED}", KafkaError.TOPIC_AUTHORIZATION_FAILED)

    async def stop(self) -> None:
        await asyncio.to_thread(self.server.close)

    async def received(self, count: int) -> list[Got]:
        return await asyncio.to_thread(self._consume, count)

    def refused(self, message: Pending) -> Pending:
        return replace(message, topic=REFUSED)

    async def kill(self) -> None:
        self.server.down()

    async def restart(self) -> None:
        self.server.up()

    def _consume(self, count: int) -> list[Got]:
        """All partitions of all topics, to their ends."""
        consumer = Consumer(
            {"bootstrap.servers": self.server.brokers, "group.id": "test", "enable.partition.eof": True, "log_level": 0}
        )
        topics = consumer.list_topics(timeout=_WAIT_S).topics
        parts = [
            TopicPartition(name, number, OFFSET_BEGINNING)
            for name, topic in topics.items()
            if name.startswith(PREFIX) and topic.error is None
            for number in topic.partitions
        ]
        consumer.assign(parts)
        found: list[Got] = []
        left, end = len(parts), time.monotonic() + _WAIT_S
        while left:
            assert time.monotonic() < end, found
            told = consumer.poll(1.0)
            if told is None:
                continue
            if (error := told.error()) is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                left -= 1
                continue
            headers, key = told.headers(), told.key()
            assert isinstance(headers, list)
            assert key is not None
            got = cloudevents.of_kafka({name: _bytes(value) for name, value in headers}, key, told.value() or b"")
            assert told.topic() == f"{PREFIX}{got.topic}"
            found.append(got)
        consumer.close()
        assert len(found) >= count, found
        return found


def _bytes(value: str | bytes | None) -> bytes:
    assert isinstance(value, bytes)
    return value
