"""Which brokers a URL names, and how topics are called there. Imports no client library.

kafka://[user:password@]h1:p,h2:p?topic_prefix=PREFIX&tls=true&mechanism=PLAIN|SCRAM-SHA-256|SCRAM-SHA-512&ca_file=PATH
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sidecar.sinks.parameters import credentials, endpoints, matched, parameters, split

PORT = 9092
TOPIC_MAX = 249
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_FORM = "kafka://host:port,host:port?topic_prefix=PREFIX"
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,200}")
_TRUTH = re.compile("true|false")
_MECHANISM = re.compile("PLAIN|SCRAM-SHA-256|SCRAM-SHA-512")
_PATH = re.compile(r"[^\x00]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTarget:
    """Brokers to find the others by."""

    brokers: tuple[str, ...]
    """`host:port` each."""
    topic_prefix: str = ""
    """Comes before the message's topic."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    mechanism: str = "PLAIN"
    tls: bool = False
    ca_file: str = ""

    def __str__(self) -> str:
        return ",".join(self.brokers)


def parse_target(url: str) -> KafkaTarget:
    """Read a URL. Raises ValueError with a message for the operator, which names no secret."""
    parts = split(url, _FORM)
    if parts.scheme != "kafka" or parts.path.strip("/"):
        raise ValueError(f"it has the form {_FORM}; write / as %2F and @ as %40 in a password")
    given = parameters(parts.query, ("topic_prefix", "tls", "mechanism", "ca_file"))
    user, password, hosts = credentials(parts.netloc)
    if (user is None) != (password is None):
        raise ValueError("a user needs a password: kafka://user:password@host:port")
    tls = matched(given, "tls", _TRUTH, "true or false") == "true"
    if "ca_file" in given and not tls:
        raise ValueError("ca_file is for TLS: add tls=true")
    if "mechanism" in given and user is None:
        raise ValueError("mechanism says how user and password are told, and there are none")
    return KafkaTarget(
        brokers=endpoints(hosts, PORT, _FORM),
        topic_prefix=matched(given, "topic_prefix", _PREFIX, "at most 200 letters, digits and . _ -"),
        user=user,
        password=password,
        mechanism=matched(given, "mechanism", _MECHANISM, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512") or "PLAIN",
        tls=tls,
        ca_file=matched(given, "ca_file", _PATH, "a path"),
    )
