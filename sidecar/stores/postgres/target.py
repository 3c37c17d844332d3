"""`postgresql://` URLs. Nothing here imports a driver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from sidecar.stores.apps import schema_of

PORT = 5432
CONNECTIONS = 5
CONNECTIONS_MIN = 2
CONNECTIONS_MAX = 64
SCHEMA = "state_sidecar"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
PREPARED = ("auto", "off")
PARAMETERS = (
    "schema",
    "connections",
    "prepared",
    "application_name",
    "passfile",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
)

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_HOST = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d{1,5}))?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresTarget:
    """A database, and how to reach it. Of several `hosts` (host, port) the one that takes writes is used.

    `app`: whose data the schema holds. `prepared`: statements are prepared on the server where no pooler is seen between; False: never.
    """

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str = SCHEMA
    app: str = ""
    connections: int = CONNECTIONS
    prepared: bool = True
    application_name: str = "state-sidecar"
    passfile: str | None = None
    sslmode: str | None = None
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None

    def parameters(self, host: tuple[str, int]) -> dict[str, str | int]:
        """What libpq is told to connect to one of the hosts."""
        name, port = host
        optional = {
            "user": self.user,
            "password": self.password,
            "passfile": self.passfile,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            "sslcert": self.sslcert,
            "sslkey": self.sslkey,
        }
        given: dict[str, str | int] = {key: value for key, value in optional.items() if value is not None}
        return given | {"host": name, "port": port, "dbname": self.database, "application_name": self.application_name}


def parse_target(url: str, app: str = "") -> PostgresTarget:
    """The target of `postgresql://user:password@host:port,host:port/database?…`. Raises ValueError, without secrets.

    A URL that names no schema means the app's own.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("the URL of PostgreSQL can't be read; it is postgresql://user@host:port/database") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("the URL of PostgreSQL begins with postgresql://")
    if parts.fragment:
        raise ValueError("the URL holds a '#'; in a password write it as %23")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    database = unquote(parts.path[1:])
    if not database or "/" in parts.path[1:]:
        raise ValueError("name the database: postgresql://user@host:port/database")
    options = _options(parts.query)
    return PostgresTarget(
        hosts=tuple(_host(host) for host in hosts.split(",")),
        database=database,
        user=unquote(user) or None,
        password=unquote(password) or None,
        schema=_schema(options, app),
        app=app,
        connections=_connections(options),
        prepared=_choice(options, "prepared", PREPARED) != "off",
        application_name=options.get("application_name", "state-sidecar"),
        passfile=options.get("passfile"),
        sslmode=_choice(options, "sslmode", SSL_MODES),
        sslrootcert=options.get("sslrootcert"),
        sslcert=options.get("sslcert"),
        sslkey=options.get("sslkey"),
    )


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) != len(pairs):
        raise ValueError("a parameter is given twice")
    unknown = sorted(options.keys() - set(PARAMETERS))
    if unknown:
        raise ValueError(f"unknown parameter {', '.join(unknown)}; there are {', '.join(PARAMETERS)}")
    empty = sorted(name for name, value in options.items() if not value)
    if empty:
        raise ValueError(f"{', '.join(empty)} is empty")
    return options


def _host(text: str) -> tuple[str, int]:
    match = _HOST.match(unquote(text))
    if match is None:
        # The text may hold a part of a password with an unescaped '@' or ':'.
        raise ValueError("name the host, as host or host:port; in a password write '@', ':' and '/' as %40, %3A, %2F")
    port = int(match[2] or PORT)
    if not 0 < port < 1 << 16:
        raise ValueError(f"port {port} is not 1 to 65535")
    return match[1].strip("[]"), port


def _schema(options: Mapping[str, str], app: str) -> str:
    schema = options.get("schema", schema_of(app, SCHEMA))
    if not _IDENTIFIER.match(schema) or schema.startswith("pg_"):
        raise ValueError("schema is 1 to 63 of a-z, 0-9 and _, begins with no digit and not with pg_")
    return schema


def _connections(options: Mapping[str, str]) -> int:
    text = options.get("connections", str(CONNECTIONS))
    if not text.isdecimal() or not CONNECTIONS_MIN <= int(text) <= CONNECTIONS_MAX:
        raise ValueError(f"connections is {CONNECTIONS_MIN} to {CONNECTIONS_MAX}")
    return int(text)


def _choice(options: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    value = options.get(name)
    if value is not None and value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}")
    return value
