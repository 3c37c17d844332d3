"""Memcached, with as much memory as a test wants it to have."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from servers import debian
from servers.base import HOST, Server, binary

ANSWER_S = 2.0


class Memcached(Server):
    """A memcached of `memory_mb`; `options` are further ones of its command line."""

    name = "memcached"
    stop_signal = signal.SIGKILL  # it has nothing to save, and would take a second to end in order

    def __init__(self, memory_mb: int = 64, item_bytes_max: int = 1 << 20, options: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._memory_mb = memory_mb
        self._item_bytes_max = item_bytes_max
        self._options = options

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{HOST}:{self.port}"

    def command(self) -> Sequence[str | Path]:
        """Nothing but loopback TCP."""
        sizes = ("-m", str(self._memory_mb), "-I", str(self._item_bytes_max))
        # It refuses to run as root unless told to.
        user = ("-u", "root") if os.geteuid() == 0 else ()
        return (binary("memcached"), "-l", HOST, "-p", str(self.port), "-U", "0", *sizes, *user, *self._options)

    def environ(self) -> Mapping[str, str]:
        """Where its library is."""
        return debian.environ()

    def ready(self) -> None:
        """A meta command is answered."""
        assert self.ask(b"mn\r\n") == b"MN\r\n"

    def pause(self) -> None:
        """As `Server.pause`; all its threads have stopped when this returns."""
        super().pause()
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def ask(self, command: bytes, *, end: bytes = b"\r\n") -> bytes:
        """What it answers to a command, up to `end`."""
        answer = b""
        with socket.create_connection((HOST, self.port), ANSWER_S) as connection:
            connection.sendall(command)
            while not answer.endswith(end):
                received = connection.recv(65536)
                assert received, f"memcached hung up after {answer!r}"
                answer += received
        return answer

    def flush(self) -> None:
        """Have it forget everything."""
        assert self.ask(b"flush_all\r\n") == b"OK\r\n"

    def stats(self, about: str = "") -> dict[str, str]:
        """Its figures."""
        lines = self.ask(f"stats {about}".strip().encode() + b"\r\n", end=b"END\r\n").decode().splitlines()
        return dict(line.split(" ", 2)[1:] for line in lines if line.startswith("STAT "))
