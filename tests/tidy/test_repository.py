"""What holds for the repository as a whole: requirements, hosts, paths, words, skipped tests."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.tidy.files import ROOT, modules, repository, text

DEPENDENCIES_MAX = 15

# One letter of each is in brackets, so that this file does not hold what it looks for.
HOSTS = re.compile(r"pyp[i]\.org|pythonhoste[d]|docke[r]\.io|ghc[r]\.io|qua[y]\.io|npmj[s]\.")
PATHS = re.compile(r"(?<![\w.~-])/(?:wor[k]|roo[t]|hom[e])/\w")
WORDS = re.compile(
    r"su[b]-?agent|\bLL[M]-written|\bA[I]-(?:written|generated|assisted)|co-authored-b[y]", re.IGNORECASE
)

SKIP = re.compile(r"\bpytest\.(?:skip|xfail|importorskip)\b|\bmark\.(?:skip|skipif|xfail)\b|\bunittest\.skip")
# File of a test that may be skipped, and why. Every entry needs a reason that holds on every machine of a developer.
MAY_SKIP: dict[str, str] = {
    "tests/clients/test_go.py": "a developer of the daemon may have no Go; with CI set its lack is a failure",
    "tests/clients/test_typescript.py": "a developer of the daemon may have no Node; with CI set its lack is a failure",
}


def pyproject(folder: str = "") -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    return project


def requirement_files() -> list[str]:
    return [name for name in repository() if name.startswith("requirements/")]


def hits(pattern: re.Pattern[str], names: list[str]) -> Iterator[str]:
    for name in names:
        for number, line in enumerate(text(name).splitlines(), 1):
            if pattern.search(line):
                yield f"{name}:{number} {line.strip()[:100]}"


def test_requirements_name_no_url_and_no_index() -> None:
    found = list(hits(re.compile(r"://|--(?:extra-)?index-url|--find-links"), requirement_files()))

    assert {"requirements/dev.txt", "requirements/runtime.txt", "requirements/build.txt"} <= set(requirement_files())
    assert not found


def test_lock_files_name_no_host() -> None:
    locks = [name for name in repository() if re.search(r"(^requirements/.*\.txt|-lock\.json|\.sum)$", name)]

    assert len(locks) >= 4
    assert [name for name in locks if "://" in text(name)] == []


def test_every_pin_has_its_hash() -> None:
    for name in requirement_files():
        if name.endswith(".txt"):
            pins = re.split(r"\n(?=\S)", text(name).strip())
            bare = [pin for pin in pins if not re.match(r"[\w.-]+==\S+.*--hash=sha256:[0-9a-f]{64}", pin, re.DOTALL)]
            assert pins, name
            assert not bare, name


def test_the_image_installs_the_versions_that_are_tested() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==[^\s;]+", text(name), re.MULTILINE))

    assert pins("requirements/runtime.txt") | pins("requirements/build.txt") <= pins("requirements/dev.txt")


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    names = [name for name in repository() if not name.endswith("LICENSE")]

    assert not list(hits(HOSTS, names))
    assert not list(hits(PATHS, names))


def test_no_file_tells_how_the_work_was_organised() -> None:
    assert not list(hits(WORDS, list(repository())))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (HOSTS, "https://{}.org/simple".format("pypi")),
        (PATHS, "cd /{}/main".format("work")),
        (PATHS, '"/{}/data"'.format("root")),
        (WORDS, "{}-By: somebody".format("Co-Authored")),
        (WORDS, "{}agents".format("sub")),
        (SKIP, "@pytest.{}.skipif(True)".format("mark")),
    ],
)
def test_the_patterns_find_what_they_look_for(pattern: re.Pattern[str], found: str) -> None:
    assert pattern.search(found)


def test_a_path_within_the_repository_is_no_path_of_a_machine() -> None:
    assert not PATHS.search("clients/{}/notes".format("work"))


def test_no_test_is_skipped_without_a_reason_in_the_table() -> None:
    skipping = {name for name in modules("tests/", "clients/") if SKIP.search(text(name))}

    assert skipping == MAY_SKIP.keys()


def test_the_daemon_depends_on_little() -> None:
    assert len(pyproject()["dependencies"]) <= DEPENDENCIES_MAX


def test_the_client_stands_on_grpc_and_protobuf_alone() -> None:
    names = {Requirement(line).name for line in pyproject("clients/python")["dependencies"]}

    assert names == {"grpcio", "protobuf"}


def test_every_dependency_says_why() -> None:
    lines = (
        (ROOT / "pyproject.toml")
        .read_text()
        .partition("\ndependencies = [")[2]
        .partition("\n]")[0]
        .strip()
        .splitlines()
    )

    assert len(lines) == len(pyproject()["dependencies"])
    assert [line for line in lines if "  # " not in line] == []


def test_both_packages_need_the_same_python() -> None:
    assert pyproject()["requires-python"] == pyproject("clients/python")["requires-python"] == ">=3.11"
