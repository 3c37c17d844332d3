"""The shared authority: a schema of a PostgreSQL database, written by group-committing lanes, read by a few connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.stores.postgres.target import PostgresTarget, parse_target

if TYPE_CHECKING:
    from sidecar.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore", "PostgresTarget", "parse_target"]


def __getattr__(name: str) -> Any:
    # The driver is needed to use a database, not to read its URL.
    if name == "PostgresStore":
        from sidecar.stores.postgres.store import PostgresStore  # noqa: PLC0415

        return PostgresStore
    raise AttributeError(name)
