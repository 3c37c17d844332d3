"""What happens to a database when its writer opens it: recognise it, make its tables, notice that it went back in time."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import sidecar
from sidecar.core.entry import EPOCH_SHIFT
from sidecar.core.errors import StoreUnavailable, store_corrupt
from sidecar.core.ports import Clock
from sidecar.stores.apps import check_owner
from sidecar.stores.counting import begin_of
from sidecar.stores.sqlite.highwater import BLOCK, Highwater, HighwaterFile
from sidecar.stores.sqlite.meta import Meta
from sidecar.stores.sqlite.queries import query, schema

APPLICATION_ID = 0x53535344
"""In the file's header, so that a database of another program is never written."""
SCHEMA_VERSION = 2
_WAL_ATTEMPTS = 100
_WAL_PAUSE_S = 0.02


def prepare(connection: sqlite3.Connection, highwater: HighwaterFile, clock: Clock, app: str) -> None:
    """Make a writer's connection ready, for daemons of an app. Raises StoreUnavailable, DataLoss, sqlite3.Error, OSError."""
    with _transaction(connection, "BEGIN"):
        # In one snapshot: another process may be making the tables.
        _recognise(connection)
    _use_wal(connection)
    with _transaction(connection, "BEGIN IMMEDIATE"):
        if not _recognise(connection):
            _make(connection, begin=begin_of(clock.now()))
        meta = Meta.load(connection)
        if _version(connection) < SCHEMA_VERSION:
            _migrate(connection)
            meta.release = sidecar.__version__
        if _checked_owner(connection, app) is None and app:
            connection.execute(query("store owner"), (app,))
        epoch = meta.epoch
        _notice_going_back(meta, _remembered(highwater))
        _go_ahead(meta, begin_of(clock.now()))
        reserve(meta, highwater, epoch=epoch, skip=True)
        meta.store(connection)
    if meta.epoch != epoch:
        remember(meta, highwater)


def prepare_reading(connection: sqlite3.Connection, app: str) -> None:
    """Make sure that a reader's connection is to a database of our app, which a writer has made. Raises as `prepare`."""
    with _transaction(connection, "BEGIN"):
        if not _recognise(connection):
            raise StoreUnavailable("the database has no tables yet")
        if _version(connection) == SCHEMA_VERSION:
            _checked_owner(connection, app)


def reserve(meta: Meta, highwater: HighwaterFile, *, epoch: int, skip: bool = False) -> None:
    """Another block of sequences, remembered before it is used; `skip` what is left of this one.

    `epoch` is the committed one: an opening that fails again and again must not raise it each time.
    """
    if skip:
        meta.sequence = meta.reserved
    meta.reserved += BLOCK
    remember(replace(meta, epoch=epoch), highwater)


def remember(meta: Meta, highwater: HighwaterFile) -> None:
    """Write what the database knows beside it."""
    highwater.write(
        Highwater(database_id=meta.database_id, epoch=meta.epoch, sequence=meta.sequence, reserved=meta.reserved)
    )


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _recognise(connection: sqlite3.Connection) -> bool:
    """Whether the tables are there; another program's database, or a newer release's, is refused."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    version = _version(connection)
    if application_id == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            (release,) = connection.execute("SELECT release FROM meta").fetchone()
            raise StoreUnavailable(
                f"the database was written by release {release} (schema {version}); this is release "
                f"{sidecar.__version__} and knows schemas up to {SCHEMA_VERSION}: start a release at least as new",
                metadata={"release": release, "schema_version": str(version)},
            )
        _check_schema(connection, version)
        return True
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id or version or tables:
        raise StoreUnavailable("the file is a database of another program; it is left as it is")
    return False


def _check_schema(connection: sqlite3.Connection, version: int) -> None:
    """The tables' definitions are text in the file, and no checksum covers them."""
    found = connection.execute("SELECT CAST(sql AS BLOB) FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
    if [sql for (sql,) in found] != [statement.encode() for statement in schema(version)]:
        raise store_corrupt("the database's schema is not the one it was made with")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrate(connection: sqlite3.Connection) -> None:
    for statement in schema()[len(schema(_version(connection))) :]:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _checked_owner(connection: sqlite3.Connection, app: str) -> str | None:
    """The app whose data it is, which is this one; None: it is nobody's. Raises StoreUnavailable."""
    row = connection.execute(query("load owner")).fetchone()
    if row is None:
        return None
    check_owner("the database", row[0], app, "give each app a file of its own")
    return app


def _use_wal(connection: sqlite3.Connection) -> None:
    for attempt in range(_WAL_ATTEMPTS):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as exc:
            # Another process is opening the same new file; SQLite doesn't wait here as it does elsewhere.
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == _WAL_ATTEMPTS - 1:
                raise
            time.sleep(_WAL_PAUSE_S)
            continue
        if mode != "wal":
            raise StoreUnavailable("the database's file system has no shared memory; WAL needs it")
        return


def _make(connection: sqlite3.Connection, *, begin: int) -> None:
    for statement in schema():
        connection.execute(statement)
    Meta(release=sidecar.__version__, database_id=secrets.token_hex(16), change_id=begin, change_floor=begin).store(
        connection
    )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _go_ahead(meta: Meta, begin: int) -> None:
    """Nothing that is handed out from now on was handed out by a database that this one was copied from, and which went
    on: the whole directory may have been put back.
    """
    meta.reserved = max(meta.reserved, begin)
    meta.change_id = max(meta.change_id, (meta.epoch << EPOCH_SHIFT) + begin)


def _remembered(highwater: HighwaterFile) -> Highwater | None:
    try:
        return highwater.read()
    except ValueError:
        # Not ours, or damaged: what it knew is lost, so the database may have gone back.
        return Highwater(database_id="", epoch=0, sequence=0, reserved=0)


def _notice_going_back(meta: Meta, remembered: Highwater | None) -> None:
    if remembered is None:
        return
    same = remembered.database_id == meta.database_id
    if same and remembered.reserved <= meta.reserved and remembered.sequence <= meta.sequence:
        return
    meta.epoch = max(meta.epoch, remembered.epoch) + 1
    meta.reserved = max(meta.reserved, remembered.reserved)
    # Readers of changes and holders of copies may have seen what is now undone: a gap to the first, misses to the second.
    meta.change_id = meta.change_floor = meta.epoch << EPOCH_SHIFT
    meta.generation += 1
