"""What wraps data keys: the port to key files and to key services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class KeyMissing(Exception):
    """No key of that name is configured here."""


class KeyRefused(Exception):
    """A wrapped key does not open; says why."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a data key is. Wrapping binds both."""

    app: str
    namespace: str


class KeySource(Protocol):
    """Wraps data keys under keys of its own, which never leave it. Safe to call from many tasks at once."""

    @property
    def active(self) -> str:
        """The name of the key that new data keys are wrapped under; empty where it is not known before the first."""
        ...

    async def new(self, owner: Owner) -> tuple[str, bytes, bytes]:
        """A new data key of 32 bytes: the wrapping key's name, the wrapped key, the key. Raises StoreUnavailable."""
        ...

    async def unwrap(self, name: str, wrapped: bytes, owner: Owner) -> bytes:
        """The data key. Raises KeyMissing, KeyRefused, StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Let go of what is held. Idempotent."""
        ...
