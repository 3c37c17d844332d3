"""`reseal`: seal with the key of now what an older one sealed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from sidecar.cli import interrupts, options, output
from sidecar.cli.calls import Exit, client_for

if TYPE_CHECKING:
    from sidecar.cli.admin_client import Resealed

_COLUMNS = (("state", "left"), *((title, "right") for title in ("looked at", "sealed anew", "failed", "remaining")))


@click.command()
@click.argument("namespace", default="")
@click.option("--dry-run", is_flag=True, help="Count what would be sealed anew, and change nothing.")
@options.connecting("24h")
def reseal(*, namespace: str, dry_run: bool, target: options.Target, timeout_s: float, as_json: bool) -> None:
    """Seal a namespace's values with the key of now, in place: nobody's version changes, and nothing is locked.

    Without NAMESPACE: what daemons keep for all of them, the contents of checkpoints and dead letters. What is written is
    sealed with the key of now anyway; this does the others. It may be interrupted: asked for again, it goes on where it
    was. Exit 4 if some values don't open; 5 if some remain, or if another daemon is at it now: ask again.
    """
    latest: Resealed | None = None
    with client_for(target, timeout_s, as_json=as_json) as client, interrupts.ending(client.close):
        for latest in client.reseal(namespace, dry_run=dry_run, timeout_s=timeout_s):
            if sys.stderr.isatty():
                click.echo(f"\r{latest.scanned} looked at, {latest.resealed} sealed anew", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo(err=True)
    assert latest is not None, "the last of them has ended"
    if as_json:
        output.print_json({"dry_run": dry_run, "reseal": latest})
    else:
        counts = (latest.scanned, latest.resealed, latest.failed, latest.remaining)
        output.print_rows(_COLUMNS, [(latest.state, *(str(count) for count in counts))])
        for key, message in latest.failures.items():
            click.echo(f"{output.printable(key)}: {output.printable(message)}", err=True)
    sys.exit(_exit_code(latest, dry_run=dry_run))


def _exit_code(told: Resealed, *, dry_run: bool) -> Exit:
    if told.state != "done" or (told.remaining > told.failed and not dry_run):
        return Exit.UNAVAILABLE
    return Exit.INVALID if told.failed else Exit.OK
