"""The three-way merge of JSON values."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statesidecar._merge import MergeConflict, merge, same

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text("ab", max_size=2)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=12,
)


@given(values, values)
def test_only_my_changes_are_mine(base: Any, mine: Any) -> None:
    assert same(merge(base, mine, base), mine)


@given(values, values)
def test_only_their_changes_are_theirs(base: Any, theirs: Any) -> None:
    assert same(merge(base, base, theirs), theirs)


@given(values, values, values)
def test_a_merge_merged_again_onto_theirs_changes_nothing(base: Any, mine: Any, theirs: Any) -> None:
    try:
        merged = merge(base, mine, theirs)
    except MergeConflict:
        return

    assert same(merge(theirs, merged, theirs), merged)


@given(values, values, values)
def test_both_orders_conflict_or_neither(base: Any, mine: Any, theirs: Any) -> None:
    def conflicts(*sides: Any) -> bool:
        try:
            merge(base, *sides)
        except MergeConflict:
            return True
        return False

    assert conflicts(mine, theirs) == conflicts(theirs, mine)


@given(values, values, values)
def test_a_merge_leaves_its_inputs_alone(base: Any, mine: Any, theirs: Any) -> None:
    before = json.dumps([base, mine, theirs])
    with contextlib.suppress(MergeConflict):
        merge(base, mine, theirs)

    assert json.dumps([base, mine, theirs]) == before


@given(st.lists(values, max_size=3), st.lists(values, max_size=3), st.lists(values, max_size=3))
def test_no_appended_item_is_lost_or_doubled(base: list[Any], mine: list[Any], theirs: list[Any]) -> None:
    assert same(merge(base, base + mine, base + theirs), base + theirs + mine)


@given(st.integers(), st.integers(), st.integers())
def test_counters_get_both_differences(base: int, mine: int, theirs: int) -> None:
    assert merge(base, base + mine, base + theirs) == base + mine + theirs


def test_two_writers_that_saw_the_same_count_make_two() -> None:
    assert merge({"turns": 1}, {"turns": 2}, {"turns": 2}) == {"turns": 3}


def test_fields_merge_on_their_own() -> None:
    base = {"turns": ["hi"], "count": 1, "slots": {"city": "Rome"}, "old": 1}
    mine = {"turns": ["hi", "mine"], "count": 2, "slots": {"city": "Rome", "day": "Monday"}, "old": 1}
    theirs = {"turns": ["hi", "theirs"], "count": 3, "slots": {"city": "Paris"}, "new": True}

    assert merge(base, mine, theirs) == {
        "turns": ["hi", "theirs", "mine"],
        "count": 4,
        "slots": {"city": "Paris", "day": "Monday"},
        "new": True,
    }


def test_both_creating_a_list_keep_both_items() -> None:
    assert merge({}, {"turns": ["mine"]}, {"turns": ["theirs"]}) == {"turns": ["theirs", "mine"]}


@pytest.mark.parametrize(
    ("mine", "theirs", "merged"),
    [
        ([1, 2, 5], [0, 1, 3, 2], [0, 1, 3, 2, 5]),
        ([0, 1, 3, 2], [1, 2, 5], [0, 1, 3, 2, 5]),
        ([1, 2, 5], [1, 2, 6], [1, 2, 6, 5]),
    ],
)
def test_what_was_appended_goes_behind_a_list_that_lost_nothing(
    mine: list[int], theirs: list[int], merged: list[int]
) -> None:
    """So a second append finds its place in a list into which the first was merged."""
    assert merge([1, 2], mine, theirs) == merged


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "path"),
    [
        ("a", "b", "c", "$"),
        ({"slots": {"city": "a"}}, {"slots": {"city": "b"}}, {"slots": {"city": "c"}}, "$.slots.city"),
        ({"a b": 1.5}, {"a b": 2.5}, {"a b": 3.5}, '$["a b"]'),
        ({"a": "x"}, {}, {"a": "y"}, "$.a"),
        ({"a": "x"}, {"a": "y"}, {}, "$.a"),
        ({"l": [1, 2]}, {"l": [2, 3]}, {"l": [1, 2, 4]}, "$.l"),
        ({"l": [1, 2]}, {"l": [1, 2, 3]}, {"l": [2, 1]}, "$.l"),
        ({"l": [1, 1]}, {"l": [1, 1, 3]}, {"l": [0, 1]}, "$.l"),
        ({}, {"a": "x"}, {"a": "y"}, "$.a"),
        ({"a": 1}, {"a": True}, {"a": 2}, "$.a"),
    ],
)
def test_a_true_conflict_names_its_path(base: Any, mine: Any, theirs: Any, path: str) -> None:
    with pytest.raises(MergeConflict) as caught:
        merge(base, mine, theirs)

    assert caught.value.path == path


def test_both_deleting_a_field_is_agreement() -> None:
    assert merge({"a": 1, "b": 1}, {"b": 1}, {"b": 1}) == {"b": 1}


def test_what_json_tells_apart_is_not_the_same() -> None:
    assert not same(1, True)
    assert not same(0, False)
    assert not same(1, 1.0)
    assert not same([1], [True])
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})
