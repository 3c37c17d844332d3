"""What the stores that use a file system share: names made durable, and what its errors mean to a caller."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from sidecar.core.errors import SidecarError, StoreUnavailable, storage_full

STORAGE_READ_ONLY = "STORAGE_READ_ONLY"

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_WRITING = {errno.EROFS, errno.EACCES, errno.EPERM}


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_only(message: str) -> StoreUnavailable:
    """The storage can't be written."""
    return StoreUnavailable(message, reason=STORAGE_READ_ONLY)


def disk_error(exc: OSError) -> SidecarError:
    """The error for a caller; nothing was written."""
    said = exc.strerror or str(exc)
    error: SidecarError
    if exc.errno in _NO_ROOM:
        error = storage_full(f"the disk has no room: {said}")
    elif exc.errno in _NO_WRITING:
        error = read_only(f"the disk can't be written: {said}")
    else:
        error = StoreUnavailable(f"the disk does not answer: {said}")
    error.metadata["errno"] = errno.errorcode.get(exc.errno or 0, str(exc.errno))
    error.__cause__ = exc
    return error
