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
_ONE_LENGTH = Struct("!iiIiii")
_ONE_INTEGER = Struct("!iiIiiiq")
_NULL = _LENGTH.pack(-1)
_BYTEA, _BIGINT, _TEXT = 17, 20, 25

BYTES, INTEGERS, OPTIONAL_INTEGERS, TEXTS = "bytes", "integers", "optional integers", "texts"


def integer(value: int) -> bytes:
    """One bigint."""
    return value.to_bytes(8, "big", signed=True)


def columns(rows: Iterable[Sequence[Any]], kinds: Sequence[str]) -> list[bytes]:
    """An array for each column of some rows (at least one), by the column's kind."""
    rows = list(rows)
    if len(rows) == 1:  # a lone write, which waits for this: a third of what the columns of many would cost
        return [_ENCODERS_OF_ONE[kind](value) for kind, value in zip(kinds, rows[0], strict=True)]
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


def _one_bytes(value: bytes) -> bytes:
    return _ONE_LENGTH.pack(1, 0, _BYTEA, 1, 1, len(value)) + value


def _one_integer(value: int) -> bytes:
    return _ONE_INTEGER.pack(1, 0, _BIGINT, 1, 1, 8, value)


def _one_optional_integer(value: int | None) -> bytes:
    return _ONE_NULL if value is None else _one_integer(value)


def _one_text(value: str) -> bytes:
    encoded = value.encode()
    return _ONE_LENGTH.pack(1, 0, _TEXT, 1, 1, len(encoded)) + encoded


_ONE_NULL = _ONE_LENGTH.pack(1, 1, _BIGINT, 1, 1, -1)
_ENCODERS_OF_ONE: dict[str, Any] = {
    BYTES: _one_bytes,
    INTEGERS: _one_integer,
    OPTIONAL_INTEGERS: _one_optional_integer,
    TEXTS: _one_text,
}
_ENCODERS: dict[str, Any] = {
    BYTES: bytes_array,
    INTEGERS: integers_array,
    OPTIONAL_INTEGERS: optional_integers_array,
    TEXTS: texts_array,
}
