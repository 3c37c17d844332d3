"""What traces say of a backend or a sink: what it is, and where."""

from __future__ import annotations

from urllib.parse import urlsplit

from sidecar.core.tracing import Destination

SYSTEMS = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "sqlite": "sqlite",
    "redis": "redis",
    "rediss": "redis",
    "redis+cluster": "redis",
    "redis+sentinel": "redis",
    "memcached": "memcached",
    "dynamodb": "aws.dynamodb",
    "s3": "aws.s3",
    "file": "file",
    "memory": "memory",
    "sqs": "aws_sqs",
    "sns": "aws.sns",
    "nats": "nats",
    "tls": "nats",
    "kafka": "kafka",
    "http": "webhook",
    "https": "webhook",
}
"""What traces call a backend or sink, by the scheme of its URL: OpenTelemetry's names where it has one."""


def destination(url: str) -> Destination:
    """Where a URL leads, without what may be secret in it."""
    parts = urlsplit(url)
    system = SYSTEMS.get(parts.scheme, parts.scheme)
    if parts.scheme in {"file", "sqlite", "memory", "dynamodb", "s3", "sqs", "sns"}:  # no host, or a name in its place
        return Destination(system)
    try:
        return Destination(system, parts.hostname or "", parts.port)
    except ValueError:  # several hosts, or a port that is none
        return Destination(system)


def server_attributes(address: str, port: int | None) -> dict[str, str | int]:
    """Where a backend is, as far as that is known."""
    if not address:
        return {}
    return {"server.address": address} if port is None else {"server.address": address, "server.port": port}
