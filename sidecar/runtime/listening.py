"""What a daemon holds while it serves: the lock of its data directory, its sockets, its ports."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from sidecar.runtime.locks import FileLock, StartError, claim_unix_socket, lock_data_dir
from sidecar.runtime.settings import Settings

log = logging.getLogger(__name__)

UNIX = "unix://"


class Listening:
    """Locks first, then binds; releases in the opposite order."""

    def __init__(self, settings: Settings) -> None:
        self._data_dir = settings.data_dir
        self._addresses = settings.listen_addresses()
        self._locks: list[FileLock] = []

    def lock(self) -> None:
        """Hold the data directory and every Unix socket; StartError if another daemon does."""
        try:
            self._locks.append(lock_data_dir(self._data_dir))
            for path in self._sockets():
                self._locks.append(claim_unix_socket(path))
        except StartError:
            self.release()
            raise

    async def bind(self, server: grpc.aio.Server) -> list[str]:
        """Open every address; the dial targets, with the ports that were bound."""
        bound: list[str] = []
        for address in self._addresses:
            target = f"unix:{address.removeprefix(UNIX)}" if address.startswith(UNIX) else address
            try:
                port = server.add_insecure_port(target)
            except RuntimeError as exc:
                raise StartError(
                    f"can't listen on {address}: is it taken? Choose another with `listen`", exit_code=73
                ) from exc
            bound.append(address if address.startswith(UNIX) else f"{address.rpartition(':')[0]}:{port}")
        return bound

    def restrict(self) -> None:
        """Sockets are for our user and group only."""
        for path in self._sockets():
            path.chmod(0o660)

    def release(self) -> None:
        """Let everything go. Idempotent."""
        while self._locks:
            self._locks.pop().release()

    def _sockets(self) -> list[Path]:
        return [Path(address.removeprefix(UNIX)) for address in self._addresses if address.startswith(UNIX)]
