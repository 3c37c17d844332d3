"""The `schema` section: what it may say, what is wrong with it, and the schemas that the engine gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.schema import Schemas
from sidecar.runtime.schemas import schemas
from sidecar.runtime.settings import Settings, SettingsError, load_settings

MODULE = __name__
UP = f"{MODULE}:doubled"
RENAME = {"rename": {"from": "/name", "to": "/full_name"}}


def doubled(document: Any) -> Any:
    return {**document, "count": document["count"] * 2}


def halved(document: Any) -> Any:
    return {**document, "count": document["count"] // 2}


async def waiting(document: Any) -> Any:
    return document


def of_two(document: Any, other: Any) -> Any:
    return document, other


class Steps:
    """Steps may be anywhere in a module."""

    @staticmethod
    def kept(document: Any) -> Any:
        return document


def loaded(schema: Any, *, set_: tuple[str, ...] = (), **namespace: Any) -> Settings:
    """Settings of a file with this section."""
    Path("state.yaml").write_text(json.dumps({"namespaces": {"chat": {"schema": schema, **namespace}}}))
    return load_settings(Path("state.yaml"), set_, {})


def known(settings: Settings, namespace: str = "chat") -> Schemas:
    table = settings.policy_table()
    return schemas({name: table.of(name).schema for name in settings.namespaces})[namespace]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_functions_and_operations_become_steps() -> None:
    given = {"version": 5, "migrations": [UP, {"up": UP, "down": f"{MODULE}:halved"}, {"up": [RENAME]}]}

    found = known(loaded(given))

    assert (found.base, found.version, found.way_down(5, 3), found.way_down(3, 2)) == (2, 5, True, False)
    first, second, third = found.steps
    assert (first.up({"count": 2}), first.down) == ({"count": 4}, None)
    assert second.down is not None
    assert second.down({"count": 4}) == {"count": 2}
    assert third.up({"name": 1}) == {"full_name": 1}
    assert third.down is not None
    assert third.down({"full_name": 1}) == {"name": 1}


def test_a_way_back_that_is_given_is_taken_instead_of_the_one_that_follows() -> None:
    found = known(loaded({"version": 1, "migrations": [{"up": [RENAME], "down": [{"drop": "/full_name"}]}]}))

    [step] = found.steps
    assert step.down is not None
    assert step.down({"full_name": 1}) == {}


def test_functions_within_classes_and_steps_from_schema_0() -> None:
    found = known(loaded({"version": 1, "migrations": [f"{MODULE}:Steps.kept"]}))

    assert (found.base, found.says(0)) == (0, True)


def test_a_version_alone_is_a_schema_without_steps() -> None:
    found = known(loaded({"version": 7}))

    assert (found.base, found.version) == (7, 7)


def test_no_version_is_no_schema() -> None:
    settings = loaded({"version": 0})

    table = settings.policy_table()
    assert schemas({name: table.of(name).schema for name in settings.namespaces}) == {}


def test_the_environment_and_set_take_names_with_commas_or_json() -> None:
    names = {
        "STATE_SIDECAR_NAMESPACES__CHAT__SCHEMA__VERSION": "2",
        "STATE_SIDECAR_NAMESPACES__CHAT__SCHEMA__MIGRATIONS": f"{UP}, {MODULE}:halved",
    }
    assert [step.up({"count": 2})["count"] for step in known(load_settings(None, [], names)).steps] == [4, 1]

    as_json = json.dumps([{"up": [RENAME]}, {"up": UP, "down": f"{MODULE}:halved"}])
    set_ = ["namespaces.chat.schema.version=2", f"namespaces.chat.schema.migrations={as_json}"]
    assert known(load_settings(None, set_, {})).way_down(2, 0)


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("steps", "up: 'steps' is not module:function"),
        ("no_such_module:up", "up: no_such_module can't be imported: ModuleNotFoundError"),
        (f"{MODULE}:missing", f"up: {MODULE} has no missing"),
        (f"{MODULE}:Steps.missing", f"up: {MODULE} has no Steps.missing"),
        (f"{MODULE}:MODULE", f"up: {MODULE}:MODULE is not a plain function"),
        (f"{MODULE}:waiting", f"up: {MODULE}:waiting is not a plain function"),
        (f"{MODULE}:of_two", f"up: {MODULE}:of_two does not take a document alone"),
        (3, "write module:function, or a mapping of up and down"),
        ([RENAME], "write module:function, or a mapping of up and down"),
        ({"down": UP}, "needs up, may have down, and nothing else"),
        ({"up": UP, "forth": UP}, "needs up, may have down, and nothing else"),
        ({"up": []}, "up: write module:function, or a list of operations"),
        ({"up": {"rename": {}}}, "up: write module:function, or a list of operations"),
        ({"up": [{"renam": {}}]}, "up: operation 1: there is no renam"),
        ({"up": UP, "down": "x"}, "down: 'x' is not module:function"),
        ({"up": [RENAME], "down": [{"drop": "legacy"}]}, "down: operation 1: drop: 'legacy' is no JSON pointer"),
    ],
)
def test_a_step_that_is_wrong_is_a_problem(step: Any, problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        loaded({"version": 4, "migrations": [UP, step]})

    (told,) = refused.value.problems
    assert told.startswith("namespaces.chat.schema.migrations (state.yaml): step 3 -> 4")
    assert problem in told


def test_a_module_that_fails_when_it_is_imported_is_a_problem(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "broken_steps.py").write_text("raise SystemError('not today')\n")
    monkeypatch.syspath_prepend(directory)

    with pytest.raises(SettingsError) as refused:
        loaded({"version": 1, "migrations": ["broken_steps:up"]})

    assert "broken_steps can't be imported: SystemError: not today" in refused.value.problems[0]


def test_every_problem_of_every_step_is_a_line() -> None:
    with pytest.raises(SettingsError) as refused:
        loaded({"version": 2, "migrations": [{"up": [{"drop": ""}, {"drop": 3}], "down": "x"}, "y"]})

    assert [line.partition("): ")[2].partition(":")[0] for line in refused.value.problems] == [
        *("step 0 -> 1, up", "step 0 -> 1, up", "step 0 -> 1, down", "step 1 -> 2, up"),
    ]


@pytest.mark.parametrize(
    ("schema", "namespace", "problem"),
    [
        ({"version": 1, "migrations": [UP, UP]}, {}, "schema.migrations (state.yaml): 2 steps lead to 1"),
        ({"migrations": [UP]}, {}, "schema.migrations (state.yaml): 1 steps lead to 0"),
        ({"version": 1, "migrations": {"up": UP}}, {}, "schema.migrations (state.yaml): must be a list"),
        ({"version": -1}, {}, "schema.version (state.yaml): must be at least 0"),
        ({"versions": 1}, {}, "schema.versions (state.yaml): no such setting"),
        (
            {"version": 1, "migrations": [UP]},
            {"on_outage": "buffer"},
            "schema.migrations (state.yaml): steps need the authority",
        ),
    ],
)
def test_a_section_that_is_wrong_is_a_problem(schema: Any, namespace: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        loaded(schema, **namespace)

    assert refused.value.problems[0].startswith(f"namespaces.chat.{problem}")


def test_default_stands_for_others_and_has_no_schema() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(None, ["namespaces.default.schema.version=1"], {})

    assert refused.value.problems[0].startswith(
        "namespaces.default.schema.version (--set): a schema is one namespace's"
    )


def test_a_step_without_a_way_back_is_a_warning() -> None:
    [told] = loaded({"version": 3, "migrations": [{"up": [RENAME]}, UP]}).warnings

    assert told.startswith("namespaces.chat.schema.migrations: the step 2 -> 3 has no way back")


def test_an_authority_on_redis_is_a_warning() -> None:
    steps = {"version": 1, "migrations": [{"up": [RENAME]}]}
    hot = ("tiers.hot=redis://r",)

    assert loaded(steps, set_=hot).warnings == []
    [told] = loaded(steps, set_=hot, authority="hot").warnings
    assert told.startswith("namespaces.chat.schema.migrations: an authority on Redis keeps values")
    assert loaded(steps, set_=hot, kind="system").warnings == [told]
