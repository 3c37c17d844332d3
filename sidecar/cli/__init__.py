"""The command line: the daemon, and its RPCs for a person.

Every command imports what it needs when it runs, so that `serve` loads neither the client nor the terminal's library.
"""

from __future__ import annotations

from importlib import import_module

import click
from typing_extensions import override

from sidecar import __version__

__all__ = ["main"]

EPILOG = """\b
Exit codes:
  0   done
  1   there is no such entry (get, delete, touch, update --no-create), checkpoint, dead write or dead
      letter; something is wrong (doctor, inject --check)
  2   usage
  3   conflict: the version is not the expected one, or a dead write was refused again
  4   the request is invalid, or something has to be fixed first (also inject: the workload)
  5   unavailable, or answered in passthrough: nothing was written; a job could not go on, or is another's now
      (gc, migrate, reseal)
  6   outcome unknown: repeat with the same --request-id to learn it
  7   denied: the daemon asks who calls and was not told, or no rule of its operator allows this
  64  configuration, every problem listed (serve, doctor)
  70  internal error, or stored bytes (or an audit log) that do not verify
  73  the data directory or an address can't be had (serve)
  75  another daemon has the data directory or an address (serve)
  130 interrupted, by SIGINT or SIGTERM (all but serve, which drains and ends with 0)
"""


_COMMANDS = {
    "audit": "audit:audit",
    "serve": "serve:serve",
    "doctor": "doctor:doctor",
    "status": "status:status",
    "top": "top:top",
    "get": "reads:get",
    "list": "reads:list_entries",
    "set": "writes:set_value",
    "cas": "writes:cas",
    "delete": "writes:delete",
    "touch": "writes:touch",
    "update": "writes:update",
    "watch": "watch:watch",
    "checkpoint": "checkpoints:checkpoint",
    "checkpoints": "checkpoints:checkpoints",
    "restore": "checkpoints:restore",
    "outbox": "outbox:outbox",
    "dead-writes": "dead_writes:dead_writes",
    "export": "export:export",
    "gc": "gc:gc",
    "inject": "inject:inject",
    "migrate": "migrate:migrate",
    "reseal": "reseal:reseal",
}
"""Where each command is, in this package."""


class _Commands(click.Group):
    """Imports a command when it is asked for: the others would take 2 MB of every daemon, for as long as it runs."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module, _, name = _COMMANDS.get(cmd_name, "").partition(":")
        if not module:
            return None
        command: click.Command = getattr(import_module(f"sidecar.cli.{module}"), name)
        return command


@click.group(
    cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
@click.version_option(__version__, prog_name="state-sidecar")
def main() -> None:
    """A daemon beside each model server that gives it memory, and its state for a person at a terminal."""
