"""Declared operations: what each does, what it leaves alone, and that its way back undoes it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.schema_steps import Operations, read

RENAME = {"rename": {"from": "/name", "to": "/full_name"}}
MOVE = {"move": {"from": "/street", "to": "/address/home/street"}}
DEFAULT = {"default": {"path": "/locale", "value": "en"}}
DROP = {"drop": "/legacy"}
EACH = {"rename": {"from": "/items/*/n", "to": "/items/*/name"}}


def operations(*declared: Any) -> Operations:
    found, problems = read(declared)
    assert problems == []
    return found


@pytest.mark.parametrize(
    ("declared", "before", "after"),
    [
        (RENAME, {"a": 1, "name": "x", "b": 2}, {"a": 1, "full_name": "x", "b": 2}),
        (RENAME, {"name": None}, {"full_name": None}),
        ({"rename": {"from": "/p/q/a", "to": "/p/q/b"}}, {"p": {"q": {"a": 1}}}, {"p": {"q": {"b": 1}}}),
        (EACH, {"items": [{"n": 1}, 2, {"n": 3}, []]}, {"items": [{"name": 1}, 2, {"name": 3}, []]}),
        (MOVE, {"street": "x"}, {"address": {"home": {"street": "x"}}}),
        (MOVE, {"street": "x", "address": {"city": "y"}}, {"address": {"city": "y", "home": {"street": "x"}}}),
        ({"move": {"from": "/a/b", "to": "/c"}}, {"a": {"b": 1}}, {"a": {}, "c": 1}),
        (
            {"move": {"from": "/rows/*/a", "to": "/rows/*/of/a"}},
            {"rows": [{"a": 1}, {"b": 2}]},
            {"rows": [{"of": {"a": 1}}, {"b": 2}]},
        ),
        (
            {"move": {"from": "/*/*/a", "to": "/*/*/b/c"}},
            [[{"a": 1}], {"a": 2}],
            [[{"b": {"c": 1}}], {"a": 2}],
        ),
        (DEFAULT, {}, {"locale": "en"}),
        ({"default": {"path": "/a/b", "value": {"c": []}}}, {"a": {}}, {"a": {"b": {"c": []}}}),
        ({"default": {"path": "/x/*/on", "value": False}}, {"x": [{}, {"on": 1}]}, {"x": [{"on": False}, {"on": 1}]}),
        (DROP, {"legacy": {"much": [1]}, "rest": 1}, {"rest": 1}),
        ({"drop": "/a/*/b"}, {"a": [{"b": 1, "c": 2}]}, {"a": [{"c": 2}]}),
        ({"drop": "/a~1b~0c"}, {"a/b~c": 1}, {}),
        ({"drop": "/"}, {"": 1}, {}),
    ],
)
def test_what_an_operation_does(declared: Any, before: Any, after: Any) -> None:
    made = operations(declared)(before)

    assert made == after
    if isinstance(after, dict):
        assert list(made) == list(after), "fields keep their order"


@pytest.mark.parametrize(
    ("declared", "document"),
    [
        (RENAME, {"name": 1, "full_name": 2}),
        (RENAME, {"full_name": 2}),
        (MOVE, {"street": 1, "address": {"home": {"street": None}}}),
        (MOVE, {"street": 1, "address": "one line"}),
        (MOVE, {"street": 1, "address": {"home": []}}),
        (MOVE, {"address": {}}),
        (DEFAULT, {"locale": None}),
        ({"default": {"path": "/a/b", "value": 1}}, {"c": 1}),
        ({"default": {"path": "/a/0", "value": 1}}, {"a": [2]}),
        (DROP, {"other": 1}),
        ({"drop": "/a/*/b"}, {"a": {"*": {"b": 1}}}),
        *((declared, document) for declared in (RENAME, MOVE, DEFAULT, DROP, EACH) for document in (3, None, "x", [1])),
        (DROP, b"bytes"),
    ],
)
def test_where_there_is_nothing_to_do_or_something_in_the_way_nothing_happens(declared: Any, document: Any) -> None:
    assert operations(declared)(document) == document


def test_the_way_back_undoes_each_the_last_first() -> None:
    up = operations(RENAME, MOVE, {"move": {"from": "/full_name", "to": "/address/name"}}, DEFAULT)
    before = {"name": "n", "street": "s"}

    after = up(before)

    assert after == {"address": {"home": {"street": "s"}, "name": "n"}, "locale": "en"}
    assert up.back()(after) == before


def test_the_way_back_of_a_default_drops_it_whatever_it_is_by_now() -> None:
    back = operations({"default": {"path": "/count", "value": 1}}).back()

    values: list[Any] = [1, 2, None, {"deep": []}]
    for value in values:
        assert back({"count": value, "other": 1}) == {"other": 1}


def test_the_way_back_of_a_move_removes_the_objects_that_it_made_and_no_others() -> None:
    back = operations(MOVE).back()

    assert back({"address": {"home": {"street": 1}}}) == {"street": 1}
    assert back({"address": {"home": {"street": 1}, "city": 2}}) == {"address": {"city": 2}, "street": 1}


def test_a_drop_has_nothing_to_undo() -> None:
    assert operations(DROP).back()({"a": 1}) == {"a": 1}


names = st.sampled_from(["name", "full_name", "street", "address", "home", "locale", "legacy", "items", "n", ""])
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
some_operations = st.lists(st.sampled_from([RENAME, MOVE, DEFAULT, DROP, EACH]), min_size=1, max_size=5)


@given(documents, some_operations)
def test_any_document_becomes_a_document_and_is_not_changed_itself(document: Any, declared: list[Any]) -> None:
    up, kept = operations(*declared), copy.deepcopy(document)

    made = up(document)
    back = up.back()(made)

    assert document == kept
    json.dumps([made, back])


@given(documents)
def test_a_default_that_was_given_is_nobodys_else(document: Any) -> None:
    up = operations({"default": {"path": "/locale", "value": {"list": []}}})
    made = up({})
    made["locale"]["list"].append(document)

    assert up({}) == {"locale": {"list": []}}


@given(st.dictionaries(st.sampled_from(["name", "street", "a", "b"]), documents))
def test_to_and_fro_is_the_same_where_nothing_is_in_the_way(document: dict[str, Any]) -> None:
    up = operations(RENAME, MOVE, DEFAULT)

    assert up.back()(up(document)) == document


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ("drop", "must be one of default, drop, move, rename, with what it needs"),
        ({"drop": "/a", "rename": {}}, "must be one of"),
        ({"renam": {}}, "there is no renam; known are default, drop, move, rename"),
        ({"rename": "/a"}, "rename: needs from and to, and nothing else"),
        ({"rename": {"from": "/a", "to": "/b", "too": 1}}, "rename: needs from and to"),
        ({"rename": {"from": "/a/b", "to": "/b"}}, "rename: the two differ in more than the last name: that is a move"),
        ({"rename": {"from": "/a", "to": "/a"}}, "rename: from and to are the same"),
        ({"move": {"from": "/a", "to": "/a/b"}}, "move: one is within the other"),
        ({"move": {"from": "/a/b", "to": "/a"}}, "move: one is within the other"),
        ({"move": {"from": "/a/*/x", "to": "/b/*/x"}}, "move: the two go through different arrays"),
        ({"move": {"from": "/a/*/x", "to": "/a/x"}}, "move: the two go through different arrays"),
        ({"move": {"from": "/x", "to": "/a/*/x"}}, "move: the two go through different arrays"),
        ({"default": {"path": "/a"}}, "default: needs path and value"),
        ({"default": {"path": "/a", "value": float("nan")}}, "default: the value is no JSON"),
        ({"default": {"path": "/a", "value": b"x"}}, "default: the value is no JSON"),
        ({"drop": "a"}, "drop: 'a' is no JSON pointer, such as /address/street or /items/*/name"),
        ({"drop": ""}, "drop: '' is no JSON pointer"),
        ({"drop": "/a~2"}, "drop: '/a~2' is no JSON pointer"),
        ({"drop": 3}, "drop: 3 is no JSON pointer"),
        ({"drop": "/a/*"}, "drop: /a/* ends in *: name a field of each element"),
    ],
)
def test_what_is_wrong_is_told(declared: Any, problem: str) -> None:
    made, (told,) = read([DEFAULT, declared])

    assert told.startswith(f"operation 2: {problem}")
    assert made({}) == {"locale": "en"}, "the others are read"
