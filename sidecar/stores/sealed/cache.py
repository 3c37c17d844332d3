"""SealedCache: a cache that sees values only sealed. A copy that does not open is a miss: the truth is elsewhere.

What opens values tells the audit log of one that was tampered with; here it is forgotten, so that the next read fills it
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sidecar.core.cache import Cache, CacheCapabilities, CacheUnavailable, Fill, Hit, Miss, Turn
from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import DataLoss, SidecarError
from sidecar.core.sealing import Codec, Sealer
from sidecar.stores.sealed.rows import opened_entry, sealed_entry
from sidecar.stores.sealed.store import opened


class SealedCache:
    """Over any cache; `sealer` has the keys."""

    def __init__(self, cache: Cache, sealer: Sealer) -> None:
        self.cache = cache
        self._sealer = sealer

    @property
    def capabilities(self) -> CacheCapabilities:
        """The cache's."""
        return self.cache.capabilities

    async def identity(self) -> str:
        """The cache's."""
        return await self.cache.identity()

    async def get(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[Hit | Miss]:
        """A hit or a miss for each key, opened."""
        found = await self.cache.get(namespace, keys, generation=generation, now=now)
        if not any(isinstance(each, Hit) and isinstance(each.copy, Entry) for each in found):
            return found
        codec = await self._codec(namespace)
        try:
            return await opened(self._sealer, codec, lambda codec: [_opened(codec, each) for each in found])
        except SidecarError:
            return await self._one_by_one(namespace, codec, found)

    async def lease(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[str | None]:
        """As the cache."""
        return await self.cache.lease(namespace, keys, generation=generation, now=now)

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        """Store, sealed, what still has its placeholder."""
        codec = await self._codec(namespace)
        sealed = [
            Fill(fill.key, None if fill.copy is None else _sealed(codec, fill.copy), fill.lease) for fill in fills
        ]
        return await self.cache.fill(namespace, sealed, generation=generation, now=now)

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        """Tell committed states, sealed."""
        codec = await self._codec(namespace)
        await self.cache.apply(namespace, [_sealed(codec, copy) for copy in copies], generation=generation)

    async def invalidate(self, namespace: str, keys: Sequence[str]) -> None:
        """As the cache."""
        await self.cache.invalidate(namespace, keys)

    async def release(self, namespace: str, leases: Sequence[tuple[str, str]]) -> None:
        """As the cache."""
        await self.cache.release(namespace, leases)

    async def claim_repair(self, owner: str, *, generation: int, begin: int | None, now: int) -> Turn | None:
        """As the cache."""
        return await self.cache.claim_repair(owner, generation=generation, begin=begin, now=now)

    async def renew_repair(self, owner: str, *, generation: int, cursor: int, now: int) -> bool:
        """As the cache."""
        return await self.cache.renew_repair(owner, generation=generation, cursor=cursor, now=now)

    async def close(self) -> None:
        """As the cache."""
        await self.cache.close()

    # ----

    async def _codec(self, namespace: str) -> Codec:
        try:
            return await self._sealer.codec(namespace)
        except SidecarError as exc:
            raise CacheUnavailable(f"no data key: {exc.message}") from exc

    async def _one_by_one(self, namespace: str, codec: Codec, found: Sequence[Hit | Miss]) -> list[Hit | Miss]:
        """What opens; the rest are misses, and those that never will are forgotten."""
        answers: list[Hit | Miss] = []
        spoilt: list[str] = []
        for each in found:
            try:
                answers.append(await opened(self._sealer, codec, partial(_opened, found=each)))
            except SidecarError as exc:
                answers.append(Miss(None))
                if isinstance(exc, DataLoss) and isinstance(each, Hit) and each.copy is not None:
                    spoilt.append(each.copy.key)
        if spoilt:
            await self.cache.invalidate(namespace, spoilt)
        return answers


def _opened(codec: Codec, found: Hit | Miss) -> Hit | Miss:
    return Hit(opened_entry(codec, found.copy)) if isinstance(found, Hit) and isinstance(found.copy, Entry) else found


def _sealed(codec: Codec, copy: Copy) -> Copy:
    return sealed_entry(codec, copy) if isinstance(copy, Entry) else copy
