"""The adapters that the tiers' URLs name. Each is imported only when a URL asks for it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.core.blobs import Blobs
from sidecar.core.bus import Bus
from sidecar.core.cache import Cache, CacheUnavailable
from sidecar.core.errors import SidecarError, StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.ports import Ports
from sidecar.core.store import Store
from sidecar.runtime import parsing
from sidecar.runtime.settings import Settings
from sidecar.stores.apps import folder_of, prefix_of

if TYPE_CHECKING:
    from sidecar.stores.redis import RedisClient
    from sidecar.stores.sealed.keyring import Keyring

log = logging.getLogger(__name__)

OPEN_WAIT_S = 1.0
"""How long a start waits for backends. One that takes longer is opened while the others serve."""
HOT_TIMEOUT_S = 0.5
"""What a cache may cost a request that it doesn't answer."""
CACHED_LIFE_MS_MAX = 30 * 60_000
"""The longest life of a shared copy; at most half of what the authority's change rows live, which repair it."""
LOCAL_SCHEMES = frozenset({"memory", "sqlite"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """What the URLs name; whoever opens them closes them."""

    hot_store: Store | None = None
    cache: Cache | None = None
    bus: Bus | None = None
    warm: Store | None = None
    cold: Blobs | None = None
    redis: RedisClient | None = None
    away: dict[str, StoreUnavailable] = field(default_factory=dict)
    """Of each tier that could not be opened, what is wrong."""
    sealer: Keyring | None = None
    """What seals values before any of these sees them; the engine is built with it."""
    _opening: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        """Prepare all at once. What can't be opened is said, and asked again by whoever needs it: we start anyway."""
        loop = asyncio.get_running_loop()
        wanted: list[tuple[str, Awaitable[object]]] = [(name, backend.open()) for name, backend in self._opened()]
        if self.cache is not None and self.cache.capabilities.shared:
            wanted.append(("hot", self.cache.identity()))
        self.away.update((name, StoreUnavailable("it has not answered yet")) for name, _ in wanted)
        self._opening.update(loop.create_task(self._open(name, opening)) for name, opening in wanted)
        if self._opening:
            done, _ = await asyncio.wait(self._opening, timeout=OPEN_WAIT_S)
            self._opening.difference_update(done)

    async def close(self) -> None:
        """Close all, the authority last."""
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        if self.cache is not None:
            await self.cache.close()
        for _, backend in reversed(self._opened()):
            await backend.close()
        if self.redis is not None:
            await self.redis.close()
        if self.sealer is not None:
            await self.sealer.close()

    async def _open(self, name: str, opening: Awaitable[object]) -> None:
        try:
            await opening
        except SidecarError as exc:
            log.error("tiers.%s can't be opened: %s", name, exc.message, extra={"reason": exc.reason})  # noqa: TRY400  # the message says all
            if isinstance(exc, StoreUnavailable):
                self.away[name] = exc
            else:
                self.away.pop(name, None)  # each call is told what is wrong
        except CacheUnavailable as exc:
            log.error("tiers.%s can't be reached: %s", name, exc)  # noqa: TRY400  # the message says all
            self.away[name] = StoreUnavailable(str(exc))
        else:
            self.away.pop(name, None)

    def by_tier(self) -> list[tuple[Tier, object]]:
        """What there is, by the tier that it is of."""
        hot = self.redis or self.hot_store
        found: list[tuple[Tier, object]] = [(Tier.HOT, hot), (Tier.WARM, self.warm), (Tier.COLD, self.cold)]
        return [(tier, backend) for tier, backend in found if backend is not None]

    def _opened(self) -> list[tuple[str, Store | Blobs]]:
        named: list[tuple[str, Store | Blobs | None]] = [
            ("warm", self.warm),
            ("hot", self.hot_store),
            ("cold", self.cold),
        ]
        return [(name, backend) for name, backend in named if backend is not None]


def backends(settings: Settings, ports: Ports, sealer: Keyring | None = None) -> Backends:
    """The adapters for the tiers' URLs, not opened yet; `sealer`: what seals the values that they get."""
    return replace(_backends(settings, ports), sealer=sealer)


def _backends(settings: Settings, ports: Ports) -> Backends:
    urls = settings.tier_urls()
    warm, cold = _store(urls.warm, settings, ports), _blobs(urls.cold, settings.app, ports)
    match urlsplit(urls.hot).scheme:
        case "redis" | "rediss" | "redis+cluster" | "redis+sentinel":
            from sidecar.stores.redis import RedisBus, RedisCache, RedisClient, RedisStore  # noqa: PLC0415
            from sidecar.stores.redis.target import parse_target  # noqa: PLC0415

            client = RedisClient(parse_target(urls.hot), clock=ports.clock, timeout_s=HOT_TIMEOUT_S)
            prefix = cache_prefix(settings, ports)
            return Backends(
                hot_store=RedisStore(
                    client, clock=ports.clock, prefix=app_prefix(settings), queue_max=settings.commit_queue_max
                ),
                cache=RedisCache(client, prefix=prefix, life_ms_max=_cached_life_ms(settings)),
                bus=RedisBus(client, prefix=prefix),
                warm=warm,
                cold=cold,
                redis=client,
            )
        case "memcached":
            from sidecar.stores.memcached import MemcachedCache  # noqa: PLC0415
            from sidecar.stores.memcached.target import parse_target as parse_memcached  # noqa: PLC0415

            cache = MemcachedCache(
                parse_memcached(urls.hot),
                clock=ports.clock,
                prefix=cache_prefix(settings, ports),
                life_ms_max=_cached_life_ms(settings),
                timeout_s=HOT_TIMEOUT_S,
            )
            return Backends(cache=cache, warm=warm, cold=cold)
        case "memory":
            from sidecar.stores.memory import MemoryCache, MemoryStore  # noqa: PLC0415

            return Backends(
                hot_store=MemoryStore(clock=ports.clock),
                cache=MemoryCache(bytes_max=settings.cache_bytes_max, identity=ports.token()),
                warm=warm,
                cold=cold,
            )
        case "none":
            return Backends(warm=warm, cold=cold)
        case scheme:
            raise AssertionError(f"{scheme}: the settings let through what can't be built")


def app_prefix(settings: Settings) -> str:
    """What begins the names of an app's own data in a shared backend."""
    return prefix_of(settings.app)


def cache_prefix(settings: Settings, ports: Ports) -> str:
    """What begins the names of cached copies: daemons that share a cache share copies only of one authority's data.

    An authority that is this machine's own gets a name that is new at each start: its copies are nobody else's.
    """
    warm = settings.tier_urls().warm
    parts = urlsplit(warm)
    own = parts.scheme in LOCAL_SCHEMES
    authority = (
        ports.token() if own else f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}?{parts.query}"
    )
    return f"{app_prefix(settings)}{hashlib.sha256(authority.encode()).hexdigest()[:12]}/"


def _cached_life_ms(settings: Settings) -> int:
    return min(CACHED_LIFE_MS_MAX, int(settings.tombstone_retention_s * 1000) // 2)


def _store(url: str, settings: Settings, ports: Ports) -> Store | None:
    match urlsplit(url).scheme:
        case "memory":
            from sidecar.stores.memory import MemoryStore  # noqa: PLC0415

            return MemoryStore(clock=ports.clock)
        case "sqlite":
            from sidecar.stores.sqlite import SqliteStore  # noqa: PLC0415

            return SqliteStore(_path(url), clock=ports.clock, app=settings.app, queue_max=settings.commit_queue_max)
        case "postgresql":
            from sidecar.stores.postgres import PostgresStore  # noqa: PLC0415
            from sidecar.stores.postgres.target import parse_target as parse_postgres  # noqa: PLC0415

            return PostgresStore(
                parse_postgres(url, settings.app), clock=ports.clock, queue_max=settings.commit_queue_max
            )
        case "dynamodb":
            from sidecar.stores.dynamodb import DynamoStore  # noqa: PLC0415
            from sidecar.stores.dynamodb.target import parse_target as parse_dynamodb  # noqa: PLC0415

            return DynamoStore(
                parse_dynamodb(url, settings.app), clock=ports.clock, queue_max=settings.commit_queue_max
            )
        case "none":
            return None
        case scheme:
            raise AssertionError(f"{scheme}: the settings let through what can't be built")


def _blobs(url: str, app: str, ports: Ports) -> Blobs | None:
    match urlsplit(url).scheme:
        case "file":
            from sidecar.stores.files import FileBlobs  # noqa: PLC0415

            return FileBlobs(_path(url) / folder_of(app))
        case "s3":
            from sidecar.stores.s3 import S3Blobs  # noqa: PLC0415
            from sidecar.stores.s3.target import parse_target as parse_s3  # noqa: PLC0415

            return S3Blobs(parse_s3(url, app), clock=ports.clock)
        case "none":
            return None
        case scheme:
            raise AssertionError(f"{scheme}: the settings let through what can't be built")


def _path(url: str) -> Path:
    return parsing.url_path(url)
