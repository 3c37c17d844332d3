"""The near tiers' channel over Redis: PUBLISH and SUBSCRIBE, which a Cluster carries to all its nodes.

Messages that are published while nobody is subscribed are lost, and a listener that reads too slowly is disconnected by
the server (client-output-buffer-limit pubsub). Whoever listens must find out by heartbeats that messages arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sidecar.core.cache import CacheUnavailable
from sidecar.stores.redis.client import RedisClient
from sidecar.stores.redis.codec import Names
from sidecar.stores.redis.errors import RedisRefused, RedisUnavailable


class RedisBus:
    """A Bus on the channel of a prefix. The client is the caller's to close."""

    def __init__(self, client: RedisClient, *, prefix: str = "") -> None:
        self._client = client
        self._channel = Names(prefix).channel

    async def publish(self, payloads: Sequence[bytes]) -> None:
        """Send to all who listen now."""
        try:
            await self._client.publish(self._channel, payloads)
        except (RedisUnavailable, RedisRefused) as exc:
            raise CacheUnavailable(str(exc)) from exc

    async def listen(self, receive: Callable[[bytes], None], subscribed: Callable[[], None]) -> None:
        """Hand over messages until cancelled, on a connection of its own."""
        refusals: list[RedisRefused] = []

        def pushed(message: Any) -> None:
            match message:
                case [b"message", _, payload]:
                    receive(payload)
                case [b"subscribe", *_]:
                    subscribed()
                case RedisRefused():
                    refusals.append(message)
                    connection.retire()

        try:
            connection = await self._client.subscribed(self._channel, pushed)
        except RedisUnavailable as exc:
            raise CacheUnavailable(str(exc)) from exc
        try:
            await connection.lost
        finally:
            connection.abort("it is listened to no more")
        raise CacheUnavailable(str(refusals[0]) if refusals else f"the subscription at {connection.endpoint} was lost")
