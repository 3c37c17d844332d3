"""`audit`: what a person does with an audit log."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sidecar.cli import output
from sidecar.cli.calls import Exit


@click.group()
def audit() -> None:
    """The audit log that `audit.file` names."""


@audit.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(*, file: Path, as_json: bool) -> None:
    """Whether no line was changed, taken out, put in or moved: in FILE, and in FILE.1 and on that it was rotated to.

    Lines cut off the end show only by the digest that is printed: compare it with one that was kept elsewhere. Exit 70 if
    the chain is broken.
    """
    from sidecar.runtime import audit_file  # noqa: PLC0415  # only this command's

    try:
        told = audit_file.verify(file)
    except (audit_file.Broken, OSError) as exc:
        click.echo(f"state-sidecar: {output.printable(str(exc))}", err=True)
        sys.exit(Exit.INTERNAL)
    if as_json:
        output.print_json(told)
        return
    click.echo(f"{told.lines} lines hold, {told.first} to {told.last}, in {told.files} files")
    click.echo(f"digest of line {told.last}: {told.digest}")
    if told.first > 1:
        click.echo(f"Lines before {told.first} are in files that are gone.", err=True)
    if told.torn:
        click.echo("The last line is unfinished: it is being written, or the daemon was killed.", err=True)
