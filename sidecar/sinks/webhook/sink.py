"""WebhookSink: each message a POST, which the endpoint confirms with a status of 2xx."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Sequence

import aiohttp
from yarl import URL

import sidecar
from sidecar.core.outbox import Pending
from sidecar.core.ports import Clock
from sidecar.core.sinks import Delivery, Receipt, Refused, SinkUnavailable
from sidecar.sinks import events
from sidecar.sinks.ordered import one_by_one
from sidecar.sinks.webhook.answers import receipt
from sidecar.sinks.webhook.target import WebhookTarget

BATCH_MAX = 8
"""Few: a message that is answered late holds up what is told of the others of its call."""
CONCURRENCY = 16
"""Requests under way, and connections kept."""
CONNECT_S = 5.0
ANSWER_BYTES = 64 * 1024
"""Read of an answer's body, which says nothing to us, so that its connection can be used again."""


class WebhookSink:
    """An endpoint. Connections are kept and used again; nothing is followed, stored or sent twice but after a loss."""

    def __init__(self, target: WebhookTarget, *, app: str, clock: Clock) -> None:
        self._target = target
        self._app = app
        self._clock = clock
        self._url = URL(target.url, encoded=True)
        self._session: aiohttp.ClientSession | None = None
        self._under_way = asyncio.Semaphore(CONCURRENCY)
        self._rest_until = 0.0
        self._why = ""

    @property
    def batch_max(self) -> int:
        return BATCH_MAX

    async def open(self) -> None:
        """There is nothing to ask an endpoint but with a message."""
        if self._session is None:
            headers = {"User-Agent": f"state-sidecar/{sidecar.__version__}"}
            if (user := self._target.user) is not None:
                told = f"{user}:{self._target.password or ''}".encode()
                headers["Authorization"] = f"Basic {base64.b64encode(told).decode()}"
            self._session = aiohttp.ClientSession(
                # Authorities are read when it is opened, of the library's own context when that was imported.
                connector=aiohttp.TCPConnector(limit=CONCURRENCY, ssl=ssl.create_default_context()),
                timeout=aiohttp.ClientTimeout(total=self._target.timeout_s, sock_connect=CONNECT_S),
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        rest_s = self._rest_until - self._clock.monotonic()
        if rest_s > 0:
            raise SinkUnavailable(self._why, retry_after_s=rest_s)
        await self.open()
        return await one_by_one(deliveries, self._send)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(self, delivery: Delivery) -> Refused | None:
        content_type = delivery.message.content_type
        if self._target.binary and content_type and not events.is_header(content_type):
            return Refused("its content_type can't be a header", permanent=True)
        headers, body = self._request(delivery.message)
        async with self._under_way:
            try:
                return await self._post(headers, body)
            except _Lost:
                # A connection that was kept may have been closed by the other side just then.
                try:
                    return await self._post(headers, body)
                except _Lost:
                    return Refused(f"{self._target.host} closes the connection without an answer")

    async def _post(self, headers: dict[str, str], body: bytes) -> Refused | None:
        assert self._session is not None, "it was opened"
        host = self._target.host
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False, skip_auto_headers=("Content-Type",)
            ) as answer:
                await answer.content.read(ANSWER_BYTES)
                return self._receipt(answer)
        except aiohttp.ClientSSLError as exc:
            raise SinkUnavailable(f"no TLS with {host}: {_tls_reason(exc)}") from exc
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise SinkUnavailable(f"{host} can't be reached") from exc
        except TimeoutError:
            return Refused(f"{host} did not answer within {self._target.timeout_s} s")
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError) as exc:
            raise _Lost from exc
        except aiohttp.ClientError as exc:
            return Refused(f"{host} does not answer as HTTP servers do ({type(exc).__name__})")

    def _receipt(self, answer: aiohttp.ClientResponse) -> Refused | None:
        try:
            return receipt(answer.status, answer.headers, self._target.host, self._clock)
        except SinkUnavailable as exc:
            # Others of the call may have been taken, and then nobody hears how long to wait.
            self._why, self._rest_until = exc.message, self._clock.monotonic() + exc.retry_after_s
            raise

    def _request(self, message: Pending) -> tuple[dict[str, str], bytes]:
        if not self._target.binary:
            return {"Content-Type": events.STRUCTURED_TYPE}, events.structured(self._app, message)
        found = events.attributes(self._app, message)
        content_type = found.pop("datacontenttype", "")
        headers = {f"ce-{name}": events.header(value) for name, value in found.items()}
        if content_type:
            headers["Content-Type"] = content_type
        return headers, message.payload


class _Lost(Exception):
    """The connection ended before there was an answer."""


def _tls_reason(exc: aiohttp.ClientSSLError) -> str:
    cause = exc.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate does not verify, {cause.verify_message.rstrip('.')}"
    return "the handshake failed"
