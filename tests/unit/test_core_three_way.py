"""Three-way merge of JSON texts: exact results, paths of conflicts, and texts that can't be merged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core.three_way import NotMergeable, join, merge


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_fields_lists_and_counters_merge_each_in_their_way() -> None:
    base = {"turns": ["hi"], "count": 1, "slots": {"city": "Rome"}, "old": 1}
    ours = {"turns": ["hi", "ours"], "count": 2, "slots": {"city": "Rome", "day": "Monday"}, "old": 1}
    theirs = {"turns": ["hi", "theirs"], "count": 3, "slots": {"city": "Paris"}, "new": True}

    assert json.loads(merge(text(base), text(ours), text(theirs))) == {
        "turns": ["hi", "theirs", "ours"],
        "count": 4,
        "slots": {"city": "Paris", "day": "Monday"},
        "new": True,
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        ([1], [2], [2, 1]),
        (2, 3, 5),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"n": 1}}, {"a": {"n": 2}}, {"a": {"n": 3}}),
        ("same", "same", "same"),
    ],
)
def test_what_was_absent_and_both_made_has_both(ours: Any, theirs: Any, both: Any) -> None:
    assert json.loads(merge(None, text(ours), text(theirs))) == both


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "path"),
    [
        ("a", "b", "c", "$"),
        ({"slots": {"city": "a"}}, {"slots": {"city": "b"}}, {"slots": {"city": "c"}}, "$.slots.city"),
        ({"a b": 1.5}, {"a b": 2.5}, {"a b": 3.5}, '$["a b"]'),
        ({"a": "x"}, {}, {"a": "y"}, "$.a"),
        ({"a": "x"}, {"a": "y"}, {}, "$.a"),
        ({"l": [1, 2]}, {"l": [2, 3]}, {"l": [1, 2, 4]}, "$.l"),
        ({"l": [1, 2]}, {"l": [1, 2, 3]}, {"l": [2, 1]}, "$.l"),
        ({"a": 1}, {"a": True}, {"a": 2}, "$.a"),
        ({}, {"z": 1.5, "a": "x"}, {"z": 2.5, "a": "y"}, "$.z"),
    ],
)
def test_a_true_conflict_names_its_path(base: Any, ours: Any, theirs: Any, path: str) -> None:
    with pytest.raises(NotMergeable) as caught:
        merge(text(base), text(ours), text(theirs))

    assert caught.value.path == path
    assert path in str(caught.value)


def test_what_was_appended_goes_behind_a_list_that_lost_nothing() -> None:
    """So a second append finds its place in a list into which the first was merged."""
    assert merge(b"[1,2]", b"[1,2,5]", b"[0,1,3,2]") == b"[0,1,3,2,5]"
    assert merge(b"[1,2]", b"[0,1,3,2]", b"[1,2,5]") == b"[0,1,3,2,5]"
    assert merge(b"[1,2]", b"[1,2,5]", b"[1,2,6]") == b"[1,2,6,5]"


def test_merged_once_more_appends_and_differences_count_once_more() -> None:
    """A merge can't tell its own result from another writer's same change; request ids see to it that it runs once."""
    base, ours, theirs = (
        text({"l": [1], "n": 1, "s": "x"}),
        text({"l": [1, 2], "n": 3, "s": "x"}),
        text({"l": [1], "n": 1}),
    )
    once = merge(base, ours, theirs)
    twice = merge(base, ours, once)

    assert json.loads(once) == {"l": [1, 2], "n": 3}
    assert json.loads(twice) == {"l": [1, 2, 2], "n": 5}


def test_where_one_side_changed_nothing_the_other_s_text_stays_byte_by_byte() -> None:
    base, same = b'{"a":1, "b":[2]}', b'{ "b" : [2] , "a" : 1 }'
    changed = b'{ "a" : 1.50e0 , "c":"\\u00e9" }'

    assert merge(base, same, changed) == changed
    assert merge(base, changed, same) == changed
    assert merge(b"\x80", b"\x80", b"\xff") == b"\xff", "what is not looked into needn't be JSON"
    assert merge(b"\x80", b"\xff", b"\x80") == b"\xff"
    assert merge(None, b"\xff", b"\xff") == b"\xff"


@pytest.mark.parametrize("wrong", [b"", b"{", b"\xff", b"NaN", b"1e999"])
def test_a_text_that_is_no_json_is_a_value_error(wrong: bytes) -> None:
    for sides in ((wrong, b"1", b"2"), (b"1", wrong, b"2"), (b"1", b"2", wrong), (None, wrong, b"2")):
        with pytest.raises(ValueError):  # noqa: PT011  # its words are Python's
            merge(*sides)
    with pytest.raises(ValueError):  # noqa: PT011  # as above
        join(wrong, b"1")


def nested(depth: int, inner: str) -> bytes:
    return ('{"a":' * depth + inner + "}" * depth).encode()


def at_depth(frames: int, function: Callable[[], bytes]) -> bytes:
    return function() if frames == 0 else at_depth(frames - 1, function)


@pytest.mark.parametrize("depth", [500, 100_000])
def test_what_is_nested_too_deeply_is_a_conflict_and_no_crash(depth: int) -> None:
    base, ours, theirs = (nested(depth, inner) for inner in ("[]", "[1]", "[2]"))

    for deep in (lambda: merge(base, ours, theirs), lambda: join(ours, theirs)):
        with pytest.raises(NotMergeable) as caught:
            at_depth(400, deep)
        assert caught.value.path == "$"


def test_what_is_nested_as_deeply_as_people_nest_is_merged() -> None:
    base, ours, theirs = (nested(50, inner) for inner in ("[]", "[1]", "[2]"))

    assert merge(base, ours, theirs) == nested(50, "[2,1]")


def test_a_sum_of_more_digits_than_may_be_written_is_a_conflict() -> None:
    with pytest.raises(NotMergeable):
        merge(b"0", b"9" * 4300, b"9" * 4299 + b"8")


@pytest.mark.parametrize(
    ("ours", "theirs", "joined"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1}}, {"a": {"y": [2]}, "b": None}, {"a": {"x": 1, "y": [2]}, "b": None}),
        ([1, 2, 3], [1, 2], [1, 2, 3]),
        ([1, 2], [1, 2, 3], [1, 2, 3]),
        ({"turns": ["hi"], "n": 4}, {"turns": ["hi"], "n": 4}, {"turns": ["hi"], "n": 4}),
        ("x", "x", "x"),
    ],
)
def test_without_a_base_nothing_is_added_up(ours: Any, theirs: Any, joined: Any) -> None:
    assert json.loads(join(text(ours), text(theirs))) == joined


@pytest.mark.parametrize(
    ("ours", "theirs", "path"),
    [
        (1, 2, "$"),
        (1, True, "$"),
        ([1, 2], [1, 3], "$"),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, "$.a.b"),
        ([], {}, "$"),
    ],
)
def test_without_a_base_what_differs_is_a_conflict(ours: Any, theirs: Any, path: str) -> None:
    with pytest.raises(NotMergeable) as caught:
        join(text(ours), text(theirs))

    assert caught.value.path == path
