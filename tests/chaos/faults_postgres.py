"""Faults of PostgreSQL itself."""

from __future__ import annotations

import contextlib
import signal
import time

import psycopg
from psycopg import sql

from servers.base import HOST
from tests.chaos.deployment import CANARY, CONNECTIONS_MAX, DATABASE, ROLE, SCHEMA
from tests.chaos.faults import Scene, fault

_OF_DAEMONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@fault("postgres-stopped-at-once")
def stopped_at_once(scene: Scene) -> str:
    """`stop -m immediate`: as a crash of the server; it recovers from its log."""
    return _ended(scene, signal.SIGQUIT)


@fault("postgres-restarted")
def restarted(scene: Scene) -> str:
    """`stop -m fast`, as an upgrade does."""
    return _ended(scene, signal.SIGINT)


def _ended(scene: Scene, number: signal.Signals) -> str:
    postgres = scene.deployment.postgres
    pid = postgres.process.pid
    postgres.process.send_signal(number)
    postgres.process.wait(20)
    scene.hold(0.1, 2.0)
    postgres.restart()
    return f"process {pid} is {postgres.process.pid} now" if postgres.process.pid != pid else ""


@fault("postgres-killed")
def killed(scene: Scene) -> str:
    """kill -9 of all its processes."""
    postgres = scene.deployment.postgres
    pid = postgres.process.pid
    postgres.kill()
    scene.hold(0.1, 2.0)
    postgres.restart()
    return f"process {pid} is {postgres.process.pid} now" if postgres.process.pid != pid else ""


@fault("postgres-paused")
def paused(scene: Scene) -> str:
    """All its processes stopped: connections stay, nothing answers."""
    postgres = scene.deployment.postgres
    postgres.pause()
    try:
        seconds = scene.hold(1.0, 5.0)
        deaf = not _answers(scene)
    finally:
        postgres.resume()
    return f"no answer for {seconds:.1f} s" if deaf else ""


def _answers(scene: Scene) -> bool:
    url = scene.deployment.postgres.url(connect_timeout=2)
    try:
        with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


@fault("postgres-backend-terminated")
def terminated(scene: Scene) -> str:
    """One connection of a daemon's ends in the middle of whatever it does."""
    ended = scene.deployment.postgres.execute(f"{_OF_DAEMONS} LIMIT 1", ROLE)
    return f"{len(ended)} backend terminated" if ended else ""


@fault("postgres-all-backends-terminated")
def all_terminated(scene: Scene) -> str:
    """All of them, three times."""
    ended = 0
    for _ in range(3):
        ended += len(scene.deployment.postgres.execute(_OF_DAEMONS, ROLE))
        scene.hold(0.1, 0.5)
    return f"{ended} backends terminated" if ended > 1 else ""


@fault("postgres-table-locked")
def table_locked(scene: Scene) -> str:
    """Somebody holds the table of entries for 5 s."""
    return _locked(scene, sql.SQL("LOCK TABLE {}.entries IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(SCHEMA)))


@fault("postgres-rows-locked")
def rows_locked(scene: Scene) -> str:
    """Somebody holds the newest rows: writes wait, reads don't."""
    newest = sql.SQL("SELECT 1 FROM {}.entries ORDER BY version DESC LIMIT 200 FOR UPDATE")
    return _locked(scene, newest.format(sql.Identifier(SCHEMA)))


def _locked(scene: Scene, statement: sql.Composed) -> str:
    postgres = scene.deployment.postgres
    with contextlib.closing(postgres.connect(DATABASE)) as holder, contextlib.closing(postgres.connect()) as watcher:
        holder.execute("BEGIN")
        holder.execute("SET LOCAL lock_timeout = '4s'")
        holder.execute(statement)

        def waiting() -> int:
            row = watcher.execute(_WAITING).fetchone()
            return int(row[0]) if row else 0

        most = scene.watch(5.0, waiting)
        holder.execute("ROLLBACK")
    return f"{most} backends waited for it" if most else ""


@fault("postgres-connections-exhausted")
def exhausted(scene: Scene) -> str:
    """Others have taken all connections; the daemons' end, and they get no new ones."""
    postgres = scene.deployment.postgres
    url = f"postgresql://{ROLE}:{CANARY}@{HOST}:{postgres.port}/{DATABASE}?connect_timeout=3"
    refused = 0
    with contextlib.ExitStack() as held, contextlib.closing(postgres.connect()) as watcher:
        end = time.monotonic() + scene.random.uniform(1.5, 4.0)
        watcher.execute(_OF_DAEMONS, (ROLE,))
        while time.monotonic() < end and not scene.stop.is_set():
            try:
                held.enter_context(contextlib.closing(psycopg.connect(url)))
            except psycopg.OperationalError as exc:
                refused += "slots" in str(exc) or "too many" in str(exc)
                scene.hold(0.05)
    return f"{CONNECTIONS_MAX} connections taken, {refused} times refused" if refused else ""


@fault("postgres-checkpoints")
def checkpoints(scene: Scene) -> str:
    """Checkpoints without end, beside bulk writes."""
    postgres = scene.deployment.postgres
    done, end = 0, time.monotonic() + scene.random.uniform(2.0, 4.0)
    with contextlib.closing(postgres.connect(DATABASE)) as connection:
        connection.execute("DROP TABLE IF EXISTS bulk")
        connection.execute("CREATE TABLE bulk (line text)")
        while time.monotonic() < end and not scene.stop.is_set():
            connection.execute("INSERT INTO bulk SELECT repeat('x', 500) FROM generate_series(1, 20000)")
            connection.execute("CHECKPOINT")
            done += 1
        connection.execute("DROP TABLE bulk")
    return f"{done} checkpoints" if done else ""
