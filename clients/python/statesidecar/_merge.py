"""Three-way merge of JSON values: what two writers made of the same base, without losing what either did. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_ABSENT: Final = object()
_PLAIN_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class MergeConflict(Exception):  # never leaves the package: sessions raise VersionConflict
    """Both sides changed what cannot be merged."""

    def __init__(self, path: str) -> None:
        super().__init__(f"both sides changed {path}")
        #: A JSON path, like $.slots.city
        self.path = path


def merge(base: Any, mine: Any, theirs: Any) -> Any:
    """Both sides' changes of `base`, together.

    Objects are merged field by field. What one side appended to a list goes behind the other's, if that took nothing out
    (mine behind theirs, if both only appended). Integers that both changed get both differences: two writers that each
    count one make two, even where both saw the same. Anything else that both changed must have become the same. Raises
    MergeConflict, with the JSON path. The daemon merges buffered writes by the same rules.
    """
    return _merge(base, mine, theirs, "$")


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same: the order of fields says nothing, true is not 1, and 1 is not 1.0."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[name]) for name, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def _merge(base: Any, mine: Any, theirs: Any, path: str) -> Any:
    if same(mine, base):
        return theirs
    if same(theirs, base):
        return mine
    if _all(dict, base, mine, theirs):
        return _merge_objects({} if base is _ABSENT else base, mine, theirs, path)
    if _all(list, base, mine, theirs):
        known = [] if base is _ABSENT else base
        if _begins_with(mine, known) and _keeps(theirs, known):
            return theirs + mine[len(known) :]
        if _begins_with(theirs, known) and _keeps(mine, known):
            return mine + theirs[len(known) :]
    if _all(int, base, mine, theirs):
        return theirs + mine - (0 if base is _ABSENT else base)
    if same(mine, theirs):
        return mine
    raise MergeConflict(path)


def _merge_objects(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any], path: str) -> dict[str, Any]:
    merged = {}
    for name in [*theirs, *(name for name in mine if name not in theirs)]:
        value = _merge(
            base.get(name, _ABSENT), mine.get(name, _ABSENT), theirs.get(name, _ABSENT), f"{path}{_step(name)}"
        )
        if value is not _ABSENT:
            merged[name] = value
    return merged


def _all(kind: type, base: Any, mine: Any, theirs: Any) -> bool:
    return type(mine) is kind and type(theirs) is kind and (base is _ABSENT or type(base) is kind)


def _begins_with(value: list[Any], prefix: list[Any]) -> bool:
    return same(value[: len(prefix)], prefix)


def _keeps(value: list[Any], items: list[Any]) -> bool:
    """Whether all items are still there in their order, with others before, between or behind them."""
    rest = iter(value)
    return all(any(same(item, found) for found in rest) for item in items)


def _step(name: str) -> str:
    return f".{name}" if _PLAIN_FIELD.fullmatch(name) else f"[{json.dumps(name)}]"
