from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.runtime.settings_sources import FILE_BYTES_MAX, Problem, Sources, read

KNOWN = frozenset({"app", "tiers", "listen"})
names = st.text("abc", min_size=1, max_size=2)
trees = st.recursive(st.integers(), lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3), max_leaves=6)


def from_file(path: Path, content: bytes) -> Sources:
    path.write_bytes(content)
    return read(path, [], {}, KNOWN)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: [1", "line 1: not YAML: expected ',' or ']'"),
        (b"a: 1\nb: 2\na: 3\n", "line 3: a is there twice"),
        (b"x: {a: 1, a: 1}", "line 1: a is there twice"),
        (b"- a\n", "must be a mapping of settings"),
        (b"a: \xff", "'utf-8' codec can't decode byte 0xff"),
        (b"a: !!python/object:os.system {}", "line 1: not YAML"),
        (b"a: \x00", "not YAML"),
        (b"[" * 5000, "not YAML"),
        (b"#" * (FILE_BYTES_MAX + 1), f"larger than {FILE_BYTES_MAX} bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path, content: bytes, problem: str) -> None:
    (found,) = from_file(tmp_path / "s.yaml", content).problems

    assert found.text.startswith(f"{tmp_path}/s.yaml: {problem}")


def test_a_missing_file_is_told_with_who_named_it(tmp_path: Path) -> None:
    (by_flag,) = read(tmp_path / "no.yaml", [], {}, KNOWN).problems
    (by_variable,) = read(None, [], {"STATE_SIDECAR_CONFIG": str(tmp_path)}, KNOWN).problems

    assert by_flag.text == f"{tmp_path}/no.yaml (from --config): No such file or directory"
    assert by_variable.text == f"{tmp_path} (from STATE_SIDECAR_CONFIG): Is a directory"


def test_an_empty_file_and_an_empty_name_are_no_settings(tmp_path: Path) -> None:
    assert from_file(tmp_path / "s.yaml", b"# nothing yet\n").values == {}
    assert read(None, [], {"STATE_SIDECAR_CONFIG": ""}, KNOWN).values == {}


def test_a_section_or_list_can_be_set_as_json() -> None:
    sources = read(
        None, ['listen=["a:1"]', "app=[not json]"], {"STATE_SIDECAR_TIERS": '{"hot": "x", "warm": null}'}, KNOWN
    )

    assert sources.values == {"tiers": {"hot": "x"}, "listen": ["a:1"], "app": "[not json]"}


@pytest.mark.parametrize("override", ["a", "=1", "a..b=1", ".a=1", ""])
def test_an_override_without_a_key_or_value_is_a_problem(override: str) -> None:
    (found,) = read(None, [override], {}, KNOWN).problems

    assert found.text.startswith(f"--set {override}: write --set key=value")


def test_a_later_value_replaces_a_section_and_a_section_a_value() -> None:
    assert read(None, ["tiers=1", "tiers.hot=2"], {}, KNOWN).values == {"tiers": {"hot": "2"}}
    assert read(None, ["tiers.hot=2", "tiers=1"], {}, KNOWN).values == {"tiers": "1"}


def test_the_origin_of_a_section_is_that_of_what_is_in_it() -> None:
    sources = read(None, ["tiers.hot=2"], {"STATE_SIDECAR_APP": "x"}, KNOWN)

    assert sources.line(Problem(("tiers",), "bad")) == "tiers (--set): bad"
    assert sources.line(Problem(("app", "x"), "bad")) == "app.x (STATE_SIDECAR_APP): bad"
    assert sources.line(Problem(("listen",), "bad")) == "listen (default): bad"


@given(st.lists(trees.filter(lambda tree: isinstance(tree, dict)), max_size=3))
def test_every_leaf_is_there_with_the_origin_that_put_it_last(layers: list[dict[str, object]]) -> None:
    sources = Sources()
    expected: dict[tuple[str, ...], str] = {}

    def put(path: tuple[str, ...], value: object, origin: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                put((*path, name), inner, origin)
        else:
            sources.put(path, value, origin)
            for known in [known for known in expected if known[: len(path)] == path or path[: len(known)] == known]:
                del expected[known]
            expected[path] = origin

    for number, layer in enumerate(layers):
        put((), layer, f"layer {number}")

    assert {path: sources.origin(path) for path in expected} == expected
    assert sources.without(Problem(path, "") for path in expected) == _emptied(sources.values)


def _emptied(values: dict[str, object]) -> dict[str, object]:
    return {name: _emptied(value) for name, value in values.items() if isinstance(value, dict)}
