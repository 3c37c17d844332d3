"""What a daemon holds while it serves: the lock of its data directory, its sockets, its ports."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

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
        self._tls = settings.tls
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
        """Open every address, TCP with TLS where that is set; the dial targets, with the ports that were bound.

        A Unix socket is for our user alone from the moment it is there, and for our group as soon as it is known to be whole.
        Raises StartError.
        """
        credentials = self._credentials()
        bound: list[str] = []
        for address in self._addresses:
            try:
                if address.startswith(UNIX):
                    _bind_unix(server, Path(address.removeprefix(UNIX)))
                    bound.append(address)
                    continue
                port = (
                    server.add_insecure_port(address)
                    if credentials is None
                    else server.add_secure_port(address, credentials)
                )
            except RuntimeError as exc:
                raise StartError(
                    f"can't listen on {address}: is it taken? Choose another with `listen`", exit_code=73
                ) from exc
            bound.append(f"{address.rpartition(':')[0]}:{port}")
        return bound

    def release(self) -> None:
        """Let everything go. Idempotent."""
        while self._locks:
            self._locks.pop().release()

    def _credentials(self) -> Any:
        if self._tls.certificate is None:
            return None
        from sidecar.runtime.tls import server_credentials  # noqa: PLC0415  # with OpenSSL, where it is used

        return server_credentials(self._tls)

    def _sockets(self) -> list[Path]:
        return [Path(address.removeprefix(UNIX)) for address in self._addresses if address.startswith(UNIX)]


def _bind_unix(server: grpc.aio.Server, path: Path) -> None:
    # What other threads make meanwhile is for our user alone, too: never for more than they ask.
    before = os.umask(0o077)
    try:
        server.add_insecure_port(f"unix:{path}")
    finally:
        os.umask(before)
    path.chmod(0o660)
