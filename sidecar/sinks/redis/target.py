"""Which Redis and which stream a URL names. Imports no client library.

redis://[user:password@]host:port/db?stream=NAME&maxlen=N       rediss://… over TLS
redis+sentinel://[user:password@]s1:p1,s2:p2/PRIMARY/db?…       the primary of that name
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from sidecar.sinks.parameters import matched, parameters, whole
from sidecar.stores.redis import target as redis

MAXLEN_MAX = 10**9
_FORM = "redis://host:port/db?stream=NAME&maxlen=N"
_STREAM = re.compile(r"[\x21-\x7e]{1,512}")
_OWN = ("stream", "maxlen")
_OF_THE_SERVER = ("tls", "ca_file", "cert_file", "key_file", "verify", "sentinel_user", "sentinel_password")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSinkTarget:
    """A server, and how its streams are named and trimmed."""

    redis: redis.RedisTarget
    stream: str = ""
    """Of all messages; empty: one for each topic."""
    maxlen: int = 0
    """Entries that a stream keeps, about; 0: all."""


def parse_target(url: str) -> RedisSinkTarget:
    """Read a URL. Raises ValueError with a message for the operator, which names no secret."""
    place, _, query = url.partition("?")
    if not place.startswith(("redis://", "rediss://", "redis+sentinel://")):
        raise ValueError(f"it has the form {_FORM}, or rediss:// or redis+sentinel://")
    given = parameters(query, (*_OWN, *_OF_THE_SERVER))
    others = {name: value for name, value in given.items() if name in _OF_THE_SERVER}
    return RedisSinkTarget(
        redis=redis.parse_target(f"{place}?{urlencode(others)}" if others else place),
        stream=matched(given, "stream", _STREAM, "1 to 512 visible characters"),
        maxlen=whole(given, "maxlen", default=0, low=0, high=MAXLEN_MAX),
    )
