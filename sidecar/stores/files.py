"""FileBlobs: large immutable objects as files, each verified when it is read.

An object appears under its name whole and durable, or not at all: it is written to a temporary file, synced, linked to
its name (which fails if the name is taken), and the directory synced. A file's name can be a directory of other names,
and parts can be longer than a file system takes, so directories are marked with characters that no name has:

    a/b/c       →  a=/b=/c
    a part longer than 200 characters  →  its first 200+/the rest

Beside them, folders whose names begin with an @ are those of apps, and no objects of this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import heapq
import os
import re
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from sidecar.core.errors import DataLoss, StoreUnavailable
from sidecar.core.failpoints import reach
from sidecar.stores.disk import disk_error, sync_directory

NAME_BYTES_MAX = 512
_NAME = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")

_MAGIC = b"SSB1"
_HEADER = struct.Struct(">4sQ32s")
"""Magic, length of the content, SHA-256 of the name and the content."""

_PIECE = 200
_PART_ENDS, _PART_GOES_ON = "=", "+"
_DOTS_END = "~"
"""After what would be `.` or `..`, as the rest of a long part may be."""
_TEMPORARY = "tmp~"
_APP = "@"
_PAGE = 256
_ATTEMPTS_MAX = 10
"""How often a put begins anew because somebody removed what it was using."""

T = TypeVar("T")


class FileBlobs:
    """Blobs in a directory, which other processes may use at the same time. All errors of the disk are SidecarErrors."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temporary = root / _TEMPORARY
        self._opened: tuple[int, int] | None = None
        """Which directory was opened: its device and inode."""

    async def open(self) -> None:
        """Make the directory, and remove what dead writers left. Raises StoreUnavailable, LimitExceeded."""
        self._opened = await _in_thread(self._open)

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def put(self, name: str, content: bytes) -> bool:
        """Store an object. Raises ValueError for a bad name, LimitExceeded (STORAGE_FULL), StoreUnavailable."""
        path = self._path(name)
        return await self._call(lambda: self._put(path, name, content))

    async def get(self, name: str) -> bytes | None:
        """An object's content. Raises ValueError for a bad name, DataLoss, StoreUnavailable."""
        path = self._path(name)
        return await self._call(lambda: self._get(path, name))

    async def delete(self, name: str) -> bool:
        """Remove an object. Raises ValueError for a bad name, StoreUnavailable."""
        path = self._path(name)
        return await self._call(lambda: self._delete(path))

    async def names(self, prefix: str = "") -> AsyncIterator[str]:
        """Names in the order of their bytes, read a page at a time."""
        found = self._walk(self._root, "", prefix)
        while page := await self._call(lambda: list(islice(found, _PAGE))):
            for name in page:
                yield name

    async def _call(self, function: Callable[[], T]) -> T:
        if self._opened is None:
            await self.open()
        return await _in_thread(function)

    def _path(self, name: str) -> Path:
        if len(name) > NAME_BYTES_MAX or not _NAME.fullmatch(name):
            raise ValueError(f"not a blob's name: {name!r}")
        *directories, last = name.split("/")
        pieces = [piece for part in directories for piece in _pieces(part, _PART_ENDS)]
        return self._root.joinpath(*pieces, *_pieces(last, ""))

    # In threads.

    def _open(self) -> tuple[int, int]:
        self._temporary.mkdir(parents=True, exist_ok=True)
        for path in self._temporary.iterdir():
            # Its writer may be done since it was listed, or another process that opens the directory has removed it.
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                # Who still writes it holds its lock.
                if _locked(file):
                    path.unlink()
        return _identity(self._root)

    def _put(self, path: Path, name: str, content: bytes) -> bool:
        header = _HEADER.pack(_MAGIC, len(content), _digest(name, content))
        attempts = 0
        while True:
            try:
                return self._taken(path) if path.exists() else self._write(path, header, content)
            except FileNotFoundError:
                attempts += 1
                if attempts == _ATTEMPTS_MAX:
                    raise
                self._make_temporary_again()

    def _write(self, path: Path, header: bytes, content: bytes) -> bool:
        """Raises FileNotFoundError if the temporary file or a directory was removed meanwhile.

        No process of ours removes what another one uses, as long as locks reach from each to the other, which they may not
        where a file system is shared by machines. But programs that clear up remove empty directories and old files.
        """
        with self._temporary_file() as file:
            temporary = Path(file.name)
            try:
                self._make_directory(path.parent)
                file.write(header)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                reach("files.link.before")
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return self._taken(path)
            finally:
                temporary.unlink(missing_ok=True)
        reach("files.link.after")
        sync_directory(path.parent)
        return True

    def _taken(self, path: Path) -> bool:
        # Its writer may not have come to this yet, and who hears "taken" relies on it.
        sync_directory(path.parent)
        return False

    def _make_directory(self, directory: Path) -> None:
        """With its parents up to the root, each durable in its own parent. The root itself is not made again."""
        if directory == self._root or directory.is_dir():
            return
        self._make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)

    def _make_temporary_again(self) -> None:
        """Its absence may also say that a file system was unmounted: what is written to the directory below it is lost."""
        if _identity(self._root) != self._opened:
            raise StoreUnavailable("the directory of the blobs is another than was opened: is its file system mounted?")
        self._temporary.mkdir(exist_ok=True)

    def _temporary_file(self) -> BinaryIO:
        """An open, locked temporary file. Raises FileNotFoundError if it was removed meanwhile."""
        file = tempfile.NamedTemporaryFile(dir=self._temporary, delete=False)  # noqa: SIM115  # the caller closes it
        # Another process may open the directory between creation and lock, and take it for a leftover.
        if _locked(file) and os.fstat(file.fileno()).st_nlink:
            return file  # type: ignore[return-value]  # a wrapper of a BinaryIO
        file.close()
        raise FileNotFoundError(errno.ENOENT, "a new file was removed at once")

    def _get(self, path: Path, name: str) -> bytes | None:
        try:
            # Without a buffer: with one, what is read to the end is in memory twice for a moment.
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            self._check_root()
            return None
        with file:
            header = file.read(_HEADER.size)
            content = file.readall()
        try:
            magic, length, digest = _HEADER.unpack(header)
        except struct.error:
            raise _corrupt(name) from None
        if magic != _MAGIC or length != len(content) or digest != _digest(name, content):
            raise _corrupt(name)
        return content

    def _delete(self, path: Path) -> bool:
        try:
            path.unlink()
        except FileNotFoundError:
            self._check_root()
            return False
        sync_directory(path.parent)
        return True

    def _check_root(self) -> None:
        """A directory that is away must not be read as an object that isn't there."""
        if not self._root.is_dir():
            raise StoreUnavailable("the directory of the blobs is not there")

    def _walk(self, directory: Path, begin: str, prefix: str) -> Iterator[str]:
        """Names below a directory whose own part of them is `begin`."""
        pieces: dict[str, list[str]] = {}
        for entry in os.scandir(directory):
            piece = entry.name
            if piece == _TEMPORARY or piece.startswith(_APP):
                continue
            if piece.endswith(_PART_ENDS):
                pieces.setdefault(piece[:-1] + "/", []).append(piece)
            elif piece.endswith(_PART_GOES_ON):
                pieces.setdefault(piece[:-1], []).append(piece)
            else:
                pieces.setdefault(piece.removesuffix(_DOTS_END), []).append(piece)
        _merge_long(pieces)
        for text in sorted(pieces):
            within = begin + text
            if within.startswith(prefix) or prefix.startswith(within):
                yield from heapq.merge(*[self._below(directory, begin, each, prefix) for each in sorted(pieces[text])])

    def _below(self, directory: Path, begin: str, piece: str, prefix: str) -> Iterator[str]:
        if piece.endswith(_PART_ENDS):
            return self._walk(directory / piece, begin + piece[:-1] + "/", prefix)
        if piece.endswith(_PART_GOES_ON):
            return self._walk(directory / piece, begin + piece[:-1], prefix)
        name = begin + piece.removesuffix(_DOTS_END)
        return iter([name] if name.startswith(prefix) else [])


