"""URLs of sinks: what is read of them, and what is refused, without a word of the URL itself."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from sidecar.runtime.ports import SystemClock
from sidecar.sinks import TARGETS, build, shown
from sidecar.sinks.aws.target import AwsTarget
from sidecar.sinks.kafka.target import KafkaTarget
from sidecar.sinks.nats.target import NatsTarget
from sidecar.sinks.redis.target import RedisSinkTarget
from sidecar.sinks.webhook.target import WebhookTarget
from sidecar.stores.redis.target import parse_target as parse_redis

ARN = "arn:aws:sns:eu-central-1:123456789012:events"


def parsed(url: str) -> Any:
    return import_module(TARGETS[url.partition("://")[0]]).parse_target(url)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://host", RedisSinkTarget(redis=parse_redis("redis://host"))),
        (
            "rediss://:p%40ss@host:1/2?stream=my/events&maxlen=1000&ca_file=/ca.pem",
            RedisSinkTarget(
                redis=parse_redis("rediss://:p%40ss@host:1/2?ca_file=/ca.pem"), stream="my/events", maxlen=1000
            ),
        ),
        (
            "redis+sentinel://one,two:2/primary/3?tls=true&maxlen=0",
            RedisSinkTarget(redis=parse_redis("redis+sentinel://one,two:2/primary/3?tls=true")),
        ),
        ("http://host", WebhookTarget(url="http://host/", host="host:80")),
        (
            "https://us%2Fer:p%40ss@host/a%20b/c?mode=binary&x=1&x=2&y=%2F+&timeout=30",
            WebhookTarget(
                url="https://host/a%20b/c?x=1&x=2&y=%2F+",
                host="host:443",
                user="us/er",
                password="p@ss",
                binary=True,
                timeout_s=30,
            ),
        ),
        ("http://[::1]:8080/?mode=structured", WebhookTarget(url="http://[::1]:8080/", host="[::1]:8080")),
        ("https://host/@user/hook", None),
        ("sqs://events", AwsTarget(service="sqs", name="events")),
        (
            "sqs://events.fifo?region=eu-central-1&account=123456789012&endpoint_url=http://host:1/",
            AwsTarget(
                service="sqs",
                name="events.fifo",
                region="eu-central-1",
                account="123456789012",
                endpoint_url="http://host:1",
            ),
        ),
        (f"sns://{ARN}", AwsTarget(service="sns", name=ARN, region="eu-central-1")),
        (
            f"sns://{ARN}.fifo?endpoint_url=https://host",
            AwsTarget(service="sns", name=f"{ARN}.fifo", region="eu-central-1", endpoint_url="https://host"),
        ),
        ("nats://host?stream=S", NatsTarget(servers=("host:4222",), stream="S")),
        (
            "nats://user:p%40ss@one:1,two?stream=S&subject_prefix=a.b",
            NatsTarget(servers=("one:1", "two:4222"), stream="S", subject_prefix="a.b", user="user", password="p@ss"),
        ),
        (
            "tls://secret@[::1]?stream=S&ca_file=/ca.pem",
            NatsTarget(servers=("[::1]:4222",), stream="S", token="secret", tls=True, ca_file="/ca.pem"),
        ),
        ("kafka://one,two:2", KafkaTarget(brokers=("one:9092", "two:2"))),
        (
            "kafka://user:p%40ss@one?topic_prefix=shop.&tls=true&mechanism=SCRAM-SHA-256&ca_file=/ca.pem",
            KafkaTarget(
                brokers=("one:9092",),
                topic_prefix="shop.",
                user="user",
                password="p@ss",
                mechanism="SCRAM-SHA-256",
                tls=True,
                ca_file="/ca.pem",
            ),
        ),
    ],
)
def test_a_url_is_read(url: str, target: object) -> None:
    if target is None:
        with pytest.raises(ValueError, match="%2F"):
            parsed(url)
    else:
        assert parsed(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://one,two",
        "redis://host/database",
        "redis://host?maxlen=-1",
        "redis://host?maxlen=1.5",
        "redis://host?maxlen=10000000000",
        "redis://host?stream=",
        "redis://host?stream=a%0Ab",
        "redis://host?stream=a&stream=b",
        "redis://host?streams=a",
        "redis+sentinel://host",
        "http://",
        "http://host:0",
        "http://us%3Aer:secret@host",
        "http://host:x",
        "http://one,two/",
        "http://host/?mode=batch",
        "http://host/?mode=binary&mode=binary",
        "http://host/?timeout=0",
        "http://host/?timeout=1000",
        "http://host/?timeout=1s",
        "http://host/#fragment",
        "http://host/#",
        "http://host/a b",
        "http://host/ü",
        "sqs://",
        "sqs://a/b",
        "sqs://key:secret@events",
        "sqs://events.fifo.fifo",
        "sqs://events?region=EU!",
        "sqs://events?account=1",
        "sqs://events?endpoint_url=host:1",
        "sqs://events?endpoint_url=http://user:secret@host",
        "sqs://events?endpoint_url=http://host:x",
        "sqs://events?endpoint_url=http://host/?a=b",
        "sqs://events?profile=x",
        "sns://events",
        "sns://arn:aws:sqs:eu-central-1:123456789012:events",
        f"sns://{ARN}?region=eu-central-1",
        "nats://host",
        "nats://host?stream=",
        "nats://host?stream=a.b",
        "nats://host?stream=*",
        "nats://host?stream=S&subject_prefix=a..b",
        "nats://host?stream=S&subject_prefix=a.*",
        "nats://host?stream=S&subject_prefix=",
        "nats://host?stream=S&ca_file=/ca.pem",
        "nats://host/path?stream=S",
        "nats://one,,two?stream=S",
        "nats://?stream=S",
        "kafka://",
        "kafka://host/topic",
        "kafka://user@host",
        "kafka://host?mechanism=PLAIN",
        "kafka://user:secret@host?mechanism=MD5",
        "kafka://host?tls=yes",
        "kafka://host?ca_file=/ca.pem",
        "kafka://host?topic_prefix=a/b",
        "kafka://host?topic=a",
    ],
)
def test_what_is_wrong_is_told_with_the_form_that_is_right(url: str) -> None:
    url = url.replace("host", "h0st")
    with pytest.raises(ValueError, match=r".{15}") as told:
        parsed(url)

    rest = url.partition("://")[2]
    assert not rest or rest not in str(told.value)
    assert "secret" not in str(told.value)
    with pytest.raises(ValueError, match=r".{15}"):
        build(url, app="", clock=SystemClock())


@pytest.mark.parametrize("url", ["memory://", "ftp://host", "host", ""])
def test_an_unknown_scheme_is_told_which_there_are(url: str) -> None:
    with pytest.raises(ValueError, match="kafka://"):
        build(url, app="", clock=SystemClock())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://user:hunter2@host:1/hunter2?a=hunter2", "https://host:1"),
        ("redis://:hun/ter2@host/0", "redis://host"),
        ("https://host?hunter2", "https://host"),
        ("nats://hunter2@one:1,two:2?stream=S", "nats://one:1,two:2"),
        (f"sns://{ARN}?endpoint_url=http://host", f"sns://{ARN}"),
    ],
)
def test_what_is_shown_is_the_place_alone(url: str, told: str) -> None:
    assert shown(url) == told


def test_a_target_does_not_show_its_secrets() -> None:
    for url in (
        "redis://:hunter2@host",
        "https://user:hunter2@host/hunter2?hunter2",
        "nats://user:hunter2@host?stream=S",
        "nats://hunter2@host?stream=S",
        "kafka://user:hunter2@host",
    ):
        assert "hunter2" not in f"{parsed(url)!r} {parsed(url)}"
