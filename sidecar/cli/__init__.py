"""The command line: the daemon, and its RPCs for a person.

Every command imports what it needs when it runs, so that `serve` loads neither the client nor the terminal's library.
"""

from __future__ import annotations

import click

from sidecar import __version__
from sidecar.cli import checkpoints, reads, writes
from sidecar.cli.dead_writes import dead_writes
from sidecar.cli.doctor import doctor
from sidecar.cli.export import export
from sidecar.cli.gc import gc
from sidecar.cli.migrate import migrate
from sidecar.cli.outbox import outbox
from sidecar.cli.serve import serve
from sidecar.cli.status import status
from sidecar.cli.top import top
from sidecar.cli.watch import watch

__all__ = ["main"]

EPILOG = """\b
Exit codes:
  0   done
  1   there is no such entry (get, delete, touch, update --no-create), checkpoint, dead write or dead
      letter; something is wrong (doctor)
  2   usage
  3   conflict: the version is not the expected one, or a dead write was refused again
  4   the request is invalid, or something has to be fixed first
  5   unavailable, or answered in passthrough: nothing was written; a job could not go on, or is another's now
      (gc, migrate)
  6   outcome unknown: repeat with the same --request-id to learn it
  64  configuration, every problem listed (serve, doctor)
  70  internal error, or stored bytes that do not verify
  73  the data directory or an address can't be had (serve)
  75  another daemon has the data directory or an address (serve)
  130 interrupted, by SIGINT or SIGTERM (all but serve, which drains and ends with 0)
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="state-sidecar")
def main() -> None:
    """A daemon beside each model server that gives it memory, and its state for a person at a terminal."""


for command in (serve, doctor, status, top, reads.get, reads.list_entries):
    main.add_command(command)
for command in (
    writes.set_value,
    writes.cas,
    writes.delete,
    writes.touch,
    writes.update,
    dead_writes,
    export,
    gc,
    migrate,
    outbox,
):
    main.add_command(command)
for command in (checkpoints.checkpoint, checkpoints.restore, checkpoints.checkpoints):
    main.add_command(command)
main.add_command(watch)
