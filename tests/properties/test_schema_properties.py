"""What every schema knows survives every writer of another, and patches are what one JSON value has beyond another."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core.patches import apply, difference, same
from sidecar.core.schema import Forms, as_written, rests_of, rests_text, to_level
from tests.support.evolving import LEVELS, Conversation, changes, schemas
from tests.support.factories import entry

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "=", "+", "*", "\ud800"])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc*"), inner, max_size=4),
    max_leaves=20,
)


def stored(patch: Any) -> Any:
    return json.loads(json.dumps(patch))


# ---- patches


@given(values, values)
@example({"a": None}, {})
@example([1], [True])
@example(1, True)
@example({"a": 1}, {"a": 1.0})
@example([[], []], [[1], []])
def test_a_patch_makes_one_value_of_the_other(base: Any, value: Any) -> None:
    before = copy.deepcopy(base)
    patch = difference(base, value)

    assert (patch is None) == same(base, value)
    assert same(apply(base, stored(patch)), value)
    assert same(base, before)


@given(values, values, values)
def test_a_patch_of_another_value_never_fails(base: Any, value: Any, other: Any) -> None:
    patch = stored(difference(base, value))

    apply(other, patch)
    apply(other, other)
    apply(b"bytes", patch)


@given(values, st.dictionaries(st.sampled_from("abc"), values), st.dictionaries(st.sampled_from("abcd"), values))
def test_what_somebody_wrote_is_not_undone(value: Any, base: dict[str, Any], written: dict[str, Any]) -> None:
    """Field by field: what was written meanwhile stays, and what was not is as the patch says."""
    patch = stored(difference(base, value))
    made = apply({**base, **written}, patch)

    if not isinstance(value, dict):
        assert same({**base, **written}, base) or same(made, {**base, **written})
        return
    for name in {*base, *value, *written}:
        touched = name in written and not (name in base and same(written[name], base[name]))
        if not touched:
            assert (name in made) == (name in value)
            assert name not in made or same(made[name], value[name])
        elif name not in base or not (isinstance(base[name], dict | list) and isinstance(value.get(name), dict | list)):
            assert same(made[name], written[name])


texts = st.lists(st.integers(0, 5), max_size=8).map(lambda numbers: [f"turn {number}" for number in numbers])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(0, 8), st.lists(st.integers(4, 6), max_size=4))
def test_elements_are_found_after_others_were_dropped_and_added(old: list[int], dropped: int, added: list[int]) -> None:
    """Also where some are equal, as far as anybody can tell: the added ones are new."""
    base = [{"role": "user", "text": f"{number}"} for number in old]
    value = [{**element, "id": at} for at, element in enumerate(base)]
    patch = stored(difference(base, value))
    fresh = [{"role": "user", "text": f"{number}"} for number in added]

    made = apply([*base[dropped:], *fresh], patch)

    assert len(made) == len(base[dropped:]) + len(fresh)
    assert all("id" not in element for element in made[len(base[dropped:]) :])
    kept = made[: len(base[dropped:])]
    assert [{name: text for name, text in element.items() if name != "id"} for element in kept] == base[dropped:]
    assert [element["id"] for element in kept] == list(range(len(base)))[dropped:] or _ambiguous(base, dropped, fresh)


def _ambiguous(base: list[Any], dropped: int, fresh: list[Any]) -> bool:
    """Whether what is there now is also there if fewer were dropped, and then some were taken from the end."""
    now = [*base[dropped:], *fresh]
    return any(now[: len(base) - fewer] == base[fewer : fewer + len(now)] for fewer in range(dropped))


@given(st.lists(st.integers(0, 99), min_size=1, max_size=8, unique=True), st.randoms(use_true_random=False))
def test_elements_that_differ_are_found_wherever_they_went(numbers: list[int], order: random.Random) -> None:
    base = [{"text": f"turn {number}"} for number in numbers]
    value = [{**element, "id": element["text"]} for element in base]
    others = [*base, {"text": "another"}]
    order.shuffle(others)

    made = apply(others, stored(difference(base, value)))

    shift = others.index(base[-1]) != len(base) - 1
    lost = [element for element in made if "id" not in element and element["text"] != "another"]
    assert all(element["id"] == element["text"] for element in made if "id" in element)
    assert not lost or shift, "a rotation looks like drops from the front and additions"


def test_a_patch_is_as_large_as_what_differs() -> None:
    turns = [{"text": f"turn {number}", "more": "x" * 100} for number in range(1000)]
    base = {"turns": turns, "a": 1}
    assert len(json.dumps(difference(base, {**base, "a": 2, "b": {"c": [None]}}))) < 100

    seen = [*turns[:-1], {**turns[-1], "seen": True}]
    assert len(json.dumps(difference(base, {**base, "turns": seen}))) < 150


# ---- forms


@given(values, st.sampled_from(LEVELS), st.lists(st.sampled_from(LEVELS), max_size=8))
def test_whichever_way_a_value_goes_it_comes_back(document: Any, level: int, ways: list[int]) -> None:
    known = schemas(4)
    forms = Forms(level, document, {})

    for there in [*ways, level]:
        forms = to_level(known, forms, there)
        assert forms.level == there
        forms = Forms(there, forms.document, stored_rests(forms))

    assert same(forms.document, document)


def stored_rests(forms: Forms) -> Any:
    return rests_of(entry(labels={"\x1fschema": rests_text(schemas(4), forms.rests)}))


# ---- the matrix: writers and readers of every schema, in every order


class Row:
    """A value as daemons store it, one after the other, of whatever version each is."""

    def __init__(self, told: Conversation) -> None:
        self.forms = Forms(1, told.document(1), {})

    def read(self, version: int, level: int) -> Any:
        return to_level(schemas(version), self.forms, level).document

    def write(self, version: int, level: int, floor: int, document: Any) -> None:
        known = schemas(version)
        kept = to_level(known, self.forms, level)
        self._store(as_written(known, Forms(level, document, kept.rests), floor))

    def move(self, version: int, floor: int) -> None:
        self._store(to_level(schemas(version), self.forms, floor))

    def _store(self, forms: Forms) -> None:
        self.forms = Forms(forms.level, stored(forms.document), stored_rests(forms))


@pytest.mark.parametrize("seed", range(60))
def test_nobody_destroys_what_it_does_not_know(seed: int) -> None:
    chance = random.Random(seed)
    told = Conversation()
    row = Row(told)
    for count in range(40):
        version = chance.randint(max(row.forms.level, 1), 4)
        level, floor = chance.randint(1, version), chance.randint(1, version)
        if chance.random() < 0.2:
            row.move(version, floor)
        else:
            told.write(level, changes(chance, count))
            row.write(version, level, floor, told.document(level))
        for version in range(row.forms.level, 5):
            for level in range(1, version + 1):
                assert row.read(version, level) == told.document(level), (count, version, level)
