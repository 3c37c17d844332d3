"""Wrong blobs: `FileBlobs` with one promise broken each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from sidecar.core.errors import DataLoss
from sidecar.stores.files import FileBlobs


class Overwrites(FileBlobs):
    """The last writer of a name wins."""

    async def put(self, name: str, content: bytes) -> bool:
        await self.delete(name)
        return await super().put(name, content)


class ChecksThenWrites(FileBlobs):
    """Looks whether the name is free, and lets others do so before it writes."""

    async def put(self, name: str, content: bytes) -> bool:
        if await self.get(name) is not None:
            return False
        await asyncio.sleep(0)
        await self.delete(name)
        return await super().put(name, content) or True


class NotVerified(FileBlobs):
    """Whatever is in the file is the content."""

    async def get(self, name: str) -> bytes | None:
        path = self._path(name)
        return path.read_bytes()[44:] if path.exists() else None


class CorruptIsAbsent(FileBlobs):
    """A blob that does not verify is told as one that isn't there."""

    async def get(self, name: str) -> bytes | None:
        try:
            return await super().get(name)
        except DataLoss:
            return None


class NamesNotChecked(FileBlobs):
    """A name is a path, wherever it leads."""

    def _path(self, name: str) -> Path:
        return self._root / "names" / name.replace("\0", "").strip("/.").replace("..", "")


class NamesInReverse(FileBlobs):
    """Names come in the order of the directory."""

    async def names(self, prefix: str = "") -> AsyncIterator[str]:
        for name in sorted([name async for name in super().names(prefix)], reverse=True):
            yield name
