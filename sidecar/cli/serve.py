"""`state-sidecar serve`: settings first, whole and valid, then the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings in YAML. Default: $STATE_SIDECAR_CONFIG, else none.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, such as tiers.warm=memory://; wins over the environment and the file. Repeatable.",
)
def serve(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C.

    Every setting can be given by --set, by environment (STATE_SIDECAR_TIERS__WARM is tiers.warm) or in the file, in this
    order of precedence.
    """
    from sidecar.runtime.locks import StartError  # noqa: PLC0415  # only here
    from sidecar.runtime.settings import SettingsError, load_settings  # noqa: PLC0415

    try:
        settings = load_settings(config, overrides, os.environ)
    except SettingsError as error:
        count = len(error.problems)
        click.echo(f"state-sidecar: {count} problem{'s' * (count > 1)} in the configuration", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(os.EX_USAGE)

    from sidecar.runtime.serve import serve as run  # noqa: PLC0415  # only with good settings

    try:
        code = run(settings)
    except StartError as error:
        click.echo(f"state-sidecar: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code)
