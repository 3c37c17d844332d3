"""Steps between schemas that are declared instead of programmed: what they do, and their ways back.

    rename: {from: /name, to: /full_name}     the same place, another name
    move: {from: /street, to: /address/street}
    default: {path: /locale, value: en}       only where it is absent
    drop: /legacy

Every operation is total: where a path leads nowhere nothing happens, and nothing that is there is overwritten. None
changes the document that it is given. Paths are JSON pointers through objects; `*` is every element of an array.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

STAR = "*"
Path = tuple[str, ...]
_ESCAPES = re.compile(r"~(?![01])")
_ABSENT = object()


class Operation(Protocol):
    """One operation of a step."""

    def apply(self, document: Any) -> Any:
        """What becomes of a document."""
        ...

    def back(self) -> Operation | None:
        """The operation that undoes it; None: nothing has to be done."""
        ...


@dataclass(frozen=True, slots=True)
class Rename:
    """Another name for a field, in its place among the others; not where the name is taken."""

    objects: Path
    old: str
    new: str

    def apply(self, document: Any) -> Any:
        """With the new name."""
        return _within(document, self.objects, self._renamed)

    def back(self) -> Operation:
        """The old name."""
        return Rename(self.objects, self.new, self.old)

    def _renamed(self, fields: dict[str, Any]) -> dict[str, Any]:
        if self.old not in fields or self.new in fields:
            return fields
        return {self.new if name == self.old else name: value for name, value in fields.items()}


@dataclass(frozen=True, slots=True)
class Move:
    """A field goes to another place below `objects`; not where there is one already.

    Objects that are missing on the way to `target` are made. `prunes`: those that it leaves empty behind are removed,
    which undoes that.
    """

    objects: Path
    source: Path
    target: Path
    prunes: bool = False

    def apply(self, document: Any) -> Any:
        """With the field in its new place."""
        return _within(document, self.objects, self._moved)

    def back(self) -> Operation:
        """To where it was."""
        return Move(self.objects, self.target, self.source, prunes=True)

    def _moved(self, fields: dict[str, Any]) -> dict[str, Any]:
        value = _found(fields, self.source)
        if value is _ABSENT or _found(fields, self.target) is not _ABSENT:
            return fields
        moved = _with(_without(fields, self.source, prunes=self.prunes), self.target, value)
        return fields if moved is None else moved


@dataclass(frozen=True, slots=True)
class Default:
    """A field where there is none."""

    objects: Path
    name: str
    value: Any

    def apply(self, document: Any) -> Any:
        """With the field."""
        return _within(document, self.objects, self._filled)

    def back(self) -> Operation:
        """Without it, whatever it is by now: that is kept beside, where a writer who doesn't know it can't lose it."""
        return Drop(self.objects, self.name)

    def _filled(self, fields: dict[str, Any]) -> dict[str, Any]:
        return fields if self.name in fields else {**fields, self.name: copy.deepcopy(self.value)}


@dataclass(frozen=True, slots=True)
class Drop:
    """A field less."""

    objects: Path
    name: str

    def apply(self, document: Any) -> Any:
        """Without the field."""
        return _within(document, self.objects, self._dropped)

    def back(self) -> Operation | None:
        """Nothing: what was dropped is kept beside (`core/schema.py`), or nowhere."""
        return None

    def _dropped(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name != self.name}


@dataclass(frozen=True, slots=True)
class Operations:
    """A step's operations, one after the other: a callable from document to document."""

    steps: tuple[Operation, ...]

    def __call__(self, document: Any) -> Any:
        for step in self.steps:
            document = step.apply(document)
        return document

    def back(self) -> Operations:
        """The way back: each undone, the last first."""
        return Operations(tuple(undone for step in reversed(self.steps) if (undone := step.back()) is not None))


def read(declared: Sequence[Any]) -> tuple[Operations, list[str]]:
    """The operations that were declared, and what is wrong with those that are left out."""
    steps: list[Operation] = []
    problems: list[str] = []
    for number, each in enumerate(declared, 1):
        try:
            steps.append(_read(each))
        except ValueError as exc:
            problems.append(f"operation {number}: {exc}")
    return Operations(tuple(steps)), problems


