"""What one JSON value has beyond another: a patch, which can be put on the other again after somebody changed that. Pure.

Not a merge patch (RFC 7396): that has no word for a null, and takes arrays as a whole. Here what was changed is guarded by
a digest of what was there before, so that the patch never undoes what somebody else wrote. What doesn't fit is left out.

| patch | meaning |
| --- | --- |
| `{name: patch, …}` | of fields of an object |
| `["+", value]` | a field that is not there |
| `["-", digest]` | a field that goes, if it is that |
| `["=", digest, value]` | another value, if it is that |
| `["*", [[index, digest, patch, look], …]]` | of elements of an array, found by their digests; the last one is always named |

An array whose length differs is another value. Bytes are one value, as `["b", digest, base64]`.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

_DIGEST_BYTES = 9
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_FIELDS_MAX, _SHORT = 16, 4
_NEAR = 32
"""Of many equal elements, how many before the place of one are looked at to find out how far it was shifted."""


def difference(base: Any, value: Any) -> Any:
    """The patch that makes `value` of `base`; None: they are the same."""
    if isinstance(value, bytes):
        return None if value == base else ["b", digest(base), b64encode(value).decode()]
    if isinstance(base, dict) and isinstance(value, dict):
        return _of_fields(base, value) or None
    if isinstance(base, list) and isinstance(value, list) and len(base) == len(value):
        return _of_elements(base, value)
    return None if same(base, value) else ["=", digest(base), value]


def apply(base: Any, patch: Any) -> Any:
    """The base with what fits of a patch, whatever that is; the base itself stays as it is."""
    if isinstance(patch, dict):
        return _with_fields(base, patch) if isinstance(base, dict) else base
    match patch:
        case ["=", str(before), value] if digest(base) == before:
            return value
        case ["*", list(named)] if isinstance(base, list):
            return _with_elements(base, named)
        case ["b", str(before), str(text)] if isinstance(base, bytes) and digest(base) == before:
            try:
                return b64decode(text, validate=True)
            except binascii.Error:
                return base
        case _:
            return base


def same(one: Any, other: Any) -> bool:
    """Whether they are the same JSON: 1 is neither true nor 1.0, and the order of fields is nothing."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(name in other and same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other) if isinstance(one, float) else bool(one == other)


def digest(value: Any) -> str:
    """Of a JSON value, or bytes."""
    text = value if isinstance(value, bytes) else _text(value)
    return b64encode(blake2b(text, digest_size=_DIGEST_BYTES).digest(), b"-_").decode()


