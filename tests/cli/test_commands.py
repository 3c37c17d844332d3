"""The commands are there under their names, and `serve` loads none of the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from sidecar.cli import main

LOADED = """
import sys
from sidecar.cli import main
context = main.make_context("state-sidecar", ["serve"])
main.get_command(context, "serve")
print(*sorted(name for name in sys.modules if name.startswith("sidecar.")))
"""


def test_every_command_has_its_own_name_and_help() -> None:
    context = click.Context(main)
    names = main.list_commands(context)

    for name in names:
        command = main.get_command(context, name)
        assert command is not None
        assert (command.name, bool(command.help)) == (name, True)
    assert main.get_command(context, "nothing") is None


def test_every_module_of_commands_is_one_of_them() -> None:
    """A command that nobody lists can't be called."""
    folder = Path(main.callback.__code__.co_filename).parent  # type: ignore[union-attr]  # it has one
    written = sum(
        text.count("\n@click.command(") + text.count("\n@click.group(")
        for text in (path.read_text() for path in folder.rglob("*.py"))
    )

    assert written - 1 == len(main.list_commands(click.Context(main)))


def test_serve_loads_none_of_the_others() -> None:
    told = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)

    loaded = {name for name in told.stdout.split() if name.startswith("sidecar.cli.")}
    assert loaded == {"sidecar.cli.configuration", "sidecar.cli.serve"}
