"""docs/export.md: its commands and its Python, as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sidecar.cli.export import command, formats
from sidecar.cli.status import status
from statesidecar.testing import sidecar
from tests.cli.conftest import EMBEDDED, runner

DOCUMENT = (Path(__file__).parents[2] / "docs" / "export.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def test_what_is_shown_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with sidecar(tiers=EMBEDDED) as running:
        run = runner(running.target)
        for line in "".join(blocks("sh")).splitlines():
            program, *arguments = shlex.split(line)
            assert program == "state-sidecar"
            assert run(*arguments).code == 0
    (shown,) = blocks("python")

    exec(compile(shown, "docs/export.md", "exec"), {})


def test_every_option_and_column_is_named() -> None:
    options = {name for parameter in command.export.params for name in parameter.opts if name.startswith("--")}
    of_all = {name for parameter in status.params for name in parameter.opts}
    columns = {name for schema in formats.SCHEMAS.values() for name in schema.names}

    assert {name for name in options - of_all if f"`{name}`" not in DOCUMENT} == set()
    assert {name for name in columns if f"`{name}`" not in DOCUMENT} == set()
