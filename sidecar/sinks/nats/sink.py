"""NatsSink: each message published to a subject of a JetStream stream, which confirms it when it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sidecar.core.outbox import Pending
from sidecar.core.sinks import Delivery, Receipt, Refused, SinkUnavailable
from sidecar.sinks import events
from sidecar.sinks.nats.connection import Connection, DeniedError, NoAnswererError
from sidecar.sinks.nats.target import SUBJECT, NatsTarget
from sidecar.sinks.ordered import one_by_one

BATCH_MAX = 32
_NOT_NOW = 500
_NEVER = frozenset({10054, 10097})
"""JetStream's numbers for a message or its headers that are larger than the stream takes."""
_OF_A_SUBJECT = "per subject"
_NO_STREAM = 10059
_LINE_BYTES = 4
"""What a header's line has beside name and value."""


class NatsSink:
    """A stream. It takes an id once within its duplicate window."""

    def __init__(self, target: NatsTarget, *, app: str) -> None:
        self._target = target
        self._app = app
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()

    @property
    def batch_max(self) -> int:
        return BATCH_MAX

    async def open(self) -> None:
        await self._connected()

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        connection = await self._connected()

        async def send(delivery: Delivery) -> Refused | None:
            return await self._send(connection, delivery.message)

        return await one_by_one(deliveries, send)

    async def close(self) -> None:
        async with self._opening:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()

    async def _connected(self) -> Connection:
        """The connection, another one if it was lost; the stream is there. Callers at the same time share it."""
        async with self._opening:
            connection = self._connection
            if connection is None or connection.lost:
                connection = await self._connect()
                self._connection = connection
        return connection

    async def _connect(self) -> Connection:
        failure = SinkUnavailable(f"{self._target}: no server was tried")
        for server in self._target.servers:
            connection = Connection(self._target)
            try:
                await connection.connect(server)
                await self._find_stream(connection)
            except SinkUnavailable as exc:
                failure = exc
                await connection.close()
            except BaseException:
                await connection.close()
                raise
            else:
                return connection
        raise failure

    async def _find_stream(self, connection: Connection) -> None:
        """Raises SinkUnavailable where there is none."""
        subject = f"$JS.API.STREAM.INFO.{self._target.stream}"
        try:
            answer = await connection.ask(subject)
        except NoAnswererError as exc:
            raise SinkUnavailable(f"{self._target}: the server has no JetStream, or no leader of it now") from exc
        except DeniedError as exc:
            raise SinkUnavailable(f"{self._target}: we may not ask for it: allow publishing to {subject}") from exc
        if (error := answer.get("error")) is not None:
            missing = error.get("err_code") == _NO_STREAM
            said = "there is no such stream: make it" if missing else _said(error)
            raise SinkUnavailable(f"{self._target}: {said}")

    async def _send(self, connection: Connection, message: Pending) -> Refused | None:
        prefix = self._target.subject_prefix
        subject = f"{prefix}.{message.topic}" if prefix else message.topic
        # Those with a $ are the server's own: a message to one of them could delete the stream.
        if not SUBJECT.fullmatch(subject) or subject.startswith("$"):
            return Refused("its topic can't be a subject", permanent=True)
        if message.content_type and not events.is_header(message.content_type):
            return Refused("its content_type can't be a header", permanent=True)
        headers = self._headers(message)
        size = len(message.payload) + sum(len(name) + len(value) + _LINE_BYTES for name, value in headers.items())
        if size + len("NATS/1.0\r\n\r\n") > connection.bytes_max:
            return Refused(f"larger than the server takes, {connection.bytes_max} bytes", permanent=True)
        try:
            answer = await connection.ask(subject, message.payload, headers)
        except DeniedError:
            return Refused(f"{self._target}: we may not publish to {subject}")
        except NoAnswererError:
            await self._find_stream(connection)
            return Refused(f"{self._target} does not take the subject {subject}")
        return None if (error := answer.get("error")) is None else self._refused(error)

    def _refused(self, error: dict[str, Any]) -> Refused:
        said = f"{self._target}: {_said(error)}"
        if error.get("code", _NOT_NOW) >= _NOT_NOW and _OF_A_SUBJECT not in said:
            raise SinkUnavailable(said)
        return Refused(said, permanent=error.get("err_code") in _NEVER)

    def _headers(self, message: Pending) -> dict[str, str]:
        found = events.attributes(self._app, message)
        content_type = found.pop("datacontenttype", "")
        headers = {f"ce-{name}": events.header(value) for name, value in found.items()}
        headers |= {"Nats-Msg-Id": found["id"], "Nats-Expected-Stream": self._target.stream}
        return headers | ({"content-type": content_type} if content_type else {})


def _said(error: dict[str, Any]) -> str:
    return f"{str(error.get('description', ''))[:200]} ({error.get('err_code', error.get('code', 0))})"
