"""The documents: tables as the code has them, links and names that exist, a changelog in its form."""

from __future__ import annotations

import importlib
import re

import pytest
import yaml

from sidecar import __version__
from tests.tidy.files import DOCUMENTS, ROOT, repository, text

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"```sh\n(.*?)```|`([^`\n]+)`", re.DOTALL)
PATH = re.compile(r"(?:sidecar|clients|protos|tests|tools|k8s|docs|examples|requirements)/[\w./*-]*")
CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def code(name: str) -> list[str]:
    """Shell blocks and code spans of a document."""
    return [block or span for block, span in CODE.findall(text(name))]


def test_generated_tables_are_fresh(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every setting, error reason, preset and make target is documented: the tables are made of them."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    tool = importlib.import_module("docs_tables")

    assert tool.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", ["presets", "errors", "commands", "common_settings"])
def test_the_readme_has_its_tables(name: str) -> None:
    assert re.search(rf"<!-- begin {name} -->\n\|.*<!-- end {name} -->", text("README.md"), re.DOTALL)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for target in LINK.findall(text(name)):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            file = (folder / path).resolve() if path else ROOT / name
            assert file.exists(), target
            assert not anchor or anchor in anchors(file.read_text()), target


def anchors(document: str) -> set[str]:
    """As forges make them of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(document)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_that_are_named_exist(name: str) -> None:
    files = repository()
    for span in code(name):
        for path in PATH.findall(span) if PATH.match(span) else []:
            named = path.rstrip("./")
            pattern = re.escape(named).replace(r"\*", "[^/]*")
            assert any(re.match(rf"{pattern}(?:/|$)", file) for file in files), f"{name} names {path}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_that_are_named_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    named = {target for span in code(name) for target in re.findall(r"^make ([a-z-]+)", span, re.MULTILINE)}

    assert named <= targets


def test_the_readme_shows_the_two_commands_first() -> None:
    [first, *_] = re.findall(r"```sh\n(.*?)```", text("README.md"), re.DOTALL)

    assert re.findall(r"^make \w+", first, re.MULTILINE) == ["make run", "make test"]


def test_reasons_that_the_protos_name_are_raised_and_documented() -> None:
    comments = re.sub(r"\n\s*//", "", "".join(text(name) for name in repository() if name.endswith(".proto")))
    lists = re.findall(r"Reasons: ([^\n]*)", comments)
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bDRAINING\b|\bPASSTHROUGH\b", " ".join(lists)))
    errors = re.search(r"<!-- begin errors -->(.*?)<!-- end errors -->", text("README.md"), re.DOTALL)
    assert errors is not None
    documented = set(re.findall(r"`([A-Z_]+)`", errors[1]))

    assert len(lists) > 10
    assert named <= documented


def test_the_changelog_has_its_form() -> None:
    """Keep a Changelog: the newest first, the version of the code among them, only its kinds of change."""
    changelog = text("CHANGELOG.md")
    sections = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    released = [section for section in sections if section != "[Unreleased]"]

    assert changelog.startswith("# Changelog\n")
    assert sections
    assert "[Unreleased]" not in sections[1:]
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", section) for section in released)
    assert released == sorted(released, key=_version, reverse=True)
    assert not released or released[0].startswith(f"[{__version__}]") or "[Unreleased]" in sections
    assert set(re.findall(r"^### (.+)$", changelog, re.MULTILINE)) <= CHANGES


def _version(section: str) -> tuple[int, ...]:
    return tuple(int(part) for part in section[1 : section.index("]")].split("."))


def test_manifests_run_this_version() -> None:
    deployment = yaml.safe_load(text("k8s/base/deployment.yaml"))
    [daemon] = deployment["spec"]["template"]["spec"]["initContainers"]

    assert daemon["image"] == f"state-sidecar:{__version__}"
    assert f"-t {daemon['image']} ." in text("README.md")
