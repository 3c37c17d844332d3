"""What a cache keeps in Redis beside copies: markers, whose loss shows a flush, and the repairers' turn.

Both are a few bytes, written also where the memory is full, and have no expiry: a volatile-* policy never evicts them.
They are used about once a second: what evicts by use evicts them late. What was lost costs a new generation, that is all
copies; it never costs truth.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Collection
from itertools import count

from sidecar.core.cache import REPAIR_TURN_MS, Turn
from sidecar.stores.redis.client import Process, RedisClient
from sidecar.stores.redis.cluster import slot_of
from sidecar.stores.redis.codec import Names
from sidecar.stores.redis.script import load_script

_MARKER, _CLAIM, _RENEW = load_script("cache_marker"), load_script("cache_claim"), load_script("cache_renew")


class Marks:
    """The marks of one cache. All raise as the client does."""

    def __init__(self, client: RedisClient, names: Names) -> None:
        self._client = client
        self._names = names
        self._tags: dict[int, int] = {}

    async def identity(self) -> tuple[str, Collection[Process]]:
        """A name that is another one when a primary is another process, was promoted, or lost its marker; and who they are.

        run_id is another after each start; master_replid after each promotion, and once when a primary gets its first
        replica; a marker goes with a flush. A marker may also be evicted, or its slot go to another node of a Cluster.
        """
        servers = await self._client.servers()
        markers = await asyncio.gather(*(self._marker(server.slot) for server in servers))
        seen = sorted((server.process, marker) for server, marker in zip(servers, markers, strict=True))
        name = hashlib.sha256(repr(seen).encode()).hexdigest()[:32]
        return name, [server.process for server in servers]

    async def _marker(self, slot: int | None) -> bytes:
        tag = None if slot is None else self._tag(slot)
        marker: bytes = await self._client.run(_MARKER, [self._names.marker(tag)], [secrets.token_bytes(16)])
        return marker

    def _tag(self, slot: int) -> int:
        """A hash tag of a slot."""
        tag = self._tags.get(slot)
        if tag is None:
            tag = self._tags[slot] = next(tag for tag in count() if slot_of(b"%d" % tag) == slot)
        return tag

    async def claim(self, owner: str, *, generation: int, begin: int | None, now: int) -> Turn | None:
        """As `Cache.claim_repair`. The turn of another generation is as good as forgotten."""
        arguments = (generation, owner, b"" if begin is None else begin, now, now + REPAIR_TURN_MS)
        reply = await self._client.run(_CLAIM, [self._names.turn], arguments)
        if reply == 0:
            return None
        return Turn(int(reply) if reply else None)

    async def renew(self, owner: str, *, generation: int, cursor: int, now: int) -> bool:
        """As `Cache.renew_repair`."""
        arguments = (generation, owner, cursor, now + REPAIR_TURN_MS)
        return bool(await self._client.run(_RENEW, [self._names.turn], arguments))
