"""A real sidecar in the test's own process, for tests of programs that keep state in one.

    with sidecar() as running:
        client = running.client()
        client.set("session", "alice", b"...")

Needs the daemon: `pip install state-sidecar-client[testing]`.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from statesidecar._async_client import AsyncStateClient
from statesidecar._client import StateClient

_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 30.0


class RunningSidecar:
    """A daemon on an event loop of its own, in a thread."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._daemon_type, self._settings = _load(settings)
        self._addresses: Future[list[str]] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._clients: list[StateClient] = []
        self._thread = threading.Thread(target=self._work, name="state-sidecar", daemon=True)

    @property
    def target(self) -> str:
        """What a client is given to reach it."""
        return self._addresses.result(_START_TIMEOUT_S)[0]

    def client(self, **options: Any) -> StateClient:
        """A blocking client of it, which is closed with it; options as of StateClient."""
        client = StateClient(self.target, **options)
        self._clients.append(client)
        return client

    def async_client(self, **options: Any) -> AsyncStateClient:
        """An asyncio client of it, which its caller closes; options as of AsyncStateClient."""
        return AsyncStateClient(self.target, **options)

    def start(self) -> None:
        """Starts it and waits until it answers. Raises what the daemon's start raises."""
        self._thread.start()
        self._addresses.result(_START_TIMEOUT_S)

    def stop(self) -> None:
        """Drains and stops it, and closes its clients. Again: does nothing."""
        for client in self._clients:
            client.close()
        if self._loop is not None and self._stopping is not None:
            # A loop that is closed has stopped by itself: its daemon did not start, and why is raised elsewhere.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the sidecar did not stop within {_STOP_TIMEOUT_S} s")

    def _work(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        daemon = self._daemon_type(self._settings)
        try:
            await daemon.start()
            self._addresses.set_result(list(daemon.addresses))
            await self._stopping.wait()
        except BaseException as error:
            if self._addresses.done():
                raise
            self._addresses.set_exception(error)  # Raised in the thread that waits for the start
        finally:
            await daemon.stop()


@contextmanager
def sidecar(**settings: Any) -> Iterator[RunningSidecar]:
    """Runs a sidecar on a free port, with its data in a directory that goes with it.

    `settings` are the daemon's, by name: `sidecar(tiers={"warm": "memory://"})`. Raises ImportError if it isn't installed.
    """
    with tempfile.TemporaryDirectory(prefix="state-sidecar-", ignore_cleanup_errors=True) as directory:
        defaults = {"data_dir": Path(directory), "listen": ["127.0.0.1:0"], "http_listen": ""}
        running = RunningSidecar(defaults | settings)
        try:
            running.start()
            yield running
        finally:
            running.stop()


def _load(settings: dict[str, Any]) -> tuple[Any, Any]:
    try:
        from sidecar.runtime.daemon import Daemon  # noqa: PLC0415 - an optional dependency
        from sidecar.runtime.settings import Settings  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("sidecar"):
            raise
        raise ImportError(
            "statesidecar.testing needs the daemon: pip install 'state-sidecar-client[testing]'"
        ) from error
    return Daemon, Settings(**settings)
