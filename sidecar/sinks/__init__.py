"""Sinks: where messages of the outbox go. One folder each; a client library is imported when a URL asks for it.

`docs/outbox.md` says what each of them guarantees.
"""

from __future__ import annotations

from sidecar.core.ports import Clock
from sidecar.core.sinks import Sink

TARGETS = {
    "redis": "sidecar.sinks.redis.target",
    "rediss": "sidecar.sinks.redis.target",
    "redis+sentinel": "sidecar.sinks.redis.target",
    "http": "sidecar.sinks.webhook.target",
    "https": "sidecar.sinks.webhook.target",
    "sqs": "sidecar.sinks.aws.target",
    "sns": "sidecar.sinks.aws.target",
    "nats": "sidecar.sinks.nats.target",
    "tls": "sidecar.sinks.nats.target",
    "kafka": "sidecar.sinks.kafka.target",
}
"""By scheme, the module whose `parse_target` reads a sink's URL."""
LIBRARIES = {
    "sidecar.sinks.redis.target": ("hiredis", "redis"),
    "sidecar.sinks.webhook.target": ("aiohttp", "webhook"),
    "sidecar.sinks.aws.target": ("botocore", "aws"),
    "sidecar.sinks.nats.target": ("nats", "nats"),
    "sidecar.sinks.kafka.target": ("confluent_kafka", "kafka"),
}
"""The library that a sink needs, and the extra of pyproject.toml that has it."""


def build(url: str, *, app: str, clock: Clock) -> Sink:
    """The sink that a URL names, not opened yet. Raises ValueError, with a message that repeats no secret.

    `app` is in what goes out: by it a consumer tells daemons of one application from those of another.
    """
    match url.partition("://")[0]:
        case "redis" | "rediss" | "redis+sentinel":
            from sidecar.sinks.redis.sink import RedisSink  # noqa: PLC0415
            from sidecar.sinks.redis.target import parse_target as parse_redis  # noqa: PLC0415

            return RedisSink(parse_redis(url), app=app, clock=clock)
        case "http" | "https":
            from sidecar.sinks.webhook.sink import WebhookSink  # noqa: PLC0415
            from sidecar.sinks.webhook.target import parse_target as parse_webhook  # noqa: PLC0415

            return WebhookSink(parse_webhook(url), app=app, clock=clock)
        case "sqs" | "sns":
            from sidecar.sinks.aws.sink import AwsSink  # noqa: PLC0415
            from sidecar.sinks.aws.target import parse_target as parse_aws  # noqa: PLC0415

            return AwsSink(parse_aws(url), app=app)
        case "nats" | "tls":
            from sidecar.sinks.nats.sink import NatsSink  # noqa: PLC0415
            from sidecar.sinks.nats.target import parse_target as parse_nats  # noqa: PLC0415

            return NatsSink(parse_nats(url), app=app)
        case "kafka":
            from sidecar.sinks.kafka.sink import KafkaSink  # noqa: PLC0415
            from sidecar.sinks.kafka.target import parse_target as parse_kafka  # noqa: PLC0415

            return KafkaSink(parse_kafka(url), app=app)
        case _:
            raise ValueError(f"a sink's URL begins with one of {', '.join(f'{scheme}://' for scheme in TARGETS)}")


def shown(url: str) -> str:
    """A sink's URL as it may be shown: without user and password, and without path and parameters, which may be secret."""
    scheme, separator, rest = url.partition("://")
    # What is before the last @ is a password, also one with an unescaped slash in it.
    place = rest.rpartition("@")[2]
    for end in "/?#":
        place = place.partition(end)[0]
    return f"{scheme}{separator}{place}"
