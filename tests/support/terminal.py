"""A program in a terminal of its own, whose screens a test reads and whose keys it presses."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WAIT_S = 30.0
"""Bounds how long a failing test waits."""
_HOME = "\x1b[H"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """`state-sidecar` with these arguments. Each screen begins where it sets the cursor home, as rich's live view does."""

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 24) -> None:
        self._ours, theirs = pty.openpty()
        self._changed = threading.Condition()
        self._output = b""
        self._ended = False
        self._resize(columns, lines)
        inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=inherited | {"TERM": "xterm"},
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """All that it has printed."""
        with self._changed:
            return self._output.decode(errors="replace")

    @property
    def screen(self) -> str:
        """The last whole one; while the program runs, that is the one before the latest bytes."""
        frames = self.output.split(_HOME)
        return _CONTROL.sub("", frames[-1]).replace("\r", "")

    @property
    def by_line(self) -> bool:
        """Whether keys are shown and come by line, as a shell has it."""
        local: int = termios.tcgetattr(self._ours)[3]
        return bool(local & termios.ICANON) and bool(local & termios.ECHO)

    def shows(self, seen: Callable[[str], object]) -> str:
        """Wait for a screen of which `seen` is true; the screen."""
        with self._changed:
            while not seen(self.screen):
                assert not self._ended, f"it ended: {self.output}"
                assert self._changed.wait(WAIT_S), f"nothing new on the screen:\n{self.screen}"
        return self.screen

    def press(self, keys: str) -> None:
        """Type these."""
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Another size; the program is told, as a terminal does."""
        self._resize(columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def close(self) -> None:
        """Whatever it does, it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.ended()
        os.close(self._ours)

    def _resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # EIO: the program has ended
                part = b""
            with self._changed:
                self._output += part
                self._ended = not part
                self._changed.notify_all()
            if not part:
                return


@contextmanager
def terminal(*arguments: str, columns: int = 80, lines: int = 24) -> Iterator[Terminal]:
    """It, while the block lasts."""
    running = Terminal(*arguments, columns=columns, lines=lines)
    try:
        yield running
    finally:
        running.close()