# ---- what was declared


def _read(declared: Any) -> Operation:
    if not isinstance(declared, Mapping) or len(declared) != 1:
        raise ValueError(f"must be one of {', '.join(sorted(_READERS))}, with what it needs")
    ((name, given),) = declared.items()
    if name not in _READERS:
        raise ValueError(f"there is no {name}; known are {', '.join(sorted(_READERS))}")
    try:
        return _READERS[name](given)
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from None


def _read_rename(given: Any) -> Operation:
    old, new = _ends(given)
    if old[:-1] != new[:-1]:
        raise ValueError("the two differ in more than the last name: that is a move")
    return Rename(old[:-1], old[-1], new[-1])


def _read_move(given: Any) -> Operation:
    source, target = _ends(given)
    shared = 1 + max((at for at, name in enumerate(source) if name == STAR), default=-1)
    if source[:shared] != target[:shared] or STAR in target[shared:]:
        raise ValueError("the two go through different arrays: up to the last * they must be the same")
    if source[: len(target)] == target or target[: len(source)] == source:
        raise ValueError("one is within the other")
    return Move(source[:shared], source[shared:], target[shared:])


def _read_default(given: Any) -> Operation:
    wanted = _fields(given, {"path", "value"})
    path = _pointer(wanted["path"])
    try:
        json.dumps(wanted["value"], allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("the value is no JSON: a date, for one, needs quotes") from None
    return Default(path[:-1], path[-1], wanted["value"])


def _read_drop(given: Any) -> Operation:
    path = _pointer(given)
    return Drop(path[:-1], path[-1])


_READERS: dict[str, Callable[[Any], Operation]] = {
    "rename": _read_rename,
    "move": _read_move,
    "default": _read_default,
    "drop": _read_drop,
}


def _ends(given: Any) -> tuple[Path, Path]:
    wanted = _fields(given, {"from", "to"})
    source, target = _pointer(wanted["from"]), _pointer(wanted["to"])
    if source == target:
        raise ValueError("from and to are the same")
    return source, target


def _fields(given: Any, names: set[str]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping) or set(given) != names:
        raise ValueError(f"needs {' and '.join(sorted(names))}, and nothing else")
    return given


def _pointer(text: Any) -> Path:
    if not isinstance(text, str) or not text.startswith("/") or _ESCAPES.search(text):
        raise ValueError(f"{text!r} is no JSON pointer, such as /address/street or /items/*/name")
    path = tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])
    if path[-1] == STAR:
        raise ValueError(f"{text} ends in *: name a field of each element")
    return path


# ---- documents; what is not changed is shared with the one before


def _within(value: Any, path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """The value with every object at `path` changed."""
    if not path:
        return change(value) if isinstance(value, dict) else value
    if path[0] == STAR:
        return [_within(element, path[1:], change) for element in value] if isinstance(value, list) else value
    if not isinstance(value, dict) or path[0] not in value:
        return value
    return {**value, path[0]: _within(value[path[0]], path[1:], change)}


def _found(value: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _without(fields: dict[str, Any], path: Path, *, prunes: bool) -> dict[str, Any]:
    """Less what is at `path`, which is there."""
    rest = {name: value for name, value in fields.items() if name != path[0]}
    if len(path) == 1:
        return rest
    inner = _without(fields[path[0]], path[1:], prunes=prunes)
    return rest if prunes and not inner else {**fields, path[0]: inner}


def _with(fields: dict[str, Any], path: Path, value: Any) -> dict[str, Any] | None:
    """With a value at `path`; None: something on the way is no object."""
    if len(path) == 1:
        return {**fields, path[0]: value}
    within = fields.get(path[0], {})
    inner = _with(within, path[1:], value) if isinstance(within, dict) else None
    return None if inner is None else {**fields, path[0]: inner}
