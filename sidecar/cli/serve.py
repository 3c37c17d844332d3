"""`state-sidecar serve`: settings first, whole and valid, then the daemon."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sidecar.cli import configuration


@click.command()
@configuration.sources
def serve(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C.

    Every setting can be given by --set, by environment (STATE_SIDECAR_TIERS__WARM is tiers.warm) or in the file, in this
    order of precedence.
    """
    settings = configuration.settings_or_exit(config, overrides)

    from sidecar.runtime.locks import StartError  # noqa: PLC0415  # only with good settings
    from sidecar.runtime.serve import serve as run  # noqa: PLC0415

    try:
        code = run(settings)
    except StartError as error:
        click.echo(f"state-sidecar: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code)
