"""Blobs: the port to a backend for large immutable objects, written once under a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class Blobs(Protocol):
    """An adapter to one backend. Names are 1 to 512 bytes of `[A-Za-z0-9._/-]`, no part `.` or `..`."""

    async def open(self) -> None:
        """Prepare the backend. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Let go. Idempotent."""
        ...

    async def put(self, name: str, content: bytes) -> bool:
        """Store an object, durably and whole or not at all; False if the name is taken (nothing is changed)."""
        ...

    async def get(self, name: str) -> bytes | None:
        """An object's content, None if there is none. Raises DataLoss if it does not verify."""
        ...

    async def delete(self, name: str) -> bool:
        """Remove an object; whether there was one."""
        ...

    def names(self, prefix: str = "") -> AsyncIterator[str]:
        """Names that begin with `prefix`, in order."""
        ...
