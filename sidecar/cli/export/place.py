"""Files of an export in their place, through Arrow's file systems. What was written is durable when the call returns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from pyarrow import fs

from sidecar.cli.calls import Exit
from sidecar.cli.export.errors import ExportError
from sidecar.cli.export.target import Target
from sidecar.stores.s3.target import S3Target

_ADVICE: Final = "Run the same command again when it is mended: it goes on where it was."
_AWAY: Final = ("NETWORK_CONNECTION", "SERVICE_UNAVAILABLE", "SLOW_DOWN", "REQUEST_TIMEOUT")


class Place:
    """Names are relative to the target. Raises ExportError where it can't be read or written."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._local = isinstance(target.at, Path)
        with self._told("open"):
            self._files, self._root = _open(target.at)

    def read(self, name: str) -> bytes | None:
        """A file's content; None: there is none."""
        with self._told(f"read {name} at"):
            try:
                with self._files.open_input_stream(self._path(name)) as source:
                    content: bytes = source.read()
                    return content
            except FileNotFoundError:
                return None

    def replace(self, name: str, content: bytes) -> None:
        """Writes a small file, or replaces one, atomically."""
        with self._told(f"write {name} at"), self._sink(name) as sink:
            sink.write(content)

    @contextmanager
    def create(self, name: str) -> Iterator[Any]:
        """A file to write. It is there when the block ends; if the block raises, it is not, or is removed."""
        with self._told(f"write {name} at"):
            try:
                with self._sink(name) as sink:
                    yield sink
            except BaseException:
                # Closing an object completes it, also half-way.
                with suppress(OSError):
                    self._files.delete_file(self._path(name))
                raise

    def names(self, folder: str) -> list[str]:
        """All files below a folder, those that are hidden or half written too."""
        selector = fs.FileSelector(self._path(folder), recursive=True, allow_not_found=True)
        with self._told(f"list {folder} at"):
            found = self._files.get_file_info(selector)
        below = len(self._root) + 1
        return [info.path[below:] for info in found if info.type == fs.FileType.File]

    def remove(self, name: str) -> None:
        """Removes a file."""
        with self._told(f"remove {name} at"):
            self._files.delete_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _sink(self, name: str) -> Iterator[Any]:
        """An open file that takes its name when it is whole, which an object does by itself."""
        path = self._path(name)
        if not self._local:
            with self._files.open_output_stream(path) as sink:
                yield sink
            return
        folder, base = path.rpartition("/")[::2]
        partial = f"{folder}/.{base}.partial"
        self._files.create_dir(folder)
        try:
            with self._files.open_output_stream(partial) as sink:
                yield sink
            _sync(partial)
            self._files.move(partial, path)
        except BaseException:
            with suppress(OSError):
                self._files.delete_file(partial)
            raise
        for above in (folder, *map(str, PurePosixPath(folder).parents)):
            if above.startswith(self._root):
                _sync(above)

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            code = Exit.UNAVAILABLE if any(f"AWS Error {name} " in why for name in _AWAY) else Exit.INVALID
            message = f"cannot {doing} {self._target}: {why}"
            raise ExportError(message, code=code, advice=_ADVICE) from error


def _open(at: Path | S3Target) -> tuple[Any, str]:
    """The file system, and the target's path in it."""
    if isinstance(at, Path):
        return fs.LocalFileSystem(), str(at).rstrip("/")
    options: dict[str, Any] = {"allow_bucket_creation": at.create, "allow_delayed_open": True}
    if at.endpoint_url is not None:
        endpoint = urlsplit(at.endpoint_url)
        options |= {"scheme": endpoint.scheme, "endpoint_override": endpoint.netloc}
        options["force_virtual_addressing"] = not at.path_style
    if at.region is not None:
        options["region"] = at.region
    files = fs.S3FileSystem(**options)
    if at.create:
        files.create_dir(at.bucket)
    return files, f"{at.bucket}/{at.prefix}".rstrip("/")


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
