"""A stream of a real NATS server."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import nats
from nats.js.api import StreamConfig

from servers.base import shared
from servers.nats import Nats
from sidecar.core.outbox import Pending
from tests.sinks import cloudevents
from tests.sinks.messages import Got

REFUSED = "elsewhere"


class JetStream:
    payload_max = 256 * 1024
    attributes_max = 64 * 1024
    refused_permanently = False

    def __init__(self) -> None:
        self.url = ""
        self.name = f"s{uuid.uuid4().hex[:12]}"
        self.options: dict[str, Any] = {}
        self.server: Nats
        self._own = False

    async def start(self, *, own: bool) -> None:
        self._own = own
        self.server = await asyncio.to_thread(Nats().start) if own else shared(Nats)
        await self.make()
        self.url = f"nats://{self.server.address}?stream={self.name}&subject_prefix={self.name}"

    async def make(self, userinfo: str = "") -> None:
        """The stream takes topics that begin with `orders`, and not the others."""
        connection = await nats.connect(f"nats://{userinfo}{self.server.address}")
        subjects = [f"{self.name}.orders.>", f"{self.name}.orders"]
        await connection.jetstream().add_stream(StreamConfig(name=self.name, subjects=subjects, **self.options))
        await connection.close()

    async def remove(self) -> None:
        """The stream is gone."""
        connection = await nats.connect(self.server.address)
        await connection.jetstream().delete_stream(self.name)
        await connection.close()

    async def stop(self) -> None:
        if self._own:
            await asyncio.to_thread(self.server.stop)

    async def received(self, count: int) -> list[Got]:
        connection = await nats.connect(self.server.address)
        stream = connection.jetstream()
        state = (await stream.stream_info(self.name)).state
        found = []
        for sequence in range(max(state.first_seq, 1), state.last_seq + 1):
            told = await stream.get_msg(self.name, sequence)
            assert told.headers is not None
            got = cloudevents.of_http(told.headers, told.data or b"")
            assert told.headers["Nats-Msg-Id"] == got.id
            assert told.subject == f"{self.name}.{got.topic}"
            found.append(got)
        await connection.close()
        assert len(found) >= count, found
        return found

    def refused(self, message: Pending) -> Pending:
        return replace(message, topic=REFUSED)

    async def kill(self) -> None:
        await asyncio.to_thread(self.server.kill)

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.restart)
