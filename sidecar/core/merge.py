"""Changes of a value that are applied where the data is: JSON merge patch (RFC 7396), append, increment. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from sidecar.core.errors import FailedPrecondition, InvalidRequest

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
_DECIMAL = re.compile(rb"[+-]?[0-9]{1,19}")


def parse_json(text: bytes) -> Any:
    """A JSON value; ValueError says what is wrong. NaN, infinities and numbers beyond a float are not JSON values here."""
    try:
        # Decoded here: json.loads guesses UTF-16 and UTF-32 too, and lets halves of surrogate pairs through.
        return json.loads(str(text, "utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def dump_json(value: Any) -> bytes:
    """Compact UTF-8; escaped where a string holds half of a surrogate pair, which UTF-8 has no form for."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def parse_request_json(text: bytes, *, field: str) -> Any:
    """A JSON value of a request; JSON_INVALID otherwise."""
    try:
        return parse_json(text)
    except ValueError as exc:
        raise InvalidRequest(f"{field} is not valid JSON: {exc}", reason="JSON_INVALID", field=field) from exc


def merge_patch(target: bytes | None, patch: Any) -> bytes:
    """RFC 7396 applied to a JSON text; a missing target is an empty object. NOT_JSON if the target is no JSON."""
    try:
        document = {} if target is None else parse_json(target)
    except ValueError as exc:
        raise FailedPrecondition(
            f"the value is not JSON ({exc}): replace it with Set, or patch another key", reason="NOT_JSON"
        ) from exc
    try:
        return dump_json(_merged(document, patch))
    except RecursionError as exc:
        raise _too_deep() from exc


def append(target: bytes | None, items: Sequence[Any], max_items: int) -> bytes:
    """A JSON array with `items` at its end, its last `max_items` kept (0: all). NOT_A_JSON_ARRAY if it is none."""
    try:
        array = [] if target is None else parse_json(target)
    except ValueError as exc:
        raise FailedPrecondition(f"the value is not a JSON array: {exc}", reason="NOT_A_JSON_ARRAY") from exc
    if not isinstance(array, list):
        raise FailedPrecondition(f"the value is a JSON {_json_type(array)}, not an array", reason="NOT_A_JSON_ARRAY")
    array.extend(items)
    if max_items:
        array = array[-max_items:]
    try:
        return dump_json(array)
    except RecursionError as exc:
        raise _too_deep() from exc


def increment(target: bytes | None, delta: int, minimum: int | None, maximum: int | None) -> bytes:
    """A counter's decimal text plus `delta`. NOT_A_COUNTER, INCREMENT_OVERFLOW, COUNTER_OUT_OF_BOUNDS."""
    if target is not None and not _DECIMAL.fullmatch(target):
        raise FailedPrecondition("the value is not the decimal text of a counter", reason="NOT_A_COUNTER")
    current = 0 if target is None else int(target)
    result = current + delta
    if not INT64_MIN <= result <= INT64_MAX:
        raise FailedPrecondition(f"{current} + {delta} does not fit an int64", reason="INCREMENT_OVERFLOW")
    if (minimum is not None and result < minimum) or (maximum is not None and result > maximum):
        raise FailedPrecondition(
            f"{current} + {delta} = {result} is out of bounds; the counter stays at {current}",
            reason="COUNTER_OUT_OF_BOUNDS",
            metadata={"current": str(current), "result": str(result)},
        )
    return b"%d" % result


def _too_deep() -> InvalidRequest:
    """What was parsed on a shallower stack than this one may still be too deep to be merged or written."""
    return InvalidRequest("the result is nested too deeply", reason="JSON_INVALID", field="operation")


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case dict():
            return "object"
        case str():
            return "string"
        case _:
            return "number"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"number {text[:32]} is out of range")
    return number
