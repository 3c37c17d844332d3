"""`status`: the daemon on one screen."""

from __future__ import annotations

import shutil
import sys

import click

from sidecar.cli import options, output
from sidecar.cli.calls import client_for
from sidecar.cli.screen import cut, styled
from sidecar.cli.status_view import screen

_WIDTH_MIN = 100


@click.command()
@options.connection
def status(*, target: options.Target, timeout_s: float, as_json: bool) -> None:
    """Show the daemon on one screen: mode, tiers, requests, what is kept, and what waits.

    Where it is not NORMAL, says which tier is to blame, since when, and why. --json has everything.
    """
    with client_for(target, timeout_s, as_json=as_json) as client:
        answer = client.daemon_status()
    if as_json:
        output.print_json(answer)
        return
    width = max(shutil.get_terminal_size().columns, _WIDTH_MIN) if sys.stdout.isatty() else None
    for told in screen(answer, width=width):
        click.echo(styled(told if width is None else cut(told, width)))
    if answer.dead_writes:
        click.echo("`state-sidecar dead-writes list` tells what became of the dead writes.", err=True)
