"""One daemon a data directory and one a Unix socket, by flock: the kernel lets go when the holder dies, however it dies.

A lock file is never removed. Another process may have it open and be about to lock it: it would then hold a lock on a
file that nobody else can find.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import ClassVar, Self


class StartError(Exception):
    """The daemon cannot start here; the message says why and what to do, `exit_code` is the process's (sysexits.h)."""

    default_exit_code: ClassVar[int] = os.EX_CANTCREAT

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = self.default_exit_code if exit_code is None else exit_code


class LockHeld(StartError):
    """Another live process holds the lock; `pid` is its id, None when it has not written it yet."""

    default_exit_code: ClassVar[int] = os.EX_TEMPFAIL

    def __init__(self, what: str, pid: int | None) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{what} is in use by {holder}: stop it, or choose another (data_dir, listen)")
        self.pid = pid


class FileLock:
    """An exclusive lock on a file that holds the owner's process id.

    It belongs to the open file: also a second FileLock on the same path in one process is refused, and a child started by
    exec does not inherit it.
    """

    def __init__(self, path: Path, *, what: str = "") -> None:
        self.path = path
        self._what = what or str(path)
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock without waiting. LockHeld when another has it, StartError when its file can't be made."""
        assert self._descriptor is None, "held already"
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _cannot(f"lock {self._what}", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            pid = _pid(descriptor)
            os.close(descriptor)
            if error.errno == errno.EWOULDBLOCK:
                raise LockHeld(self._what, pid) from None
            raise _cannot(f"lock {self._what}", error) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Lets go; without effect when not held."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def lock_data_dir(path: Path) -> FileLock:
    """Makes the data directory, for its owner alone, and takes its lock: two daemons on one would each see half.

    LockHeld when another daemon has it; StartError when it can't be made or written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot(f"make the data directory {path}", error) from error
    return _locked(path / "daemon.lock", what=f"the data directory {path}")


def claim_unix_socket(path: Path) -> FileLock:
    """Takes the lock beside the socket, and only then removes a socket that a dead daemon left.

    LockHeld when another daemon has it; StartError when something that is no socket is in its place, when a process
    without the lock answers on it, or when its directory can't be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot(f"make the directory of the socket {path}", error) from error
    lock = _locked(path.with_name(f"{path.name}.lock"), what=f"the socket {path}")
    try:
        _remove_stale(path)
    except StartError:
        lock.release()
        raise
    except OSError as error:
        lock.release()
        raise _cannot(f"replace the socket {path}", error) from error
    return lock


def _locked(path: Path, *, what: str) -> FileLock:
    lock = FileLock(path, what=what)
    lock.acquire()
    return lock


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"{path} is there and is no socket: remove it, or choose another path for listen")
    # A server that doesn't know our lock may own it.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(str(path))
    if answer in {0, errno.EAGAIN, errno.EINPROGRESS}:
        raise LockHeld(f"the socket {path}", None)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _cannot(what: str, error: OSError) -> StartError:
    return StartError(f"cannot {what}: {error.strerror}: set data_dir or listen to a directory this user can write")
