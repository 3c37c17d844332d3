"""Statements by name, read once from `queries.sql` and `schema.sql`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_HEADER = re.compile(r"^-- ([a-z ]+) --$", re.MULTILINE)
_COMMENT = re.compile(r"--.*$", re.MULTILINE)


def query(name: str) -> str:
    """The statement under `-- name --`; a name that is not there is a KeyError at import."""
    return _queries()[name]


def schema() -> list[str]:
    """The statements that make an empty database, in order."""
    text = _COMMENT.sub("", _read("schema.sql"))
    return [statement.strip() for statement in text.split(";") if statement.strip()]


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
