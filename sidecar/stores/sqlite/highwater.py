"""The file beside the database that remembers what versions were handed out, should the database itself go back in time.

Sequences are handed out from blocks. A block's end is written here, and synced, before it is written to the database;
at each opening a new block begins. So a copy of the database that is put back never hands out a version again, and is
recognised where it knows less than this file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sidecar.stores.disk import sync_directory

BLOCK = 1 << 20
"""Sequences reserved at once: some minutes of writes, and 2^28 openings before 48 bits are used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Highwater:
    """What was handed out, or may have been: sequences up to `reserved`, and for certain up to `sequence`."""

    database_id: str
    epoch: int
    sequence: int
    reserved: int


class HighwaterFile:
    """`<database>.highwater`, replaced whole. Raises OSError."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".highwater")

    def read(self) -> Highwater | None:
        """What is remembered, None: nothing yet. Raises ValueError for what isn't ours."""
        try:
            record = json.loads(self._path.read_bytes())
            return Highwater(**record)
        except FileNotFoundError:
            return None
        except TypeError as exc:
            raise ValueError(str(exc)) from exc

    def write(self, highwater: Highwater) -> None:
        """Durable when it returns."""
        temporary = self._path.with_name(self._path.name + ".tmp")
        with temporary.open("wb") as file:
            file.write(json.dumps(asdict(highwater)).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        sync_directory(self._path.parent)
