"""Patches, steps and forms, by example; what holds for all of them is in tests/properties/test_schema_properties.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core import marks
from sidecar.core.checkpoints import document, entries_of
from sidecar.core.errors import DataLoss, FailedPrecondition
from sidecar.core.patches import apply, difference
from sidecar.core.schema import (
    Forms,
    Schemas,
    Step,
    as_written,
    is_json,
    relocated,
    rests_of,
    rests_text,
    shown,
    to_level,
    wanted_level,
)
from tests.support.evolving import schemas
from tests.support.factories import NAMESPACE, entry

KNOWN = schemas(4)


def patched(base: Any, value: Any, now: Any) -> Any:
    """What becomes of a base that somebody changed."""
    return apply(now, json.loads(json.dumps(difference(base, value))))


def refused(reason: str, call: Any, *given: Any) -> dict[str, str]:
    with pytest.raises(FailedPrecondition) as caught:
        call(*given)
    assert caught.value.reason == reason
    return caught.value.metadata


# ---- patches


def test_fields_are_added_removed_and_replaced_where_nobody_touched_them() -> None:
    base, value = {"a": 1, "b": 1, "c": {"d": 1}}, {"a": 2, "c": {"d": 1, "e": None}, "f": [1]}

    assert patched(base, value, base) == value
    assert patched(base, value, {**base, "a": 3, "b": 2, "f": 0}) == {"a": 3, "b": 2, "c": {"d": 1, "e": None}, "f": 0}
    assert patched(base, value, {}) == {"f": [1]}
    assert patched(base, value, {"c": 5}) == {"c": 5, "f": [1]}
    assert patched(base, value, [base]) == [base]


@pytest.mark.parametrize(
    ("one", "other"), [(None, False), (0, False), (1, 1.0), (0.0, -0.0), ("", None), ([], {}), ({"a": None}, {})]
)
def test_values_that_look_alike_are_told_apart(one: Any, other: Any) -> None:
    for base, value in ((one, other), (other, one)):
        assert difference(base, value) is not None
        assert repr(patched(base, value, base)) == repr(value)


TURNS = [{"role": "user", "text": text} for text in ("a", "ok", "ok", "c")]
SEEN = [{**turn, "id": number} for number, turn in enumerate(TURNS)]
NEXT = {"role": "user", "text": "d"}


@pytest.mark.parametrize(
    ("now", "ids"),
    [
        (TURNS, [0, 1, 2, 3]),
        ([*TURNS, NEXT, TURNS[1]], [0, 1, 2, 3, None, None]),
        ([*TURNS[1:], NEXT], [1, 2, 3, None]),
        (TURNS[2:], [2, 3]),
        ([*TURNS[3:], TURNS[0]], [3, None]),
        ([NEXT, *TURNS], [None, 0, 1, 2, 3]),
        (TURNS[:3], [0, 1, 2]),
        ([TURNS[0], *TURNS[2:]], [0, 2, 3]),
        ([TURNS[0], NEXT, *TURNS[1:]], [0, None, 1, 2, 3]),
        ([TURNS[0], {"role": "user", "text": "edited"}, *TURNS[2:]], [0, None, 2, 3]),
        ([{"role": "user", "text": "x"}], [None]),
        ([], []),
    ],
)
def test_elements_keep_what_is_theirs_wherever_they_are_now(now: list[Any], ids: list[int | None]) -> None:
    found = [element.get("id") for element in patched(TURNS, SEEN, now)]
    if now == [TURNS[0], *TURNS[2:]]:
        ids = [0, found[1], 3]  # which of two that are equal was taken out, nobody can say
        assert found[1] in (1, 2)
    assert found == ids


PLAN = [{"id": 7, "task": "book a table", "done": False}, {"id": 8, "task": "invite", "done": False}]
OWNED = [{**step, "owner": name} for step, name in zip(PLAN, ("Ann", "Eve"), strict=True)]


def test_an_element_that_was_edited_is_known_again_by_what_tells_it_from_others() -> None:
    done = [{**step, "done": True} for step in PLAN]
    assert [step.get("owner") for step in patched(PLAN, OWNED, done)] == ["Ann", "Eve"]
    assert [step.get("owner") for step in patched(PLAN, OWNED, done[::-1])] == ["Eve", "Ann"]
    renamed = [{**PLAN[0], "task": "cook"}, PLAN[1]]
    assert [step.get("owner") for step in patched(PLAN, OWNED, renamed)] == ["Ann", "Eve"]
    others = [{"id": 9, "task": "cook", "done": False}, {"id": 10, "task": "eat", "done": True}]
    assert [step.get("owner") for step in patched(PLAN, OWNED, others)] == [None, None]
    assert patched(PLAN[:1], OWNED[:1], done[:1])[0]["owner"] == "Ann"
    assert "owner" not in patched(PLAN[:1], OWNED[:1], others[:1])[0]


def test_an_array_of_another_length_is_another_value() -> None:
    assert patched([1, 2], [1, 2, 3], [1, 2]) == [1, 2, 3]
    assert patched([1, 2], [1, 2, 3], [2, 1]) == [2, 1]


def test_many_equal_elements_take_no_longer_than_others() -> None:
    base = [{"a": 1}] * 5_000
    value = [{"a": 1, "id": number} for number in range(5_000)]
    assert [element["id"] for element in patched(base, value, base[7:])] == list(range(7, 5_000))


@pytest.mark.parametrize(
    "patch",
    [
        *([], ["="], ["=", 1, 2], ["*"], ["*", 5], ["*", [[]]], ["*", [[0, "x", None]]], ["*", [["0", "x", None, ""]]]),
        *(["b", "x", "y"], ["?"], {"a": ["-", 5]}, {"a": ["-"]}, {"b": ["+"]}, 5, "text", None),
    ],
)
def test_what_is_no_patch_changes_nothing(patch: Any) -> None:
    for base in ({"a": 1}, [{"a": 1}], b"bytes", None):
        assert apply(base, patch) == base


# ---- forms


def test_what_only_one_schema_has_is_kept_beside() -> None:
    new = {"person": {"name": "Ann"}, "locale": "fr", "mood": None, "tags": ["t"], "log": []}
    old = to_level(KNOWN, Forms(4, new, {}), 1)

    assert old.document == {"name": "Ann", "log": []}
    assert sorted(old.rests) == [2, 4]
    assert to_level(KNOWN, old, 4).document == new
    written = as_written(KNOWN, Forms(1, {"name": "Eve", "legacy": 1}, old.rests), 3)
    assert (written.level, written.document["locale"]) == (3, "fr")
    assert to_level(KNOWN, written, 4).document == {
        "person": {"name": "Eve"},
        "locale": "fr",
        "mood": None,
        "tags": ["t"],
    }
    assert to_level(KNOWN, to_level(KNOWN, written, 4), 1).document == {"name": "Eve", "legacy": 1}


def test_what_is_of_schemas_that_nobody_knows_any_more_is_not_kept() -> None:
    forms = to_level(KNOWN, Forms(3, {"legacy": 1, "locale": "x"}, {}), 4)
    assert list(json.loads(rests_text(KNOWN, forms.rests))) == ["3"]
    assert rests_text(schemas(4, base=4), forms.rests) == ""


def test_steps_get_copies_and_give_plain_json() -> None:
    shared: dict[str, Any] = {"a": []}

    def hands_out(_: Any) -> Any:
        return shared

    before = {"inner": {"list": [1]}}

    def spoils(given: Any) -> Any:
        given["inner"]["list"].append(2)
        return given

    forms = to_level(Schemas(1, (Step(hands_out), Step(spoils))), Forms(1, before, {}), 2)
    assert forms.document is not shared
    assert forms.document["a"] is not shared["a"]
    known = Schemas(1, (Step(spoils),))
    to_level(known, Forms(1, before, {}), 2)
    assert before == {"inner": {"list": [1]}}
    for wrong in ((1, 2), {1: 2}, float("inf"), {"a": {1}}, b"bytes", {"a": b""}, object(), type("S", (str,), {})("x")):
        step = Step(lambda _, wrong=wrong: wrong)  # type: ignore[misc]  # a default of a lambda
        assert refused("SCHEMA_STEP_FAILED", to_level, Schemas(1, (step,)), Forms(1, {}, {}), 2) == {"step": "1->2"}
    assert refused("SCHEMA_STEP_FAILED", to_level, Schemas(1, (Step(lambda _: "text"),)), Forms(1, b"", {}), 2)


def test_values_nested_too_deeply_are_refused() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    for call in (lambda: to_level(KNOWN, Forms(1, deep, {}), 2), lambda: rests_text(KNOWN, {2: deep})):
        refused("SCHEMA_STEP_FAILED", call)
    with pytest.raises(FailedPrecondition):
        shown(KNOWN, entry(value=b"[" * 900 + b"]" * 900, schema_version=1), 0)


@pytest.mark.parametrize(
    ("level", "maximum", "wanted"),
    [(1, 0, 4), (4, 0, 4), (2, 3, 3), (3, 2, 2), (2, 9, 4), (0, 0, 0), (0, 2, 0), (5, 0, 5), (5, 5, 5), (5, 9, 5)],
)
def test_which_schema_a_reader_gets(level: int, maximum: int, wanted: int) -> None:
    assert wanted_level(KNOWN, level, maximum) == wanted


def test_who_can_not_have_a_value_is_told_both_schemas() -> None:
    assert refused("SCHEMA_TOO_NEW", wanted_level, KNOWN, 5, 4) == {"schema_version": "5", "max_schema_version": "4"}
    later = schemas(4, base=3)
    assert refused("SCHEMA_TOO_NEW", wanted_level, later, 4, 2) == {"schema_version": "4", "max_schema_version": "2"}
    one_way = Schemas(1, (Step(dict),))
    assert refused("SCHEMA_TOO_NEW", wanted_level, one_way, 2, 1)
    assert wanted_level(Schemas(0, (Step(dict),)), 0, 0) == 1


@pytest.mark.parametrize(
    ("content_type", "json_"),
    [
        *[
            ("", True),
            ("application/json", True),
            ("Application/JSON; charset=utf-8", True),
            ("application/x+json", True),
        ],
        *[("text/plain", False), ("application/jsonl", False), ("application/octet-stream", False)],
    ],
)
def test_what_is_parsed(content_type: str, json_: bool) -> None:
    assert is_json(content_type) is json_


def test_the_mark_is_what_was_noted_or_it_is_told() -> None:
    rests = {2: {"a": ["+", 1]}, 4: ["=", "x", None]}
    text = rests_text(KNOWN, rests)
    assert rests_of(entry(labels={marks.SCHEMA: text})) == rests
    assert rests_of(entry()) == rests_of(entry(labels={marks.SCHEMA: ""})) == {}
    for wrong in ("{", "[]", '{"x": 1}'):
        with pytest.raises(DataLoss):
            rests_of(entry(labels={marks.SCHEMA: wrong}))


def test_an_entry_is_moved_under_its_version_and_its_schema() -> None:
    before = entry(value=b'{"name":"Ann","log":[]}', schema_version=1, version=7, content_type="application/json")
    moved = relocated(KNOWN, before, 3)

    assert (moved.expected_version, moved.expected_schema, moved.schema_version) == (7, 1, 3)
    assert json.loads(moved.value) == {"person": {"name": "Ann"}, "locale": "en", "mood": None, "log": []}
    assert moved.marks == {}
    assert refused("SCHEMA_STEP_FAILED", relocated, KNOWN, entry(value=b"no json", schema_version=1), 2)


# ---- in checkpoints


def test_a_checkpoint_has_what_an_entry_has_in_other_schemas() -> None:
    given = (
        entry(key="a", labels={"color": "red", marks.SCHEMA: "beyond", marks.UPDATES: "5"}, schema_version=1),
        entry(key="b", labels={marks.BLOB: "where", marks.SCHEMA: "more"}),
        entry(key="c"),
    )
    kept = entries_of(NAMESPACE, document(given))
    assert [one.labels for one in kept] == [
        {"color": "red", marks.SCHEMA: "beyond"},
        {marks.BLOB: "where", marks.SCHEMA: "more"},
        {},
    ]


def test_documents_of_before_are_read_and_made_as_they_were() -> None:
    plain = document([entry(key="a", labels={"color": "red"}), entry(key="b", labels={marks.BLOB: "where"})])
    manifest = json.loads(plain[len(b"valuevalue") : -4])
    assert [len(row) for row in manifest] == [11, 11]
    assert [one.labels for one in entries_of(NAMESPACE, plain)] == [{"color": "red"}, {marks.BLOB: "where"}]
