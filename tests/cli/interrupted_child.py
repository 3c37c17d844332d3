"""A command that interrupts itself where Python is most easily hurt: `python -m tests.cli.interrupted_child SIGNAL N COMMAND…`.

The signal comes when the main thread has just taken a lock by `threading.Condition.__enter__`, the N-th time after the
command has begun to print. Between this and the caller's `with`, a KeyboardInterrupt loses the lock for ever.
"""

from __future__ import annotations

import signal
import sys
import threading
from itertools import count
from typing import Any

import click

from sidecar.cli import main

_enter = threading.Condition.__enter__
_echo = click.echo
_main = threading.get_ident()
_printing = False
_times = count(1)


def _enter_and_interrupt(self: threading.Condition) -> bool:
    taken = _enter(self)
    if _printing and threading.get_ident() == _main and next(_times) == int(sys.argv[2]):
        signal.raise_signal(signal.Signals[sys.argv[1]])
    return taken


def _echo_and_note(*arguments: Any, **options: Any) -> None:
    global _printing  # noqa: PLW0603  # the process has one command
    _echo(*arguments, **options)
    _printing = True


if __name__ == "__main__":
    threading.Condition.__enter__ = _enter_and_interrupt  # type: ignore[method-assign]
    click.echo = _echo_and_note
    main(sys.argv[3:], prog_name="state-sidecar")
