"""Which Redis a URL names, and how it is reached. Imports no client library.

redis://[user:password@]host:port/db            one server
rediss://...                                    the same over TLS
redis+cluster://[user:password@]h1:p1,h2:p2     a Cluster, found through any of these nodes
redis+sentinel://[user:password@]s1:p1,s2:p2/PRIMARY/db    the primary of that name, as these sentinels say
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qsl, unquote, urlsplit

PORT, SENTINEL_PORT = 6379, 26379
_TLS = ("ca_file", "cert_file", "key_file", "verify")
_SENTINEL = ("sentinel_user", "sentinel_password")
_YES = {"true": True, "false": False}


class Topology(Enum):
    """How the server that holds a key is found."""

    SINGLE = "redis"
    CLUSTER = "redis+cluster"
    SENTINEL = "redis+sentinel"


class Verify(Enum):
    """What is checked of a server's certificate."""

    FULL = "full"
    CA = "ca"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How servers are authenticated, and how we are (`cert_file`, `key_file`). PEM files."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: Verify = Verify.FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTarget:
    """A parsed URL. `endpoints`: the server, nodes to begin with, or sentinels."""

    topology: Topology
    endpoints: tuple[Endpoint, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: Tls | None = None
    primary_name: str = ""
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse_target(url: str) -> RedisTarget:
    """Read a URL. Raises ValueError with a message for the operator, which names no secret."""
    scheme, separator, rest = url.partition("://")
    secure = scheme == "rediss"
    try:
        topology = Topology.SINGLE if secure else Topology(scheme)
    except ValueError:
        raise ValueError("a Redis URL begins with redis, rediss, redis+cluster or redis+sentinel and ://") from None
    if not separator:
        raise ValueError(f"write {scheme}://host:port")
    # The hosts are no single netloc: split them ourselves, and let the library do the rest.
    parts = urlsplit(f"//{rest}")
    if "@" in parts.path + parts.query + parts.fragment:
        # A password ends at such a character, and its rest would be told as a wrong path.
        raise ValueError("write / as %2F, ? as %3F, # as %23 and @ as %40 in user, password and parameters")
    userinfo, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    options = _options(parts.query, topology)
    endpoints = tuple(_endpoint(host, topology) for host in hosts.split(","))
    if topology is Topology.SINGLE and len(endpoints) > 1:
        raise ValueError("redis:// names one server; for several write redis+cluster:// or redis+sentinel://")
    name, database = _path(parts.path, topology)
    return RedisTarget(
        topology=topology,
        endpoints=endpoints,
        user=unquote(user) or None,
        password=unquote(password) if at and colon and password else None,
        database=database,
        tls=_tls(options, secure=secure),
        primary_name=name,
        sentinel_user=options.get("sentinel_user"),
        sentinel_password=options.get("sentinel_password"),
    )


def _options(query: str, topology: Topology) -> dict[str, str]:
    known = (*_TLS, *(() if topology is Topology.SINGLE else ("tls",)))
    known += _SENTINEL if topology is Topology.SENTINEL else ()
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in known:
            raise ValueError(f"unknown parameter {name!r}; known are {', '.join(known)}")
    return options


def _tls(options: dict[str, str], *, secure: bool) -> Tls | None:
    wanted = options.get("tls", "false").lower()
    if wanted not in _YES:
        raise ValueError("tls is true or false")
    if not (secure or _YES[wanted]):
        if given := [name for name in _TLS if name in options]:
            raise ValueError(f"{given[0]} is for TLS: write rediss://, or tls=true for a Cluster or sentinels")
        return None
    try:
        verify = Verify(options.get("verify", "full"))
    except ValueError:
        raise ValueError("verify is full, ca (any host name) or none") from None
    if options.get("key_file") and not options.get("cert_file"):
        raise ValueError("key_file needs cert_file")
    return Tls(
        ca_file=options.get("ca_file"),
        cert_file=options.get("cert_file"),
        key_file=options.get("key_file"),
        verify=verify,
    )


def _endpoint(text: str, topology: Topology) -> Endpoint:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{text!r} is not host:port") from None
    if not host or "@" in text:
        raise ValueError("a host is missing: write host:port" if not text else f"{text!r} is not host:port")
    return Endpoint(unquote(host), port or (SENTINEL_PORT if topology is Topology.SENTINEL else PORT))


def _path(path: str, topology: Topology) -> tuple[str, int]:
    segments = [unquote(segment) for segment in path.strip("/").split("/")] if path.strip("/") else []
    name = ""
    if topology is Topology.SENTINEL:
        if not segments:
            raise ValueError("the primary's name is missing: write redis+sentinel://host:port/NAME")
        name = segments.pop(0)
    if len(segments) > 1 or any(not segment.isascii() or not segment.isdigit() for segment in segments):
        raise ValueError(f"the path {path!r} is not a database's number")
    database = int(segments[0]) if segments else 0
    if topology is Topology.CLUSTER and database:
        raise ValueError("a Cluster has database 0 only")
    return name, database
