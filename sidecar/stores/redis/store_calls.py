"""Calls of the store's scripts: bounded in number, their failures translated, the authority's clock read off each reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.core.entry import SEQUENCE_MASK
from sidecar.core.errors import LimitExceeded
from sidecar.core.failpoints import reach
from sidecar.core.ports import Clock
from sidecar.stores.redis.client import RedisClient, ServerInfo
from sidecar.stores.redis.errors import RedisRefused, RedisUnavailable
from sidecar.stores.redis.script import Argument, Script
from sidecar.stores.redis.store_errors import read_error, write_error
from sidecar.stores.redis.store_rows import NONE, Shard


class Calls:
    """Runs scripts, at most `queue_max` at a time. `server_clock` takes the place of the server's own (in tests)."""

    def __init__(self, client: RedisClient, *, clock: Clock, queue_max: int, server_clock: Clock | None) -> None:
        self._client = client
        self._clock = clock
        self._queue_max = queue_max
        self._server_clock = server_clock
        self._waiting = 0
        self._told: tuple[int, float] | None = None
        self._seen: dict[int, int] = {}

    def now(self) -> int:
        """The server's clock, going on from its last reply; this machine's before the first."""
        if self._told is None:
            return self._clock.now()
        now, at = self._told
        return now + round((self._clock.monotonic() - at) * 1000)

    def seen(self, shard: Shard) -> int:
        """The greatest sequence of a shard that was answered here."""
        return self._seen.get(shard.epoch, 0)

    def saw(self, shard: Shard, version: int) -> None:
        """A version was answered."""
        sequence = version & SEQUENCE_MASK
        if sequence > self._seen.get(shard.epoch, 0):
            self._seen[shard.epoch] = sequence

    async def servers(self) -> list[ServerInfo]:
        """The servers, as they tell of themselves. Raises StoreUnavailable."""
        try:
            return await self._client.servers()
        except (RedisUnavailable, RedisRefused) as exc:
            raise read_error(exc) from exc

    async def read(self, script: Script, keys: Sequence[bytes], *arguments: Argument) -> list[Any]:
        """A script's reply, which begins with the server's clock. Raises StoreUnavailable."""
        try:
            return await self._run(script, keys, arguments)
        except (RedisUnavailable, RedisRefused) as exc:
            raise read_error(exc) from exc

    async def write(self, script: Script, keys: Sequence[bytes], *arguments: Argument) -> list[Any]:
        """The same of one that writes. Raises StoreUnavailable, LimitExceeded (STORAGE_FULL), OutcomeUnknown."""
        try:
            return await self._run(script, keys, arguments)
        except (RedisUnavailable, RedisRefused) as exc:
            raise write_error(exc) from exc

    async def _run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]) -> list[Any]:
        if self._waiting >= self._queue_max:
            raise LimitExceeded(f"{self._waiting} calls are waiting for Redis; nothing was written")
        given = NONE if self._server_clock is None else self._server_clock.now()
        self._waiting += 1
        try:
            reach("redis.script.before")
            reply: list[Any] = await self._client.run(script, keys, (given, *arguments))
            reach("redis.script.after")
        finally:
            self._waiting -= 1
        self._told = (reply[0], self._clock.monotonic())
        return reply
