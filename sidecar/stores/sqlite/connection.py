"""Connections, each owned by one thread, and opened again after a failure: at most once a second, and by itself."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sidecar.core.errors import SidecarError, store_corrupt
from sidecar.core.ports import Clock
from sidecar.stores.disk import read_only
from sidecar.stores.sqlite.errors import store_error

RETRY_S = 1.0
"""How long a failed opening is answered from memory."""
BUSY_TIMEOUT_MS = 5_000
"""How long a writer waits for the writer of another process."""
WAL_BYTES_KEPT = 8 << 20
WAL_PAGES_CHECKPOINTED = 1_000
_HEADER_BYTES = 512
"""The smallest page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a connection is for. `pages_max` bounds the database's size (None: the disk does)."""

    path: Path
    writes: bool
    pages_max: int | None = None


def connect(options: Options) -> sqlite3.Connection:
    """A connection in autocommit. A reader's never makes the file, nor writes it."""
    if options.writes:
        _check_file(options.path)
    mode = "rwc" if options.writes else "rw"
    connection = sqlite3.connect(
        f"file:{quote(str(options.path.absolute()))}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_TIMEOUT_MS / 1000,
        check_same_thread=False,  # one thread at a time: the one that runs, then the one that closes
    )
    try:
        for pragma in _pragmas(options):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _pragmas(options: Options) -> list[str]:
    pragmas = [
        "synchronous = FULL",  # each commit is synced: an acknowledged write survives a power cut
        "fullfsync = ON",  # where a plain fsync doesn't reach the disk's own cache
        "mmap_size = 0",  # an I/O error in mapped memory is a signal, not an error
        "temp_store = MEMORY",
        "trusted_schema = OFF",
        f"cache_size = {-4096 if options.writes else -2048}",  # KiB; what more there is, the kernel holds
    ]
    if not options.writes:
        return [*pragmas, "query_only = ON"]
    pragmas += [f"journal_size_limit = {WAL_BYTES_KEPT}", f"wal_autocheckpoint = {WAL_PAGES_CHECKPOINTED}"]
    if options.pages_max is not None:
        pragmas.append(f"max_page_count = {options.pages_max}")
    return pragmas


def _check_file(path: Path) -> None:
    """SQLite would open a file that can't be written, and say so only at the first write; and take a stump for empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in (path.parent, path):
        if name.exists() and not os.access(name, os.W_OK):
            raise read_only(f"{name.name} can't be written")
    if (
        path.is_file()
        and 0 < path.stat().st_size < _HEADER_BYTES
        and not path.with_name(path.name + "-journal").exists()
    ):
        raise store_corrupt("the file is no database; it is left as it is")


class Connector:
    """A thread's connection, made when it is needed. `prepare` runs on a new one before anything else."""

    def __init__(self, options: Options, clock: Clock, *, prepare: Callable[[sqlite3.Connection], None]) -> None:
        self._options = options
        self._clock = clock
        self._prepare = prepare
        self._connection: sqlite3.Connection | None = None
        self._failure: Exception | None = None
        self._retry_time = 0.0

    def connection(self) -> sqlite3.Connection:
        """The open connection. Raises SidecarError, the same for a second after an opening failed."""
        if self._connection is not None:
            return self._connection
        if self._failure is not None and self._clock.monotonic() < self._retry_time:
            raise again(self._failure)
        try:
            self._connection = self._open()
        except (sqlite3.Error, OSError, SidecarError) as exc:
            self._failure = exc
            self._retry_time = self._clock.monotonic() + RETRY_S
            raise again(exc) from exc
        self._failure = None
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = connect(self._options)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def current(self) -> sqlite3.Connection | None:
        """The connection if it is open."""
        return self._connection

    def wal_bytes(self) -> int:
        """The size of the WAL, 0 if there is none to see."""
        path = self._options.path
        try:
            return path.with_name(path.name + "-wal").stat().st_size
        except OSError:
            return 0

    def forget_failure(self) -> None:
        """Let the next call try at once."""
        self._failure = None

    def drop(self) -> None:
        """Close; the next call opens anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def again(exc: Exception) -> SidecarError:
    """The error of an exception that many callers hear: each its own instance, since a raised one is changed by it."""
    error = store_error(exc)
    if error is not exc:
        return error
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    twin.metadata = dict(error.metadata)
    twin.__cause__ = error.__cause__
    return twin
