"""A bad network: a TCP proxy before the daemon's socket, which cuts the connection when it carries a certain answer."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

SPARED_BYTES = 64
"""Smaller bursts are settings and pings, which answer nobody."""


class LossyProxy:
    """Forwards connections to a Unix socket; new ones are whole whatever became of the old."""

    def __init__(self, path: str) -> None:
        self.lost = 0
        self._path = path
        self._armed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def lose_an_answer(self) -> None:
        """The next answer of the daemon is lost: what it answers is done, and nobody is told."""
        self._armed.set()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for end in self._ends:
            _shut(end)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # Closed
            daemon = socket.socket(socket.AF_UNIX)
            self._ends += [client, daemon]
            try:
                daemon.connect(self._path)
            except OSError:
                _shut(client)  # No daemon: the client tries again
                continue
            for work in (self._requests, self._answers):
                thread = threading.Thread(target=work, args=(client, daemon))
                self._threads.append(thread)
                thread.start()

    def _requests(self, client: socket.socket, daemon: socket.socket) -> None:
        while burst := _received(client):
            _send(daemon, burst)
        _shut(daemon)

    def _answers(self, client: socket.socket, daemon: socket.socket) -> None:
        while burst := _received(daemon):
            if len(burst) > SPARED_BYTES and self._armed.is_set():
                self._armed.clear()
                self.lost += 1
                break
            _send(client, burst)
        _shut(client)
        _shut(daemon)


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _send(end: socket.socket, burst: bytes) -> None:
    try:
        end.sendall(burst)
    except OSError:
        return  # The receiver is gone; its own end says so to the other


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # The other side was faster
