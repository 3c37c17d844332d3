"""Which stream a URL names. Imports no client library.

nats://[user:password@|token@]h1:p,h2:p?stream=NAME&subject_prefix=PREFIX        tls://… over TLS, ca_file=PATH
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sidecar.sinks.parameters import credentials, endpoints, matched, parameters, split

PORT = 4222
_FORM = "nats://host:port?stream=NAME&subject_prefix=PREFIX"
_STREAM = re.compile(r"[^\s.*>/\\\x00-\x1f\x7f]{1,255}")
SUBJECT = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(?:\.[^\s.*>\x00-\x1f\x7f]+)*")
"""Words with dots between them."""
_PATH = re.compile(r"[^\x00]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsTarget:
    """A stream, and the servers to find it by."""

    servers: tuple[str, ...]
    """`host:port` each."""
    stream: str
    subject_prefix: str = ""
    """Comes before the topic, with a dot between; empty: the topic is the subject."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str = ""

    def __str__(self) -> str:
        return f"stream {self.stream} at {','.join(self.servers)}"


def parse_target(url: str) -> NatsTarget:
    """Read a URL. Raises ValueError with a message for the operator, which names no secret."""
    parts = split(url, _FORM)
    if parts.scheme not in ("nats", "tls") or parts.path.strip("/"):
        raise ValueError(f"it has the form {_FORM}, or tls://; write / as %2F and @ as %40 in a password")
    given = parameters(parts.query, ("stream", "subject_prefix", "ca_file"))
    if "stream" not in given:
        raise ValueError(f"stream is missing: {_FORM}")
    if "ca_file" in given and parts.scheme != "tls":
        raise ValueError("ca_file is for TLS: write tls://")
    user, password, hosts = credentials(parts.netloc)
    alone = password is None
    return NatsTarget(
        servers=endpoints(hosts, PORT, _FORM),
        stream=matched(given, "stream", _STREAM, "a name without spaces, dots, slashes, * and >"),
        subject_prefix=matched(given, "subject_prefix", SUBJECT, "words with dots between them, without * and >"),
        user=None if alone else user,
        password=password,
        token=user if alone else None,
        tls=parts.scheme == "tls",
        ca_file=matched(given, "ca_file", _PATH, "a path"),
    )
