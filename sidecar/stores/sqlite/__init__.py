"""The embedded authority: a SQLite file with one group-committing writer and a few readers, off the event loop."""

from sidecar.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
