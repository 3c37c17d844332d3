"""Streams of a real Valkey, and over TLS of a real Redis."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from servers.base import shared
from servers.redis import TlsRedis, Valkey
from sidecar.core.outbox import Pending
from sidecar.stores.apps import prefix_of
from tests.sinks.messages import APP, Got

REFUSED = "refused"
_OWN = 8
"""Fields that every entry has."""


class RedisStreams:
    """A stream for each topic, as it is if none is named; the app is the test's own."""

    payload_max = 256 * 1024
    attributes_max = 64 * 1024
    refused_permanently = False
    kind: type[Valkey] = Valkey

    def __init__(self) -> None:
        self.url = ""
        self.server: Valkey
        self._own = False

    async def start(self, *, own: bool) -> None:
        self._own = own
        self.server = await asyncio.to_thread(self.kind().start) if own else shared(self.kind)
        self.url = self.server.url
        self.server.ask("SET", f"{prefix_of(APP)}{REFUSED}", "no stream")

    async def stop(self) -> None:
        if self._own:
            await asyncio.to_thread(self.server.stop)
        else:
            self.server.ask("DEL", *self._names())

    async def received(self, count: int) -> list[Got]:
        """In the order of the times that Redis gave them."""
        entries = []
        for name in self._names():
            if not name.endswith(REFUSED.encode()):
                entries += self.server.ask("XRANGE", name, "-", "+")
        assert len(entries) >= count, entries
        return [of_fields(fields) for _, fields in sorted(entries, key=lambda entry: _time(entry[0]))]

    def refused(self, message: Pending) -> Pending:
        return replace(message, topic=REFUSED)

    async def kill(self) -> None:
        await asyncio.to_thread(self.server.kill)

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.restart)

    def _names(self) -> list[bytes]:
        names: list[bytes] = self.server.ask("KEYS", f"{prefix_of(APP)}*")
        return names


class RedisTls(RedisStreams):
    kind = TlsRedis


def of_fields(fields: list[bytes]) -> Got:
    """An entry's fields and values."""
    found = dict(zip((name.decode() for name in fields[::2]), fields[1::2], strict=True))
    attributes = {
        name.removeprefix("attr:"): value.decode() for name, value in found.items() if name.startswith("attr:")
    }
    assert len(found) == _OWN + len(attributes), found
    return Got(
        id=found["id"].decode(),
        namespace=found["namespace"].decode(),
        key=found["key"].decode(),
        version=int(found["version"]),
        topic=found["topic"].decode(),
        payload=found["payload"],
        content_type=found["content_type"].decode(),
        commit_time=int(found["commit_time_ms"]),
        attributes=attributes,
    )


def _time(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)
