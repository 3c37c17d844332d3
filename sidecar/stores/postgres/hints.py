"""Hints between daemons by LISTEN and NOTIFY, on a connection of their own.

A NOTIFY takes a lock of the whole database when it commits, so none is ever in a transaction that writes: hints that are
wanted at the same time go out together, alone. They may be lost: who waits for one looks from time to time besides.
Behind a pooler there are none, for it would give the connection that listens to others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Callable

from sidecar.core.errors import SidecarError
from sidecar.stores.postgres.connector import Connector
from sidecar.stores.postgres.errors import ConnectionLost, ServerError
from sidecar.stores.postgres.wire import Session

_log = logging.getLogger(__name__)

PAUSE_S = 0.05
"""Between two hints that are sent."""
RETRY_S, RETRY_S_MAX = 0.5, 30.0
"""How long a connection that failed is waited for, at most: twice as long each time."""


class Hints:
    """Sends and hears hints from `start` to `stop`. Those that this store sends are not heard by itself."""

    def __init__(self, connector: Connector, heard: Callable[[], None]) -> None:
        self.listening = False
        """Whether others' hints are heard."""
        self._connector = connector
        self._heard = heard
        self._token = secrets.token_hex(8).encode()
        self._session: Session | None = None
        self._wanted = False
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen. Idempotent."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def hint(self) -> None:
        """Have one sent."""
        self._wanted = True
        self._rouse()

    async def stop(self) -> None:
        """Disconnect. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                if not await self._listen():
                    return
                failures = 0
                await self._serve()
            except (SidecarError, ServerError, ConnectionLost) as exc:
                _log.debug("hints of other daemons are not heard for now", extra={"error": str(exc)})
            except Exception:  # noqa: BLE001  # hints are dispensable, and a later connection may fare better
                _log.exception("hints failed")
            finally:
                self._disconnect()
            await _pause(random.uniform(0, min(RETRY_S_MAX, RETRY_S * 2**failures)))  # noqa: S311  # no secret
            failures = min(failures + 1, 10)

    async def _listen(self) -> bool:
        """Connect; False: there is a pooler between. Raises SidecarError, ServerError, ConnectionLost."""
        self._session = session = await self._connector.connect_aside()
        if not session.direct:
            _log.info("a pooler is before PostgreSQL: daemons do not hear of each other's commits, they look for them")
            return False
        session.attend = self._attend
        await session.exchange([(self._connector.queries["listen"], ())])
        self.listening = True
        # What others told meanwhile was not heard.
        self._heard()
        return True

    async def _serve(self) -> None:
        """Until the connection is lost. Raises ServerError, ConnectionLost."""
        session = self._session
        assert session is not None
        while not session.closed:
            if self._wanted:
                self._wanted = False
                await session.exchange([(self._connector.queries["hint"], [self._token])])
                await _pause(PAUSE_S)
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Until a hint is wanted, or the connection was lost."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _rouse(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _attend(self, told: list[bytes]) -> None:
        """What came by; nothing: the connection was lost."""
        if not told:
            self.listening = False
            self._rouse()
        elif any(token != self._token for token in told):
            self._heard()

    def _disconnect(self) -> None:
        self.listening = False
        session, self._session = self._session, None
        if session is not None:
            session.close()


async def _pause(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
