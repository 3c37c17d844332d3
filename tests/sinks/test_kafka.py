"""The Kafka sink: what brokers answer to a message, and how records are placed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from sidecar.core.sinks import UNTRIED, Refused, Sink, SinkUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.sinks import build
from sidecar.sinks.kafka.producer import _configuration
from sidecar.sinks.kafka.target import parse_target
from tests.sinks.harness_kafka import PREFIX, Kafka
from tests.sinks.kafka_mock import INIT_PRODUCER_ID, PRODUCE
from tests.sinks.messages import APP, deliveries, expected, message

PARTITIONS = 4


@pytest.fixture
async def kafka() -> AsyncIterator[Kafka]:
    harness = Kafka()
    await harness.start(own=True)
    yield harness
    await harness.stop()


@pytest.fixture
async def sink(kafka: Kafka) -> AsyncIterator[Sink]:
    sink = build(kafka.url, app=APP, clock=SystemClock())
    await sink.open()
    yield sink
    await sink.close()


def records(kafka: Kafka, topic: str) -> list[list[Any]]:
    """Of each partition."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.server.brokers, "group.id": "t", "enable.partition.eof": True, "log_level": 0}
    )
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    found: list[list[Any]] = [[] for _ in range(PARTITIONS)]
    left = PARTITIONS
    while left:
        told = consumer.poll(10.0)
        assert told is not None
        if (error := told.error()) is not None:
            assert error.code() == KafkaError._PARTITION_EOF
            left -= 1
        else:
            found[told.partition() or 0].append(told)
    consumer.close()
    return found


async def test_the_records_of_a_key_are_in_one_partition_in_their_order(kafka: Kafka, sink: Sink) -> None:
    kafka.server.make_topic(f"{PREFIX}orders", PARTITIONS)
    sent = [message(f"key {number % 13}", topic="orders") for number in range(sink.batch_max * 3)]
    for begin in range(0, len(sent), sink.batch_max):
        assert await sink.publish(deliveries(sent[begin : begin + sink.batch_max])) == [None] * sink.batch_max

    found = await asyncio.to_thread(records, kafka, f"{PREFIX}orders")

    assert sum(map(bool, found)) > 1, "keys are divided among partitions"
    keys = [{told.key() for told in partition} for partition in found]
    assert sum(map(len, keys)) == 13, "no key is in two"
    for partition in found:
        by_key: dict[bytes, list[int]] = {}
        for told in partition:
            by_key.setdefault(told.key(), []).append(int(dict(told.headers())["ce_version"]))
        assert all(versions == sorted(versions) for versions in by_key.values())


@pytest.mark.parametrize("topic", ["a/b", "a b", "ü", "a" * 250])
async def test_a_topic_that_kafka_does_not_have_is_refused_for_ever(sink: Sink, topic: str) -> None:
    refused, untried, other = await sink.publish(deliveries([message("a", topic=topic), message("a"), message("b")]))

    assert isinstance(refused, Refused)
    assert refused.permanent
    assert (untried, other) == (UNTRIED, None)


@pytest.mark.parametrize("topic", ["__consumer_offsets", ".", ".."])
async def test_the_brokers_own_topics_are_not_written_to(kafka: Kafka, topic: str) -> None:
    sink = build(f"kafka://{kafka.server.brokers}", app=APP, clock=SystemClock())
    [refused] = await sink.publish(deliveries([message(topic=topic)]))
    await sink.close()

    assert isinstance(refused, Refused)
    assert refused.permanent


@pytest.mark.parametrize(
    "error", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION]
)
async def test_what_brokers_say_of_a_topic_refuses_its_messages_alone(kafka: Kafka, sink: Sink, error: int) -> None:
    kafka.server.refuse_topic(f"{PREFIX}bad", error)

    refused, other = await sink.publish(deliveries([message("a", topic="bad"), message("b")]))

    assert isinstance(refused, Refused)
    assert not refused.permanent
    assert f"topic {PREFIX}bad" in refused.reason
    assert other is None


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, True),
        (KafkaError.INVALID_RECORD, True),
        (KafkaError.POLICY_VIOLATION, False),
    ],
)
async def test_what_brokers_say_of_a_record_refuses_it(kafka: Kafka, sink: Sink, error: int, permanent: bool) -> None:
    assert await sink.publish(deliveries([message()])) == [None]
    kafka.server.fail_next(PRODUCE, error)

    [refused] = await sink.publish(deliveries([message()]))

    assert isinstance(refused, Refused)
    assert refused.permanent is permanent
    assert await sink.publish(deliveries([message()])) == [None]


@pytest.mark.parametrize("error", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_ENOUGH_REPLICAS])
async def test_what_passes_is_repeated_by_the_producer_and_stored_once(kafka: Kafka, sink: Sink, error: int) -> None:
    sent = message()
    kafka.server.fail_next(PRODUCE, error, error)

    assert await sink.publish(deliveries([sent])) == [None]

    assert [got.id for got in await kafka.received(1)] == [expected(sent).id]


async def test_a_producer_that_can_do_no_more_is_replaced(kafka: Kafka) -> None:
    kafka.server.fail_next(INIT_PRODUCER_ID, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
    sink = build(kafka.url, app=APP, clock=SystemClock())

    with pytest.raises(SinkUnavailable):
        await sink.publish(deliveries([message("a"), message("b")]))

    assert await sink.publish(deliveries([message("a"), message("b")])) == [None, None]
    await sink.close()


async def test_what_is_larger_than_the_producer_takes_is_refused_for_ever(sink: Sink) -> None:
    refused, other = await sink.publish(deliveries([message("a", payload=bytes(1_100_000)), message("b")]))

    assert isinstance(refused, Refused)
    assert refused.permanent
    assert other is None


@pytest.mark.parametrize(
    ("url", "expected_"),
    [
        ("kafka://host", {"security.protocol": "PLAINTEXT"}),
        ("kafka://host?tls=true&ca_file=/ca.pem", {"security.protocol": "SSL", "ssl.ca.location": "/ca.pem"}),
        (
            "kafka://user:p%40ss@host",
            {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "user",
                "sasl.password": "p@ss",
            },
        ),
        (
            "kafka://user:p@host?tls=true&mechanism=SCRAM-SHA-512",
            {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"},
        ),
    ],
)
def test_credentials_and_tls_are_told_to_the_library(url: str, expected_: dict[str, str]) -> None:
    made = _configuration(parse_target(url), print)

    assert expected_.items() <= made.items()
    assert made["acks"] == "all"
    assert made["enable.idempotence"] is True
    assert ("sasl.username" in made) == ("@" in url)
