"""Where the servers are, out of `memcached://h1:11211,h2:11211`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

DEFAULT_PORT = 11211
SERVERS_MAX = 64
CONNECTIONS_MAX = 64
CONNECTIONS = 2
FORM = "write memcached://HOST:PORT,HOST:PORT"

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]@/%]+))(?::(?P<port>\d{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One server. Its text decides which keys it holds, so every daemon has to write it alike."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemcachedTarget:
    """The servers that share the keys, and how many connections a daemon opens to each at most."""

    servers: tuple[Address, ...]
    connections: int = CONNECTIONS


def parse_target(url: str) -> MemcachedTarget:
    """Inverse of the URL in a setting. Raises ValueError with a message for the operator."""
    scheme, separator, rest = url.partition("://")
    if scheme != "memcached" or not separator:
        raise ValueError(f"not a memcached URL: {FORM}")
    addresses, _, query = rest.partition("?")
    if "@" in addresses:
        raise ValueError(f"memcached takes no user or password: {FORM}")
    if "#" in rest or "/" in addresses.removesuffix("/"):
        raise ValueError(f"memcached has no paths or fragments: {FORM}")
    servers = tuple(_address(text) for text in addresses.removesuffix("/").split(","))
    if len(servers) > SERVERS_MAX:
        raise ValueError(f"{len(servers)} servers, at most {SERVERS_MAX} are allowed")
    if twice := sorted({str(server) for server in servers if servers.count(server) > 1}):
        raise ValueError(f"{twice[0]} is named twice")
    return MemcachedTarget(servers=servers, connections=_connections(query))


def _address(text: str) -> Address:
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a host with a port: {FORM}")
    port = int(match["port"]) if match["port"] else DEFAULT_PORT
    if not 0 < port < 1 << 16:
        raise ValueError(f"port {port} is not between 1 and 65535")
    return Address(host=(match["six"] or match["host"]).lower(), port=port)


def _connections(query: str) -> int:
    given = parse_qsl(query, keep_blank_values=True)
    if unknown := sorted({name for name, _ in given} - {"connections"}):
        raise ValueError(f"unknown parameter {unknown[0]!r}: the only one is connections")
    if not given:
        return CONNECTIONS
    _, value = given[-1]
    if not re.fullmatch(r"\d{1,3}", value, re.ASCII) or not 0 < int(value) <= CONNECTIONS_MAX:
        raise ValueError(f"connections={value}: write a number from 1 to {CONNECTIONS_MAX}")
    return int(value)
