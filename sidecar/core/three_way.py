"""Three-way merge of JSON texts: what two writers made of the same base, without losing what either did. Pure.

The client's sessions merge by the same rules (`statesidecar/_merge.py`); a property test holds the two to each other.

A merge is no operation to repeat: merged once more into its own result, an append is there twice and a difference counts
twice, for another writer may well have done the same. That each write is merged once is the request ids' work.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from sidecar.core.merge import dump_json, parse_json

_ABSENT: Final = object()
_PLAIN_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class NotMergeable(Exception):
    """Both sides changed what cannot be merged; `path` is its JSON path, like $.slots.city."""

    def __init__(self, path: str) -> None:
        super().__init__(f"both sides changed {path}")
        self.path = path


def merge(base: bytes | None, ours: bytes, theirs: bytes) -> bytes:
    """Both sides' changes of `base`, together; None: there was nothing, and both made it.

    Objects are merged field by field. What one side appended to a list goes behind the other's, if that took nothing out
    (ours behind theirs, if both only appended). Integers that both changed get both differences. Anything else that both
    changed must have become the same. Where only one side changed anything, its text is the result, byte by byte. Raises
    NotMergeable, and ValueError if a text that has to be read is not JSON; what is nested too deeply for this stack is
    NotMergeable at its root.
    """
    if base is not None and base in (ours, theirs):
        return theirs if ours == base else ours
    return _on_values(lambda known, mine, others: _merge(known, mine, others, "$"), base, ours, theirs)


def join(ours: bytes, theirs: bytes) -> bytes:
    """Both values together, where nobody knows what they have in common.

    What only one of them has is kept; of two lists of which one begins with the other, the longer one; anything else that
    both have must be the same. Without a base nothing tells an item or a count that both had from one that each added, so
    neither is added: joined once more, the result stays as it is. Raises as `merge` does.
    """
    return _on_values(lambda _, mine, others: _join(mine, others, "$"), None, ours, theirs)


def _on_values(combine: Callable[[Any, Any, Any], Any], base: bytes | None, ours: bytes, theirs: bytes) -> bytes:
    try:
        known = _ABSENT if base is None else parse_json(base)
        mine, others = parse_json(ours), parse_json(theirs)
    except ValueError as exc:
        if ours == theirs:
            return theirs  # Perhaps no JSON, but nothing to merge either
        if isinstance(exc.__cause__, RecursionError):
            raise NotMergeable("$") from exc
        raise
    try:
        merged = combine(known, mine, others)
        if merged is mine or merged is others:
            return ours if merged is mine else theirs
        return dump_json(merged)
    except (RecursionError, ValueError) as exc:  # Too deep, or a number with more digits than may be written
        raise NotMergeable("$") from exc


def _merge(base: Any, ours: Any, theirs: Any, path: str) -> Any:
    if _same(ours, base):
        return theirs
    if _same(theirs, base):
        return ours
    if _all(dict, base, ours, theirs):
        return _merge_fields({} if base is _ABSENT else base, ours, theirs, path)
    if _all(list, base, ours, theirs):
        known = [] if base is _ABSENT else base
        if _begins_with(ours, known) and _keeps(theirs, known):
            return theirs + ours[len(known) :]
        if _begins_with(theirs, known) and _keeps(ours, known):
            return ours + theirs[len(known) :]
    if _all(int, base, ours, theirs):
        return theirs + ours - (0 if base is _ABSENT else base)
    if _same(ours, theirs):
        return theirs
    raise NotMergeable(path)


def _merge_fields(base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], path: str) -> dict[str, Any]:
    merged = {}
    for name in [*theirs, *(name for name in ours if name not in theirs)]:
        at = f"{path}{_step(name)}"
        value = _merge(base.get(name, _ABSENT), ours.get(name, _ABSENT), theirs.get(name, _ABSENT), at)
        if value is not _ABSENT:
            merged[name] = value
    return merged


def _join(ours: Any, theirs: Any, path: str) -> Any:
    if type(ours) is dict and type(theirs) is dict:
        both = (name for name in theirs if name in ours)
        return theirs | ours | {name: _join(ours[name], theirs[name], f"{path}{_step(name)}") for name in both}
    if type(ours) is list and type(theirs) is list:
        longer, shorter = (ours, theirs) if len(ours) > len(theirs) else (theirs, ours)
        if _begins_with(longer, shorter):
            return longer
    if _same(ours, theirs):
        return theirs
    raise NotMergeable(path)


def _same(a: Any, b: Any) -> bool:
    """The order of fields says nothing, true is not 1, and 1 is not 1.0."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(value, b[name]) for name, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)


def _all(kind: type, base: Any, ours: Any, theirs: Any) -> bool:
    return type(ours) is kind and type(theirs) is kind and (base is _ABSENT or type(base) is kind)


def _begins_with(value: list[Any], prefix: list[Any]) -> bool:
    return _same(value[: len(prefix)], prefix)


def _keeps(value: list[Any], items: list[Any]) -> bool:
    """Whether all items are still there in their order, with others before, between or behind them."""
    rest = iter(value)
    return all(any(_same(item, found) for found in rest) for item in items)


def _step(name: str) -> str:
    return f".{name}" if _PLAIN_FIELD.fullmatch(name) else f"[{json.dumps(name)}]"
