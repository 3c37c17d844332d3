"""What an error of SQLite, or of the file system beside it, means to a caller. Every sqlite3.Error passes through here.

Before COMMIT nothing was written, whatever went wrong. At COMMIT it depends on how far the commit came. SQLite writes
the transaction's frames to the WAL, the frame that commits it last; syncs the WAL; then enters the frames in the
wal-index. An error rolls the transaction back in this process, but a complete commit frame stays in the file until the
next commit overwrites it, and a recovery after a crash finds it. So:

| at COMMIT | what it means | why |
| --- | --- | --- |
| BUSY, LOCKED, READONLY | not committed | found before the first frame is written |
| FULL, IOERR_WRITE | not committed | writing stopped at or before the commit frame; a torn frame fails its checksum |
| IOERR_FSYNC, IOERR_DIR_FSYNC | unknown | the frames are complete, perhaps only in the page cache |
| IOERR_SHMSIZE, IOERR_SHMMAP, NOMEM | unknown | the wal-index is grown after the sync: the frames are durable |
| anything else | unknown | nobody has shown that it isn't |
"""

from __future__ import annotations

import sqlite3

from sidecar.core.errors import (
    Defect,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    SidecarError,
    StoreUnavailable,
    storage_full,
    store_corrupt,
)
from sidecar.stores.disk import disk_error, read_only

_PRIMARY = 0xFF
_FULL = {sqlite3.SQLITE_FULL}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_IOERR_CORRUPTFS}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_SCHEMA,
}
_LOST_CONNECTION = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY_DBMOVED,
    sqlite3.SQLITE_MISUSE,
}
_NOT_COMMITTED = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
}


def store_error(exc: Exception) -> SidecarError:
    """The error for the caller of a read, or of a write of which nothing was written."""
    match exc:
        case SidecarError():
            return exc
        case sqlite3.Error():
            return _sqlite_error(exc)
        case OSError():
            return disk_error(exc)
        case _:
            return _defect(exc)


def commit_error(exc: sqlite3.Error) -> SidecarError:
    """The error for the caller of a write whose COMMIT failed."""
    if _is(exc, _NOT_COMMITTED):
        return _sqlite_error(exc)
    unknown = OutcomeUnknown(
        f"the commit failed in a way that leaves its outcome open ({_name(exc)}): repeat it with the same request id",
        metadata={"sqlite": _name(exc)},
    )
    unknown.__cause__ = exc
    return unknown


def loses_connection(exc: Exception) -> bool:
    """Whether the connection should be opened anew before it is used again."""
    return isinstance(exc, sqlite3.Error) and _is(exc, _LOST_CONNECTION)


def is_full(exc: Exception) -> bool:
    """Whether the storage has no room."""
    return isinstance(exc, sqlite3.Error) and _is(exc, _FULL)


def _sqlite_error(exc: sqlite3.Error) -> SidecarError:
    error = _classified(exc)
    error.metadata["sqlite"] = _name(exc)
    error.__cause__ = exc
    return error


def _classified(exc: sqlite3.Error) -> SidecarError:
    said = f"{exc} ({_name(exc)})"
    if "Could not decode" in str(exc):
        return store_corrupt("the database is corrupt: a text in it is not UTF-8")
    if _is(exc, _FULL):
        return storage_full(f"the database has no room: {said}")
    if _is(exc, _CORRUPT):
        return store_corrupt(f"the database is corrupt: {said}; restore it from a copy, it is left as it is")
    if _is(exc, _READ_ONLY):
        return read_only(f"the database can't be written: {said}")
    if _is(exc, _AWAY):
        return StoreUnavailable(f"the database does not answer: {said}")
    if _is(exc, {sqlite3.SQLITE_TOOBIG}) or isinstance(exc, sqlite3.DataError):
        return InvalidRequest(f"larger than the database takes: {said}", reason="VALUE_TOO_LARGE", field="value")
    return Defect(f"unexpected error of the database: {said}")


def _defect(exc: Exception) -> SidecarError:
    if isinstance(exc, MemoryError):
        return LimitExceeded("out of memory")
    error = Defect(f"unexpected {type(exc).__name__} in the store")
    error.__cause__ = exc
    return error


def _is(exc: sqlite3.Error, codes: set[int]) -> bool:
    """By the extended code, or by the primary one; errors of Python's own module have none."""
    code = getattr(exc, "sqlite_errorcode", None)
    return code is not None and (code in codes or code & _PRIMARY in codes)


def _name(exc: sqlite3.Error) -> str:
    return getattr(exc, "sqlite_errorname", type(exc).__name__)
