"""`top`: the daemon, live on a terminal."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import click

from sidecar.cli import interrupts, options
from sidecar.cli.calls import client_for, explain
from sidecar.cli.screen import STYLES, Line, styled
from sidecar.cli.top_history import History
from sidecar.cli.top_view import filled, screen

if TYPE_CHECKING:
    from rich.text import Text

    from sidecar.cli.admin_client import AdminClient
    from sidecar.cli.daemon_status import DaemonStatus

_INTERVAL_S_MIN = 0.1
_ONCE_COLUMNS, _ONCE_LINES = 100, 200
_END_S = 2.0
_QUITS = frozenset(b"qQ")


@click.command()
@click.option(
    "--interval", "interval_s", type=options.Duration(), default="1s", show_default="1s", help="Between looks."
)
@click.option("--once", is_flag=True, help="Look twice, print one screen, and end; needs no terminal.")
@options.reaching
@click.option(
    "--timeout", "timeout_s", type=options.Duration(), default="2s", show_default="2s", help="Until no answer is one."
)
def top(*, interval_s: float, once: bool, target: options.Target, timeout_s: float) -> None:
    """Watch the daemon live: rates, p99, hit ratios, conflicts, sizes, and what happens. q quits.

    A daemon that goes away is waited for. Asks the daemon only, which answers from memory: costs it about a millisecond.
    """
    if interval_s < _INTERVAL_S_MIN:
        raise click.UsageError(f"--interval is at least {_INTERVAL_S_MIN:g} s")
    if not once and not _is_terminal():
        raise click.UsageError("top needs a terminal; --once prints one screen anywhere")
    with client_for(target, timeout_s, as_json=False) as client:
        if once:
            _print_once(client, interval_s)
        else:
            _watch(client, interval_s)


def _print_once(client: AdminClient, interval_s: float) -> None:
    history = History(client.target)
    history.answered(client.daemon_status(), _now())
    time.sleep(interval_s)
    history.answered(client.daemon_status(), _now())
    width = shutil.get_terminal_size((_ONCE_COLUMNS, _ONCE_LINES)).columns
    told = screen(history, _now(), width=width, height=_ONCE_LINES, interval_s=interval_s)
    for shown in told[:-1]:  # without the line about keys
        click.echo(styled(shown))


def _watch(client: AdminClient, interval_s: float) -> None:
    from rich.console import Console  # noqa: PLC0415  # 70 ms, for those who look
    from rich.live import Live  # noqa: PLC0415

    console, history = Console(), History(client.target)
    with _wakes() as (woken, wake):
        looks = Looks(client, interval_s, wake)
        stopped = threading.Event()

        def stop() -> None:
            stopped.set()
            wake()

        def shown() -> Text:
            width, height = console.size
            return drawn(filled(screen(history, _now(), width=width, height=height, interval_s=interval_s), height))

        try:
            with (
                interrupts.ending(stop),
                _keys(wake),
                Live(
                    console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
                ) as live,
            ):
                looks.start()
                while not stopped.is_set():
                    live.update(shown(), refresh=True)
                    if _quits(woken):
                        break
                    looks.take(history)
        finally:
            client.close()  # ends the call under way
            looks.join()


class Looks:
    """A thread that asks the daemon again and again: a daemon that hangs shall not hang the keys."""

    def __init__(self, client: AdminClient, interval_s: float, wake: Callable[[], None]) -> None:
        self._client = client
        self._interval_s = interval_s
        self._wake = wake
        self._came: SimpleQueue[tuple[DaemonStatus | str, datetime]] = SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="state-sidecar-top", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def take(self, history: History) -> None:
        """What has come since."""
        with suppress(Empty):
            while True:
                told, at = self._came.get_nowait()
                if isinstance(told, str):
                    history.failed(told, at)
                else:
                    history.answered(told, at)

    def join(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_END_S)

    def _look(self) -> None:
        due_s = time.monotonic()
        while not self._stopping.wait(max(due_s - time.monotonic(), 0.0)):
            due_s = max(due_s + self._interval_s, time.monotonic())
            told = self._asked()
            if not self._stopping.is_set():
                self._came.put((told, _now()))
                self._wake()

    def _asked(self) -> DaemonStatus | str:
        from statesidecar import StateSidecarError  # noqa: PLC0415  # not for serve

        try:
            return self._client.daemon_status()
        except StateSidecarError as error:
            return explain(error, self._client.target)[1]


def drawn(lines: Sequence[Line]) -> Text:
    """For rich, which crops what doesn't fit."""
    from rich.style import Style  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    looks = {
        name: Style(color=look.get("fg"), bold=look.get("bold"), dim=look.get("dim")) for name, look in STYLES.items()
    }
    told = Text(no_wrap=True, overflow="crop")
    for place, shown in enumerate(lines):
        told.append("\n" if place else "")
        for span in shown:
            told.append(span.text, looks[span.style])
    return told


def _is_terminal() -> bool:
    dumb = os.environ.get("TERM", "").lower() in {"", "dumb", "unknown"}
    return sys.stdin.isatty() and sys.stdout.isatty() and not dumb


def _quits(woken: int) -> bool:
    """Wait for something to happen; whether it was the key that ends."""
    keys = sys.stdin.fileno()
    ready, _, _ = select.select([keys, woken], [], [])
    if woken in ready:
        os.read(woken, 4096)
    if keys not in ready:
        return False
    pressed = os.read(keys, 64)
    return not pressed or bool(_QUITS & set(pressed))


@contextmanager
def _wakes() -> Iterator[tuple[int, Callable[[], None]]]:
    """A descriptor to wait for, and what makes it ready, from any thread."""
    woken, waking = os.pipe()
    os.set_blocking(waking, False)

    def wake() -> None:
        with suppress(OSError):  # full: it is ready anyway; closed: nobody waits
            os.write(waking, b".")

    try:
        yield woken, wake
    finally:
        os.close(waking)
        os.close(woken)


@contextmanager
def _keys(wake: Callable[[], None]) -> Iterator[None]:
    """Keys come one by one and are not shown; a new size of the terminal wakes, too."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    resized = signal.signal(signal.SIGWINCH, lambda *_: wake())
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, resized)


def _now() -> datetime:
    return datetime.now().astimezone()