def _text(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


# ---- objects


def _of_fields(base: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {name: ["-", digest(base[name])] for name in base if name not in value}
    for name, inner in value.items():
        patch[name] = difference(base[name], inner) if name in base else ["+", inner]
    return {name: inner for name, inner in patch.items() if inner is not None}


def _with_fields(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    fields = dict(base)
    for name, inner in patch.items():
        match inner:
            case ["+", value]:
                fields.setdefault(name, value)
            case ["-", before]:
                if name in base and digest(base[name]) == before:
                    del fields[name]
            case _ if name in base:
                fields[name] = apply(base[name], inner)
    return fields


# ---- arrays


def _of_elements(base: list[Any], value: list[Any]) -> Any:
    patches = [difference(*pair) for pair in zip(base, value, strict=True)]
    changed = [at for at, patch in enumerate(patches) if patch is not None]
    if not changed:
        return None
    shared = Counter(field for element in base for field in _fields(element))
    named = [[at, digest(base[at]), patches[at], _look(base[at], shared)] for at in changed]
    last = len(base) - 1
    if changed[-1] != last:
        named.append([last, digest(base[last]), None, ""])  # tells how far the others were shifted
    return ["*", named]


def _with_elements(base: list[Any], named: list[Any]) -> list[Any]:
    patched = list(base)
    for place, patch in _placed(base, [_Named(*each) for each in named if _is_named(each)]):
        patched[place] = apply(base[place], patch)
    return patched


class _Named(NamedTuple):
    """An element that a patch names: where it was, what it was, what becomes of it, and how to know it after an edit."""

    at: int
    digest: str
    patch: Any
    look: str


def _is_named(given: Any) -> bool:
    kinds = [type(part) for part in given] if isinstance(given, list) else []
    return len(kinds) == len(_Named._fields) and kinds[:2] == [int, str] and kinds[3] is str


def _placed(base: list[Any], named: list[_Named]) -> Iterator[tuple[int, Any]]:
    """Where the elements are now, and what becomes of them.

    Most writers add at the end and take from the front, so first: by how many places were they shifted. Those that fell off
    the front are gone, however equal one is that was added since. Else each is looked for at its place, then anywhere, and
    then one that looks like it: it was edited.
    """
    alone = len(named) == 1 and named[0].at == 0
    digests = [digest(element) for element in base]
    found: dict[str, list[int]] = {}
    for place, text in enumerate(digests):
        found.setdefault(text, []).append(place)
    in_place = all(each.at < len(base) and digests[each.at] == each.digest for each in named)
    shift = 0 if in_place else _shift(named, found)
    free = set(range(len(base)))
    missing: list[_Named] = []
    for each in named:
        place = each.at - shift
        if place in free and digests[place] == each.digest:
            free.remove(place)
            yield place, each.patch
        else:
            missing.append(each)
    if shift > 0 and all(each.at < shift for each in missing):
        return
    edited: list[_Named] = []
    rest = {text: iter(places) for text, places in found.items()}
    for each in missing:
        somewhere = next((place for place in rest.get(each.digest, ()) if place in free), None)
        if somewhere is None:
            edited.append(each)
        else:
            free.remove(somewhere)
            yield somewhere, each.patch
    for each, place in _known_again(edited, [(place, _fields(base[place])) for place in sorted(free)], alone=alone):
        yield place, each.patch


def _shift(named: list[_Named], found: dict[str, list[int]]) -> int:
    """By how many places most of them moved to the front. If that is undecided: so that none that didn't fall off is missing,
    as few as possible, and not to the end.
    """
    votes: Counter[int] = Counter()
    for each in named:
        places = found.get(each.digest, [])
        near = bisect_right(places, each.at)
        votes.update(each.at - place for place in places[max(near - _NEAR, 0) : near + 1])
    indexes = sorted(each.at for each in named)

    def rank(shift: int) -> tuple[int, bool, bool, int]:
        left = len(named) - bisect_left(indexes, shift)
        return -votes[shift], votes[shift] < left, shift < 0, abs(shift)

    return min(votes, key=rank, default=0)


def _fields(element: Any) -> set[str]:
    """The fields of an object that can tell it from others; yes and no can't."""
    if not isinstance(element, dict):
        return set()
    return {
        digest([name, inner])[:_SHORT] for name, inner in element.items() if not (inner is None or type(inner) is bool)
    }


def _look(element: Any, shared: Counter[str]) -> str:
    """The fields of an object that no other of the array has, so that it is known again after some of them were edited."""
    return "".join(sorted(field for field in _fields(element) if shared[field] == 1)[:_FIELDS_MAX])


def _known_again(
    edited: list[_Named], elements: list[tuple[int, set[str]]], *, alone: bool
) -> Iterator[tuple[_Named, int]]:
    """Those that have at least half of the fields that told them from others, or more of one that was `alone`."""
    having: dict[str, list[int]] = {}
    for place, fields in elements:
        for field in fields:
            having.setdefault(field, []).append(place)
    taken: set[int] = set()
    for each in edited:
        look = [each.look[at : at + _SHORT] for at in range(0, len(each.look), _SHORT)]
        votes = Counter(place for field in look for place in having.get(field, [])[:_NEAR] if place not in taken)
        place, most = max(votes.items(), key=lambda vote: vote[1], default=(0, 0))
        if 2 * most > len(look) or (2 * most == len(look) > 0 and not alone):
            taken.add(place)
            yield each, place
