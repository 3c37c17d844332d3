"""PgBouncer before a PostgreSQL server, in transaction pooling: each transaction may get another connection."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from servers import debian
from servers.base import HOST, Server, binary
from servers.postgres import USER, Postgres, unprivileged


class PgBouncer(Server):
    """`connections` to the server for all its clients, given out in turn. `settings` are those of pgbouncer.ini."""

    name = "pgbouncer"

    def __init__(
        self, server: Postgres, *, connections: int = 4, settings: Mapping[str, str | int] | None = None
    ) -> None:
        super().__init__()
        self._server = server
        self._settings: dict[str, str | int] = {
            "pool_mode": "transaction",
            "default_pool_size": connections,
            "server_round_robin": 1,
            "max_client_conn": 200,
            "auth_type": "trust",
            "auth_file": self.directory / "users",  # type: ignore[dict-item]  # it is written as text
            "unix_socket_dir": "",
            **(settings or {}),
        }

    def repoint(self, server: Postgres) -> None:
        """Lead its clients, who notice nothing, to another server."""
        self._server = server
        self._write_configuration()
        self.signal(signal.SIGHUP)
        self.wait_ready()

    def command(self) -> Sequence[str | Path]:
        """Its configuration names its ports, so it is written before each start."""
        self._write_configuration()
        return [*unprivileged(), binary("pgbouncer"), self.directory / "pgbouncer.ini"]

    def _write_configuration(self) -> None:
        lines = ["[databases]", f"* = host={HOST} port={self._server.port}", "[pgbouncer]"]
        lines += [f"listen_addr = {HOST}", f"listen_port = {self.port}"]
        lines += [f"{name} = {value}" for name, value in self._settings.items()]
        (self.directory / "users").write_text(f'"{USER}" ""\n')
        (self.directory / "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    def environ(self) -> Mapping[str, str]:
        """Where its libraries were unpacked."""
        return debian.environ()

    def ready(self) -> None:
        """A statement is answered by the server behind it."""
        with psycopg.connect(self.url(), connect_timeout=5) as connection:
            connection.execute("SELECT 1")

    def url(self, database: str = USER, **parameters: object) -> str:
        """Where a database of the server is, through it."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{USER}@{HOST}:{self.port}/{database}" + (f"?{query}" if query else "")