def _merge_long(pieces: dict[str, list[str]]) -> None:
    """Names that go on after a long piece interleave with those for which it is a directory: they are walked together."""
    for text in [text for text, found in pieces.items() if any(each.endswith(_PART_GOES_ON) for each in found)]:
        pieces[text] += pieces.pop(text + "/", [])


def _pieces(part: str, end: str) -> list[str]:
    pieces = [part[position : position + _PIECE] for position in range(0, len(part), _PIECE)]
    last = pieces[-1] + end
    if last in (".", ".."):
        last += _DOTS_END
    return [piece + _PART_GOES_ON for piece in pieces[:-1]] + [last]


def _digest(name: str, content: bytes) -> bytes:
    digest = hashlib.sha256(name.encode() + b"\0")
    digest.update(content)
    return digest.digest()


def _identity(directory: Path) -> tuple[int, int]:
    status = directory.stat()
    return status.st_dev, status.st_ino


def _locked(file: BinaryIO | tempfile._TemporaryFileWrapper[bytes]) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _corrupt(name: str) -> DataLoss:
    return DataLoss(f"the blob {name!r} does not verify", reason="BLOB_CORRUPT", metadata={"name": name})


async def _in_thread(function: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(function)
    except OSError as exc:
        raise disk_error(exc) from exc
