"""Statements by name, read once from `queries.sql`, and the numbered migrations beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from sidecar.stores.postgres.target import SCHEMA

_HEADER = re.compile(r"^-- ([a-z ]+) --$", re.MULTILINE)
_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_[a-z_]+\.sql")


_POINTED = frozenset(
    {
        "begin",
        "commit",
        "rollback",
        "bound transaction",
        "begin reading",
        "lock entries",
        "load requests",
        "draw",
        "insert entries",
        "insert requests",
        "update entries",
        "insert changes",
        "get entries",
        "last change id",
        "oldest in flight",
    }
)
"""Statements that have one good plan, whatever tables hold. Those over ranges are planned for what is asked for."""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement, and the name that it is prepared under: of its content, so that a name never stands for another."""

    text: bytes
    name: bytes
    prepared: bool

    @classmethod
    def of(cls, text: str, *, prepared: bool = True) -> Query:
        """The query of a text; `prepared` where the connection is fit for it."""
        encoded = " ".join(_COMMENT.sub("", text).split()).rstrip(";").encode()
        return cls(encoded, b"state_sidecar_" + sha256(encoded).hexdigest()[:24].encode(), prepared)


@dataclass(frozen=True, slots=True)
class Migration:
    """What a number of the schema's history does."""

    number: int
    queries: tuple[Query, ...]


class Queries:
    """The statements for a schema; `lock_class` and `flights` are its numbers among advisory locks."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.lock_class = crc32(schema.encode()) & 0x7FFF_FFFF
        self.flights = self.lock_class & 0x7FFF
        self._queries = {
            name: Query.of(self._placed(text), prepared=name in _POINTED) for name, text in _statements().items()
        }
        assert self._queries.keys() >= _POINTED

    def __getitem__(self, name: str) -> Query:
        return self._queries[name]

    def migrations(self) -> list[Migration]:
        """All, in order."""
        return [
            Migration(
                number,
                tuple(Query.of(part) for part in self._placed(_COMMENT.sub("", text)).split(";\n") if part.strip()),
            )
            for number, text in _migrations().items()
        ]

    def _placed(self, text: str) -> str:
        """The files name the default schema; an identifier can't be a parameter. `parse_target` lets only plain ones in."""
        return text.replace(SCHEMA, self.schema)


@cache
def _statements() -> Mapping[str, str]:
    _, *parts = _HEADER.split(Path(__file__).with_name("queries.sql").read_text(encoding="utf-8"))
    return dict(zip(parts[::2], parts[1::2], strict=True))


@cache
def _migrations() -> Mapping[int, str]:
    folder = Path(__file__).with_name("migrations")
    found = {int(match[1]): path for path in folder.iterdir() if (match := _MIGRATION.fullmatch(path.name))}
    assert sorted(found) == list(range(1, len(found) + 1)), "migrations are numbered from 1 without a hole"
    return {number: found[number].read_text(encoding="utf-8") for number in sorted(found)}
