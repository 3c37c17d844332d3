"""What the documents show runs: their Python against a real sidecar, their commands through the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import main
from sidecar.cli.serve import serve
from sidecar.runtime.settings import load_settings
from statesidecar.testing import RunningSidecar, sidecar
from tests.tidy.files import DOCUMENTS, text

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
DEFAULT_TARGET = "127.0.0.1:7420"


def blocks(name: str, language: str) -> list[str]:
    return [block for found, block in BLOCK.findall(text(name)) if found == language]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSidecar]:
    with sidecar() as started:
        yield started


@pytest.fixture(autouse=True)
def target(running: RunningSidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_SIDECAR_TARGET", running.target)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_runs_from_top_to_bottom(name: str, running: RunningSidecar) -> None:
    """A document without Python has nothing to fail."""
    shown = "\n".join(blocks(name, "python")).replace(DEFAULT_TARGET, running.target)
    names: dict[str, object] = {}

    try:
        exec(compile(shown, name, "exec"), names)
    finally:
        if hasattr(client := names.get("client"), "close"):
            client.close()


def commands(name: str) -> list[list[str]]:
    """Every command line of the shell blocks, as words."""
    lines = "\n".join(blocks(name, "sh")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_the_commands_for_a_person_succeed_one_after_the_other() -> None:
    shown = [
        words[1:]
        for words in commands("README.md")
        if words[0] == "state-sidecar" and words[1] not in ("serve", "doctor")
    ]
    runner = CliRunner()

    assert {"set", "get", "update", "list", "delete", "status"} <= {words[0] for words in shown}
    for words in shown:
        result = runner.invoke(main, words)
        assert result.exit_code == 0, f"{words}: {result.output}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_ways_to_serve_are_accepted(name: str) -> None:
    """Options and settings are; nothing is started."""
    for words in commands(name):
        if "serve" in words:
            start = words.index("state-sidecar")
            environ = dict(word.split("=", 1) for word in words[:start])
            context = serve.make_context("serve", words[start + 2 :])
            settings = load_settings(None, context.params["overrides"], environ)
            assert settings.warnings == []


def test_settings_that_are_shown_load(tmp_path: Path) -> None:
    shown = blocks("docs/settings.md", "yaml")
    file = tmp_path / "settings.yaml"

    assert shown
    for block in shown:
        file.write_text(block)
        assert load_settings(file, [], {}).warnings == []
