"""From settings to stores, placements and engine. Adapters are imported here, each only when a URL asks for it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.core.blobs import Blobs
from sidecar.core.bus import Bus
from sidecar.core.cache import Cache, CacheUnavailable
from sidecar.core.cleaning import Job
from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import SidecarError, StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.policy import OnOutage
from sidecar.core.ports import Ports
from sidecar.core.store import Store
from sidecar.engine.buffering import Buffer
from sidecar.engine.engine import Engine
from sidecar.runtime import parsing
from sidecar.runtime.settings import Settings
from sidecar.tiers.archive import Archive
from sidecar.tiers.blob_jobs import BlobCollection, OrphanSearch
from sidecar.tiers.near import At, Held, Near
from sidecar.tiers.placement import Placement

if TYPE_CHECKING:
    from sidecar.stores.redis import RedisClient

log = logging.getLogger(__name__)

OPEN_WAIT_S = 1.0
"""How long a start waits for backends. One that takes longer is opened while the others serve."""
HOT_TIMEOUT_S = 0.5
"""What a cache may cost a request that it doesn't answer."""
CACHED_LIFE_MS_MAX = 30 * 60_000
"""The longest life of a shared copy; at most half of what the authority's change rows live, which repair it."""
HELD_OVERHEAD_BYTES = 700
KNOWN_BYTES_MAX = 64 << 20
"""States that buffered writes may be based on."""
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


def backends(settings: Settings, ports: Ports) -> Backends:
    """The adapters for the tiers' URLs, not opened yet."""
    urls = settings.tier_urls()
    warm, cold = _store(urls.warm, settings, ports), _blobs(urls.cold, ports)
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


def engine(settings: Settings, opened: Backends, ports: Ports, buffer: Buffer | None = None) -> Engine:
    """The engine over those backends. What the hot tier does as cache and as store is one tier's, with one breaker."""
    hot = None if opened.hot_store is None else Placement(opened.hot_store, tier=Tier.HOT, ports=ports)
    warm = None
    if opened.warm is not None:
        warm = Placement(
            opened.warm,
            tier=Tier.WARM,
            ports=ports,
            cache=opened.cache,
            cache_guard=None if hot is None else hot.guard,
            near=None if opened.bus is None else _near(settings, ports),
            # What knows of large objects must outlive the process, or nobody would ever delete them.
            cold=opened.cold if opened.warm.capabilities.durable else None,
            large_bytes=_large_bytes(settings),
        )
        if warm.blobs is not None and "cold" in opened.away:
            warm.blobs.guard.trip(opened.away["cold"])
        if "warm" in opened.away:
            warm.guard.trip(opened.away["warm"])
    for placement in (hot, warm):
        if placement is not None and "hot" in opened.away:
            guard = placement.guard if placement.tier is Tier.HOT else placement.cache.guard
            guard.trip(opened.away["hot"])
    return Engine(
        policies=settings.policy_table(),
        limits=settings.request_limits(),
        hot=hot,
        warm=warm,
        buffer=buffer,
        buffered_ms_max=int(settings.journal_age_max_s * 1000),
        schemas=settings.schemas(),
    )


def cold_jobs(settings: Settings, placement: Placement, names: Callable[[], Iterable[str]]) -> tuple[Job, ...]:
    """The background jobs of what a placement keeps in cold. `names` are the namespaces that were heard of."""
    if placement.cold is None:
        return ()
    table = settings.policy_table()

    def archiving() -> dict[str, int]:
        idle = {name: table.of(name).archive_after_ms for name in {*settings.namespaces, *names()}}
        return {name: after_ms for name, after_ms in idle.items() if after_ms is not None}

    blobs = placement.cold.blobs
    return (
        Archive(placement, placement.cold, archiving),
        BlobCollection(blobs, placement.rows),
        OrphanSearch(blobs),
    )


async def buffer(settings: Settings, ports: Ports) -> Buffer | None:
    """The journal, opened, where a namespace has its writes kept, or had, and some are left; None: no need of one.

    Raises StoreUnavailable, StoreCorrupt.
    """
    from sidecar.stores.journal import FileJournal  # noqa: PLC0415
    from sidecar.stores.memory.tinylfu import TinyLfuMap  # noqa: PLC0415

    directory, policies = settings.data_dir / "journal", settings.policy_table()
    buffers = any(policies.of(name).on_outage is OnOutage.BUFFER for name in settings.namespaces)
    if not buffers and not directory.exists():
        return None

    def size(at: At, copy: Copy) -> int:
        return HELD_OVERHEAD_BYTES + 4 * len(at[1]) + (len(copy.value) if isinstance(copy, Entry) else 0)

    made = Buffer(
        FileJournal(directory, bytes_max=settings.journal_bytes_max), TinyLfuMap(KNOWN_BYTES_MAX, size), ports
    )
    await made.journal.open()
    made.load()
    return made


def app_prefix(settings: Settings) -> str:
    """What begins the names of an app's own data in a shared backend."""
    return f"state-sidecar/{settings.app}/"


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


def _large_bytes(settings: Settings) -> Callable[[str], int | None]:
    table = settings.policy_table()
    return lambda namespace: table.of(namespace).large_value_bytes


def _near(settings: Settings, ports: Ports) -> Near:
    from sidecar.stores.memory.tinylfu import TinyLfuMap  # noqa: PLC0415

    def size(at: At, held: Held) -> int:
        return HELD_OVERHEAD_BYTES + 4 * len(at[1]) + len(held.entry.value)

    table = settings.policy_table()

    def max_age_ms(namespace: str) -> int | None:
        near = table.of(namespace).near
        return near.max_age_ms if near.enabled else None

    return Near(TinyLfuMap(settings.near_bytes_max, size), clock=ports.clock, max_age_ms=max_age_ms)


def _store(url: str, settings: Settings, ports: Ports) -> Store | None:
    match urlsplit(url).scheme:
        case "memory":
            from sidecar.stores.memory import MemoryStore  # noqa: PLC0415

            return MemoryStore(clock=ports.clock)
        case "sqlite":
            from sidecar.stores.sqlite import SqliteStore  # noqa: PLC0415

            return SqliteStore(_path(url), clock=ports.clock, queue_max=settings.commit_queue_max)
        case "postgresql":
            from sidecar.stores.postgres import PostgresStore  # noqa: PLC0415
            from sidecar.stores.postgres.target import parse_target as parse_postgres  # noqa: PLC0415

            return PostgresStore(parse_postgres(url), clock=ports.clock, queue_max=settings.commit_queue_max)
        case "dynamodb":
            from sidecar.stores.dynamodb import DynamoStore  # noqa: PLC0415
            from sidecar.stores.dynamodb.target import parse_target as parse_dynamodb  # noqa: PLC0415

            return DynamoStore(parse_dynamodb(url), clock=ports.clock, queue_max=settings.commit_queue_max)
        case "none":
            return None
        case scheme:
            raise AssertionError(f"{scheme}: the settings let through what can't be built")


def _blobs(url: str, ports: Ports) -> Blobs | None:
    match urlsplit(url).scheme:
        case "file":
            from sidecar.stores.files import FileBlobs  # noqa: PLC0415

            return FileBlobs(_path(url))
        case "s3":
            from sidecar.stores.s3 import S3Blobs  # noqa: PLC0415
            from sidecar.stores.s3.target import parse_target as parse_s3  # noqa: PLC0415

            return S3Blobs(parse_s3(url), clock=ports.clock)
        case "none":
            return None
        case scheme:
            raise AssertionError(f"{scheme}: the settings let through what can't be built")


def _path(url: str) -> Path:
    return parsing.url_path(url)
