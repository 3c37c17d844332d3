"""A connection to a NATS server. One that fails is not mended but given up, and another is opened: so nothing is kept in a
buffer of the library's, to go out when its message was published by somebody else.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from sidecar.core.sinks import SinkUnavailable
from sidecar.sinks.nats.target import NatsTarget

CONNECT_S = 2
ANSWER_S = 5.0
CLOSE_S = 1.0
PING_S = 10
_MAY_NOT = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)


class Connection:
    """Opened by `connect`, not used any more once it is `lost`."""

    def __init__(self, target: NatsTarget) -> None:
        self._target = target
        self._client = Client()
        self._said = ""
        self._begun = self._connected = False
        self._denied: dict[str, set[asyncio.Future[None]]] = {}
        """By subject, who is to hear that we may not publish to it: the server answers that to nobody in particular."""
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def lost(self) -> bool:
        """Whether another one is needed."""
        return self._ended.done()

    @property
    def bytes_max(self) -> int:
        """The most that a message may have, with its headers."""
        return int(self._client.max_payload)

    async def connect(self, server: str) -> None:
        """Raises SinkUnavailable, and is to be closed then."""
        target, context = self._target, _context(self._target)
        self._begun = True
        try:
            async with asyncio.timeout(CONNECT_S * 2):
                await self._client.connect(
                    f"{'tls' if target.tls else 'nats'}://{server}",
                    name="state-sidecar",
                    user=target.user,
                    password=target.password,
                    token=target.token,
                    tls=context,
                    allow_reconnect=False,
                    connect_timeout=CONNECT_S,
                    ping_interval=PING_S,
                    error_cb=self._heard,
                    closed_cb=self._closed,
                )
            self._connected = True
        except ssl.SSLError as exc:
            raise SinkUnavailable(f"no TLS with {server}: {(exc.reason or '').replace('_', ' ').lower()}") from exc
        except (nats.errors.Error, OSError) as exc:
            raise SinkUnavailable(_not_connected(server, exc)) from exc
        if target.tls and not self._client._server_info.get("tls_required"):  # noqa: SLF001  # there is no other way to learn it
            raise SinkUnavailable(f"{server} does not ask for TLS, and tls:// was meant")

    async def ask(self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A request of JetStream, and its answer. Raises SinkUnavailable, NoAnswererError and DeniedError."""
        asking = asyncio.ensure_future(
            self._client.request(subject, payload, timeout=ANSWER_S, headers=None if headers is None else dict(headers))
        )
        asking.add_done_callback(_retrieved)
        denied: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The library tells a denial in small letters: one of another subject may be heard here, and is tried again.
        heard_as = subject.lower()
        listening = self._denied.setdefault(heard_as, set())
        listening.add(denied)
        try:
            await asyncio.wait((asking, denied, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if denied.done():
                raise DeniedError
            if not asking.done():
                raise SinkUnavailable(f"{self._target}: the connection was lost{self._said}")
            answer: dict[str, Any] = json.loads(asking.result().data)
        except nats.errors.NoRespondersError as exc:
            raise NoAnswererError from exc
        except (nats.errors.Error, OSError, ValueError) as exc:
            # Whatever it is about to answer, nobody waits for it any more.
            await self.close()
            raise SinkUnavailable(f"{self._target}: no answer{self._said}") from exc
        finally:
            asking.cancel()
            listening.discard(denied)
            if not listening and self._denied.get(heard_as) is listening:
                del self._denied[heard_as]
        return answer

    async def close(self) -> None:
        """Idempotent; takes at most `CLOSE_S`, also where the server hangs."""
        try:
            async with asyncio.timeout(CLOSE_S):
                if self._begun:
                    await self._client.close()
        except (TimeoutError, OSError, nats.errors.Error):
            self._abort()
        if not self._ended.done():
            self._ended.set_result(None)

    def _abort(self) -> None:
        """What the library does not do while bytes wait to be sent."""
        client: Any = self._client
        for subscription in client._subs.values():  # noqa: SLF001  # the library leaves them running
            subscription._wait_for_msgs_task.cancel()  # noqa: SLF001
        if client._transport is not None:  # noqa: SLF001
            client._transport._io_writer.transport.abort()  # noqa: SLF001

    async def _closed(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    async def _heard(self, exc: Exception) -> None:
        """What the server says beside its answers."""
        if not self._connected:
            # Or it would be tried again, after a pause.
            raise exc
        said = str(exc)
        self._said = f": {said[:200]}"
        if (found := _MAY_NOT.search(said)) is not None:
            for denied in self._denied.get(found[1], ()):
                if not denied.done():
                    denied.set_result(None)


class NoAnswererError(Exception):
    """Nobody listens to a subject."""


class DeniedError(Exception):
    """We may not publish to a subject."""


def _retrieved(asking: asyncio.Future[Any]) -> None:
    """It may fail when nobody waits for it any more."""
    if not asking.cancelled():
        asking.exception()


def _context(target: NatsTarget) -> ssl.SSLContext | None:
    """Read anew for each connection, since certificates are renewed."""
    if not target.tls:
        return None
    try:
        return ssl.create_default_context(cafile=target.ca_file or None)
    except OSError as exc:
        raise SinkUnavailable(f"ca_file {target.ca_file} can't be read: {exc.strerror or exc}") from exc


def _not_connected(server: str, exc: Exception) -> str:
    if isinstance(exc, nats.errors.Error) and str(exc).startswith("nats: '"):
        return f"{server} refuses us: {str(exc).removeprefix('nats: ')[:200]}"
    return f"{server} can't be reached" if isinstance(exc, OSError) else f"{server} does not answer as NATS does"
