"""Statements by name, read once from `queries.sql` and `schema.sql`, and the loading of many rows by one."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from functools import cache
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

Pair = tuple[bytes, bytes]
"""A namespace with a key or a request id in it, as stored."""

_LOAD_SIZES = (1, 8, 64)
_PAIR = "(?, ?)"

_HEADER = re.compile(r"^-- ([a-z ]+) --$", re.MULTILINE)
_COMMENT = re.compile(r"--.*$", re.MULTILINE)


def query(name: str) -> str:
    """The statement under `-- name --`; a name that is not there is a KeyError at import."""
    return _queries()[name]


def load(connection: sqlite3.Connection, name: str, pairs: Iterable[Pair]) -> dict[Pair, tuple[Any, ...]]:
    """Rows of a `load …` statement by the pairs that name them; a pair that is not there has none.

    One statement for many pairs costs less than half of one for each, and gives the interpreter's lock away less often.
    """
    rows: dict[Pair, tuple[Any, ...]] = {}
    wanted = iter(pairs)
    while chunk := list(islice(wanted, _LOAD_SIZES[-1])):
        size = next(size for size in _LOAD_SIZES if size >= len(chunk))
        # What is left over is filled with NULLs, which equal nothing: few sizes, so few statements to prepare.
        parameters = (*chain.from_iterable(chunk), *repeat(None, 2 * (size - len(chunk))))
        for row in connection.execute(_repeated(name, size), parameters):
            rows[row[0], row[1]] = row[2:]
    return rows


_STATEMENTS = {1: 7, 2: 8}
"""How many of the schema's statements each version of it has."""


def schema(version: int = max(_STATEMENTS)) -> list[str]:
    """The statements that make an empty database of a version, in order. Those of an older one are the first of a newer's."""
    text = _COMMENT.sub("", _read("schema.sql"))
    statements = [statement.strip() for statement in text.split(";") if statement.strip()]
    return statements[: _STATEMENTS[version]]


@cache
def _repeated(name: str, size: int) -> str:
    return query(name).replace(_PAIR, ", ".join([_PAIR] * size), 1)


@cache
def _queries() -> dict[str, str]:
    _, *parts = _HEADER.split(_read("queries.sql"))
    # Without comments and line breaks: the text is the key of sqlite3's statement cache, hashed at each use.
    return {
        name: " ".join(_COMMENT.sub("", statement).split())
        for name, statement in zip(parts[::2], parts[1::2], strict=True)
    }


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
