"""Columns as PostgreSQL's binary arrays: a few packings for a whole batch, where an adapter for each value would cost more.

The form is that of `array_send`: dimensions, whether there are NULLs, the elements' type, their number and the index of
the first; then each element's length (-1: NULL) and bytes. Integers are bigint.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct, calcsize, pack, unpack_from
from typing import Any

_HEAD = Struct("!iiIii")
_LENGTH = Struct("!i")
_INTEGER = Struct("!iq")
_NULL = _LENGTH.pack(-1)
_BYTEA, _BIGINT, _TEXT = 17, 20, 25

BYTES, INTEGERS, OPTIONAL_INTEGERS, TEXTS = "bytes", "integers", "optional integers", "texts"


def integer(value: int) -> bytes:
    """One bigint."""
    return value.to_bytes(8, "big", signed=True)


def columns(rows: Iterable[Sequence[Any]], kinds: Sequence[str]) -> list[bytes]:
    """An array for each column of some rows (at least one), by the column's kind."""
    return [_ENCODERS[kind](values) for kind, values in zip(kinds, zip(*rows, strict=True), strict=True)]


def bytes_array(values: Sequence[bytes], element: int = _BYTEA) -> bytes:
    """bytea[]."""
    count = len(values)
    head = _HEAD.pack(1, 0, element, count, 1)
    length = _LENGTH.pack
    first = values[0]
    if values.count(first) == count:  # as most columns are: one namespace, no labels
        return head + (length(len(first)) + first) * count
    parts = [head]
    for value in values:
        parts += (length(len(value)), value)
    return b"".join(parts)


def integers_array(values: Sequence[int]) -> bytes:
    """bigint[]."""
    count = len(values)
    flat = [8] * (2 * count)
    flat[1::2] = values
    return _HEAD.pack(1, 0, _BIGINT, count, 1) + pack("!" + "iq" * count, *flat)


def optional_integers_array(values: Sequence[int | None]) -> bytes:
    """bigint[] with NULLs."""
    count = len(values)
    nulls = values.count(None)
    if not nulls:
        return integers_array(values)  # type: ignore[arg-type]  # the line above says so
    if nulls == count:
        return _HEAD.pack(1, 1, _BIGINT, count, 1) + _NULL * count
    integer_ = _INTEGER.pack
    parts = [_HEAD.pack(1, 1, _BIGINT, count, 1)]
    parts += [_NULL if value is None else integer_(8, value) for value in values]
    return b"".join(parts)


def texts_array(values: Sequence[str]) -> bytes:
    """text[]."""
    return bytes_array([value.encode() for value in values], _TEXT)


def integers(array: bytes) -> tuple[int, ...]:
    """The elements of a bigint[] without NULLs."""
    if len(array) < _HEAD.size:
        return ()
    count = (len(array) - _HEAD.size) // calcsize("!iq")
    return unpack_from("!" + "4xq" * count, array, _HEAD.size)


_ENCODERS: dict[str, Any] = {
    BYTES: bytes_array,
    INTEGERS: integers_array,
    OPTIONAL_INTEGERS: optional_integers_array,
    TEXTS: texts_array,
}
