"""A TCP proxy that loses a reply after the request was delivered."""

from __future__ import annotations

import socket
import threading
from enum import Enum, auto
from types import TracebackType
from typing import Self


class Fault(Enum):
    """What happens to the next reply, and to its connection."""

    SILENCE = auto()  #: The connection stays up, and nothing comes over it any more.
    CUT = auto()  #: The connection ends.


class Proxy:
    """Forwards connections to `upstream` (host:port); new ones are whole whatever became of the old."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.faults = 0
        #: Counts the connections that their clients have ended.
        self.ended = threading.Semaphore(0)
        self._next: Fault | None = None
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._faults: list[list[Fault]] = []
        self._threads = [threading.Thread(target=self._accept)]

    def fail_next_reply(self, fault: Fault) -> None:
        """Loses the reply to the next message of a client."""
        with self._lock:
            self._next = fault

    def cut(self) -> None:
        """Ends every connection that there is."""
        for end in list(self._sockets):
            _shut(end)

    def silence(self) -> None:
        """Every connection that there is stays up, and nothing comes over it any more."""
        for faults in self._faults:
            faults.append(Fault.SILENCE)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for end in self._sockets:
            _shut(end)
        for thread in self._threads[1:]:
            thread.join()
        for end in self._sockets:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                down, _ = self._listener.accept()
            except OSError:
                return  # Closed
            up = socket.create_connection(self._upstream)
            self._sockets += [down, up]
            faults: list[Fault] = []  # This connection's
            self._faults.append(faults)
            for work, ends in ((self._requests, (down, up, faults)), (self._replies, (up, down, faults))):
                thread = threading.Thread(target=work, args=ends)
                self._threads.append(thread)
                thread.start()

    def _requests(self, down: socket.socket, up: socket.socket, faults: list[Fault]) -> None:
        while data := _received(down):
            with self._lock:
                if self._next is not None:
                    faults.append(self._next)  # Before the request goes on, so that its reply cannot overtake
                    self._next = None
                    self.faults += 1
            _forward(up, data)
        self.ended.release()
        _shut(up)

    def _replies(self, up: socket.socket, down: socket.socket, faults: list[Fault]) -> None:
        while data := _received(up):
            if Fault.CUT in faults:
                break
            if Fault.SILENCE not in faults:
                _forward(down, data)
        _shut(down)


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _forward(end: socket.socket, data: bytes) -> None:
    try:
        end.sendall(data)
    except OSError:
        return  # The receiver is gone; its own end says so to the other


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # The other side was faster
