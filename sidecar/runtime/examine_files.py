"""Directories and files that a daemon would use: looked at, not made. Everything here blocks."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sidecar.core.errors import SidecarError
from sidecar.runtime.findings import Finding, ok, wrong
from sidecar.stores.sqlite.connection import Options, connect
from sidecar.stores.sqlite.errors import store_error
from sidecar.stores.sqlite.preparation import SCHEMA_VERSION, prepare_reading

LOCK = "daemon.lock"
_MIB, _GIB = 1 << 20, 1 << 30


def data_dir(path: Path) -> Finding:
    """The data directory, and whether a daemon has it."""
    if problem := unusable(path):
        return wrong("data_dir", str(path), f"{problem}: set data_dir to a directory this user can write")
    if not path.exists():
        return ok("data_dir", str(path), f"not there yet, and can be made; {_free(path)}")
    holder = _holder(path / LOCK)
    return ok("data_dir", str(path), f"writable, {_free(path)}{f', in use by process {holder}' if holder else ''}")


def directory(setting: str, shown: str, path: Path) -> Finding:
    """A directory of blobs."""
    if problem := unusable(path):
        return wrong(setting, shown, f"{problem}: name a directory this user can write")
    state = "writable" if path.exists() else "not there yet, and can be made"
    return ok(setting, shown, f"{state}, {_free(path)}")


def database(setting: str, shown: str, path: Path, app: str) -> Finding:
    """A database of the warm tier."""
    if problem := unusable(path.parent):
        return wrong(setting, shown, f"{problem}: name a file in a directory this user can write")
    if not path.exists():
        return ok(setting, shown, f"not there yet, and can be made; {_free(path.parent)}")
    if not os.access(path, os.R_OK | os.W_OK):
        return wrong(setting, shown, "this user may not read and write it: change its owner or mode")
    try:
        with closing(connect(Options(path=path, writes=False))) as connection:
            prepare_reading(connection, app)
    except (SidecarError, sqlite3.Error, OSError) as exc:
        return wrong(setting, shown, store_error(exc).message)
    version = f"SQLite {sqlite3.sqlite_version}, schema {SCHEMA_VERSION}"
    return ok(setting, shown, f"{version}, {path.stat().st_size / _MIB:.1f} MiB, {_free(path.parent)}")


def unusable(path: Path) -> str:
    """Why a directory can't be written, or can't be made; empty: it can."""
    there = path
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        return f"{there} is no directory"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} can't be written"
    return ""


def _free(path: Path) -> str:
    while not path.exists():
        path = path.parent
    return f"{shutil.disk_usage(path).free / _GIB:.1f} GiB free"


def _holder(path: Path) -> str:
    """The process that holds a daemon's lock; empty: none does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        # Shared, and only for this moment.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return ""
