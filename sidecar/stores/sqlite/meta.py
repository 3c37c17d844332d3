"""The single row of the database about itself: its identity, and the counters that must never go back."""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, dataclass
from zlib import crc32

from sidecar.core.errors import store_corrupt
from sidecar.stores.sqlite.queries import query

_LOAD = query("load meta")
_STORE = query("store meta")


@dataclass(slots=True)
class Meta:
    """Fields in the order of the columns; `sequence` and `change_id` are the last ones handed out."""

    release: str
    database_id: str
    epoch: int = 0
    sequence: int = 0
    reserved: int = 0
    change_id: int = 0
    change_floor: int = 0
    cache_identity: str = ""
    generation: int = 0

    @classmethod
    def load(cls, connection: sqlite3.Connection) -> Meta:
        """As committed, or as this transaction has it. Raises DataLoss."""
        row = connection.execute(_LOAD).fetchone()
        if row is None or row[-1] != _checksum(row[:-1]):
            raise store_corrupt("the database's own row does not verify")
        return cls(*row[:-1])

    def store(self, connection: sqlite3.Connection) -> None:
        """Within the caller's transaction."""
        row = astuple(self)
        connection.execute(_STORE, (*row, _checksum(row)))


def _checksum(row: tuple[object, ...]) -> int:
    return crc32(repr(tuple(row)).encode())
