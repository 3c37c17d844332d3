"""`state-sidecar doctor`: what is wrong with a configuration, this machine or a backend, and what to do."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from sidecar.cli import configuration, options, output

_COLUMNS = (("", "left"), ("setting", "left"), ("found", "left"), ("at", "left"))


@click.command()
@configuration.sources
@click.option(
    "--timeout", "timeout_s", type=options.Duration(), default=5.0, show_default="5s", help="For each tier to answer."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def doctor(*, config: Path | None, overrides: tuple[str, ...], timeout_s: float, as_json: bool) -> None:
    """Find out whether a daemon with these settings could start here and reach its backends.

    The settings are read as by serve. Directories and ports are looked at and left as they are; a shared backend is
    opened as by a daemon, which makes the tables that are missing. Exit code 1: something is wrong.
    """
    settings = configuration.settings_or_exit(config, overrides)

    from sidecar.runtime.examine import examine  # noqa: PLC0415  # only with good settings
    from sidecar.runtime.findings import Verdict  # noqa: PLC0415

    findings = asyncio.run(examine(settings, timeout_s=timeout_s))
    count = sum(finding.verdict is Verdict.WRONG for finding in findings)
    if as_json:
        output.print_json({"ok": not count, "findings": findings})
    else:
        rows = (
            (
                finding.verdict.value,
                finding.setting,
                output.printable(finding.message),
                output.printable(finding.subject),
            )
            for finding in findings
        )
        output.print_rows(_COLUMNS, rows)
        if count:
            click.echo(f"state-sidecar: {count} thing{'s are' if count > 1 else ' is'} wrong", err=True)
    sys.exit(1 if count else 0)
