"""Where a command's settings come from, the same for all that need them: flags, environment, file, defaults."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from sidecar.runtime.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def sources(command: F) -> F:
    """The options --config and --set, as `config` and `overrides`."""
    for decorator in (
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="One setting, such as tiers.warm=memory://; wins over the environment and the file. Repeatable.",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Settings in YAML. Default: $STATE_SIDECAR_CONFIG, else none.",
        ),
    ):
        command = decorator(command)
    return command


def settings_or_exit(config: Path | None, overrides: tuple[str, ...]) -> Settings:
    """The settings; with problems the process ends with 64, every one listed."""
    from sidecar.runtime.settings import SettingsError, load_settings  # noqa: PLC0415  # not for the client's commands

    try:
        return load_settings(config, overrides, os.environ)
    except SettingsError as error:
        count = len(error.problems)
        click.echo(f"state-sidecar: {count} problem{'s' * (count > 1)} in the configuration", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(os.EX_USAGE)
