"""Changes of JSON values and counters: exact bytes, and texts that are not what they should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core import merge
from sidecar.core.errors import FailedPrecondition, InvalidRequest


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1", 1),
        (b' [1, "\xc3\xa9"] ', [1, "é"]),
        (b'"\\ud800"', "\ud800"),
        (b'"\\ud83d\\ude80"', "\U0001f680"),
        (b"12345678901234567890123", 12345678901234567890123),
        (b"1e300", 1e300),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
def test_json_is_read(text: bytes, value: Any) -> None:
    assert merge.parse_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{'a':1}",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"01",
        b"1 2",
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf1",
        "[1]".encode("utf-16"),
        "[1]".encode("utf-16-le"),
        "[1]".encode("utf-32"),
        b"[" * 100_000,
        b'"\n"',
        b"9" * 5000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_not_json_in_utf8_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # its words are Python's
        merge.parse_json(text)
    with pytest.raises(InvalidRequest) as caught:
        merge.parse_request_json(text, field="merge_patch")
    assert (caught.value.reason, caught.value.field) == ("JSON_INVALID", "merge_patch")
    with pytest.raises(FailedPrecondition) as refused:
        merge.merge_patch(text, {})
    assert refused.value.reason == "NOT_JSON"
    with pytest.raises(FailedPrecondition) as refused:
        merge.append(text, [], 0)
    assert refused.value.reason == "NOT_A_JSON_ARRAY"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None, True, 0.5]}, b'{"a":[1,null,true,0.5]}'),
        ("é\U0001f680", '"é\U0001f680"'.encode()),
        ("\ud800é", b'"\\ud800\\u00e9"'),
        ("\0", b'"\\u0000"'),
    ],
)
def test_json_is_written_compactly_in_utf8(value: Any, text: bytes) -> None:
    assert merge.dump_json(value) == text
    assert merge.parse_json(text) == value


def test_a_patch_does_not_change_what_it_is_given() -> None:
    patch = {"a": {"b": None, "c": [1]}}
    merge.merge_patch(b'{"a":{"b":1}}', patch)

    assert patch == {"a": {"b": None, "c": [1]}}


@pytest.mark.parametrize("kind", ["null", "1", "true", '"[]"', "{}"])
def test_an_append_says_what_is_there_instead_of_an_array(kind: str) -> None:
    with pytest.raises(FailedPrecondition, match=r"a JSON (null|number|boolean|string|object), not an array"):
        merge.append(kind.encode(), [1], 0)


@pytest.mark.parametrize("text", [b"+5", b"005", b"-0", b"5"])
def test_decimal_texts_are_counters(text: bytes) -> None:
    assert merge.increment(text, 1, None, None) == b"%d" % (int(text) + 1)


def at_depth(frames: int, function: Callable[[], bytes]) -> bytes:
    return function() if frames == 0 else at_depth(frames - 1, function)


def test_what_is_too_deep_for_this_stack_is_a_refusal_and_no_crash() -> None:
    """A value that was parsed on a shallow stack may be merged on a deep one."""
    text = b'{"a":' * 900 + b"1" + b"}" * 900
    patch = merge.parse_request_json(text, field="merge_patch")
    assert json.loads(merge.merge_patch(None, {"a": 1})) == {"a": 1}

    for change in (lambda: merge.merge_patch(None, patch), lambda: merge.append(None, [patch], 0)):
        with pytest.raises(InvalidRequest) as caught:
            at_depth(500, change)
        assert caught.value.reason == "JSON_INVALID"
